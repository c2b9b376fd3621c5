"""What was found is told so that its reader can see it again."""

import pytest

from operon.testing.boundaries import Boundary
from operon.testing.boundaries import When
from operon.testing.findings import Exploration
from operon.testing.findings import Finding

LOST = Boundary(1, When.LOST)


def exploration(*findings: Finding, random: tuple[str, ...] = ()) -> Exploration:
    return Exploration(
        subject="Checkout('book')",
        commits=("step 'reserve'", "the end"),
        tried=6,
        findings=findings,
        random=random,
        seed=7,
        ended="returns",
    )


@pytest.mark.parametrize("number", range(1, 10))
def test_a_boundary_is_told_by_its_number(number):
    assert Boundary.numbered(number).number == number


def test_the_boundaries_of_a_run_are_told_in_order():
    assert exploration().boundaries == (
        "before COMMIT of step 'reserve'",
        "after COMMIT of step 'reserve'",
        "lost reply to COMMIT of step 'reserve'",
        "before COMMIT of the end",
        "after COMMIT of the end",
        "lost reply to COMMIT of the end",
    )


def test_a_lost_reply_is_reported_with_how_to_see_it_again():
    name = LOST.named("step 'reserve'")
    finding = Finding((LOST.number,), name, "  orders, only after it: sku=book")

    report = str(exploration(finding, random=("orders.key",)))

    assert report == (
        "Checkout('book'): 1 of 6 schedules of crashes change what comes of it. "
        "The smallest:\n"
        "boundary 3, lost reply to COMMIT of step 'reserve'\n"
        "  orders, only after it: sku=book\n"
        "Random, so not compared: orders.key\n"
        "To try it alone: explore(…, only=3, seed=7)"
    )


def test_what_nothing_can_be_said_of_is_told_although_nothing_is_found():
    assert str(exploration(random=("orders.key", "orders.stamp"))) == (
        "Checkout('book') returns; the same after each of 6 schedules of crashes\n"
        "Random, so not compared: orders.key, orders.stamp"
    )


def test_the_smallest_is_told_whole_and_the_others_by_name():
    pair = Finding((1, 2), "one, then another", "  problem")
    other = Finding((3, 4), "a third, then a fourth", "  not told")

    report = str(exploration(pair, other))

    assert "boundary 1 then 2, one, then another\n  problem\n" in report
    assert "only=(1, 2), seed=7)" in report
    assert report.endswith("Others:\n  3 then 4: a third, then a fourth")
    assert "not told" not in report
