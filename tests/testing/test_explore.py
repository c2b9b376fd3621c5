"""Exploring finds what a crash would break, and nothing else."""

import re
import time

import pytest
from sqlalchemy import event
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from operon import Operon
from operon.errors import MisuseError
from operon.store.contents import contents_of
from operon.testing import NotCrashSafeError
from operon.testing import explore
from tests import shop
from tests.testing import subjects
from tests.testing.subjects import ExploredFamily
from tests.testing.subjects import ExploredListener
from tests.testing.subjects import ExploredTalker
from tests.testing.subjects import ExploredTicketing
from tests.testing.subjects import ExploredTidier
from tests.testing.subjects import ExploredTrier
from tests.testing.subjects import PlantedChance
from tests.testing.subjects import PlantedCounter
from tests.testing.subjects import PlantedOtherConnection
from tests.testing.subjects import PlantedQuietCounter
from tests.testing.subjects import PlantedRefusal
from tests.testing.subjects import PlantedThirdCall


def found(*args, **options):
    """Explore, and return what was found."""
    with pytest.raises(NotCrashSafeError) as caught:
        explore(*args, **options)
    return caught.value.exploration


@pytest.mark.parametrize("card", ["good", "declined"])
def test_a_right_workflow_is_the_same_after_every_crash(operon, card):
    exploration = explore(shop.Checkout("book", card=card), operon=operon)

    assert exploration.findings == ()
    assert exploration.tried == len(exploration.boundaries) == 15


def test_a_transaction_is_the_same_after_every_crash(operon):
    exploration = explore(shop.place("book"), operon=operon)

    [commit] = exploration.commits
    assert commit == (
        "transaction 'place', position 1, attempt 1 and the start of run 'explored' "
        "and its end (succeeded)"
    )


def test_boundaries_are_told_in_words(operon):
    exploration = explore(shop.Checkout("book"), operon=operon, only=4)

    assert exploration.boundaries[:7] == (
        "before COMMIT of the start of run 'explored'",
        "after COMMIT of the start of run 'explored'",
        "lost reply to COMMIT of the start of run 'explored'",
        "before COMMIT of step 'reserve', position 1, attempt 1",
        "after COMMIT of step 'reserve', position 1, attempt 1",
        "lost reply to COMMIT of step 'reserve', position 1, attempt 1",
        "before COMMIT of activity 'charge', position 2, attempt 1",
    )
    assert exploration.boundaries[-1] == (
        "lost reply to COMMIT of the end (succeeded) of run 'explored'"
    )


WORDS = {
    ExploredTalker: (
        "send 'later', position",
        "publish 'stage', position",
        "write 'log', position",
        "the wait (receive) of run 'explored'",
        "the wake-up of run 'explored'",
        "the claim of run 'explored'",
        "step 'write_down', position",
        "the start of run 'explored~2'",
        "the end (succeeded) of run 'explored~2'",
    ),
    ExploredFamily: (
        "the start of run 'explored/",
        "the wait (result) of run 'explored'",
        "activity 'pay', position",
        "the end (succeeded) of run 'explored/",
    ),
    ExploredTrier: (
        "the failure of step 'stumble', position",
        "the wait (retry) of run 'explored'",
        "activity 'ring', position",
        "the wait (sleep) of run 'explored'",
        "the end (succeeded) of run 'explored'",
    ),
}
"""What each of them commits, in words."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("journey", WORDS)
def test_whatever_a_body_can_do_is_the_same_after_every_crash(operon, forget, journey):
    exploration = explore(journey(), operon=operon, prepare=forget)

    said = " ".join(exploration.commits)
    assert [what for what in WORDS[journey] if what not in said] == [], said
    assert "nothing" not in exploration.commits


def test_what_a_started_run_does_is_explored_too(operon, forget):
    exploration = explore(
        lambda operon: operon.start(shop.Checkout("book"), id="queued"),
        operon=operon,
        prepare=forget,
    )

    assert exploration.commits[:2] == (
        "the start of run 'queued'",
        "the claim of run 'queued'",
    )
    assert exploration.tried == 18


def test_what_is_waited_for_may_come_from_outside(operon):
    def answer(operon: Operon):
        operon.send("explored", "word", "hello", idempotency_key="only one")

    def check(session: Session):
        assert session.scalars(select(shop.Order.status)).all() == ["hello"]

    exploration = explore(ExploredListener(), check, operon=operon, meanwhile=answer)

    assert exploration.tried > 12


def test_a_run_that_never_ends_is_refused(operon):
    with pytest.raises(MisuseError, match="waits for receive 'word', which never") as e:
        explore(ExploredListener(), operon=operon)

    assert "give meanwhile=" in str(e.value)


def test_a_step_that_is_refused_again_and_again_is_named(operon):
    with pytest.raises(MisuseError) as caught:
        explore(PlantedRefusal(), operon=operon, patience=2)

    said = str(caught.value)
    assert "step 'reserve' of run 'explored' is refused by the database" in said
    assert "each time (OperationalError: (builtins.ConnectionError) gone); see" in said
    assert "meanwhile" not in said


def test_what_was_raised_before_is_not_told_of_a_step_that_is_refused_at_its_end(
    operon,
):
    def refuse(session: Session) -> None:
        if session.info.pop("refuse", False):
            gone = ConnectionError("gone")
            raise OperationalError("INSERT", None, gone, connection_invalidated=True)

    event.listen(Session, "before_commit", refuse)
    try:
        with pytest.raises(MisuseError) as caught:
            explore(PlantedRefusal(in_code=False), operon=operon, patience=2)
    finally:
        event.remove(Session, "before_commit", refuse)

    assert "is refused by the database each time; see why" in str(caught.value)


def test_random_keys_may_be_others_after_a_crash(operon):
    exploration = explore(ExploredTicketing(), operon=operon)

    assert exploration.findings == ()
    assert "explored_seats.ticket_id" in exploration.random
    assert "explored_tickets.kind" not in exploration.random


def test_a_dead_process_does_nothing_in_the_outside_world(operon, forget, ledger):
    """The crash passes a `finally` that calls an activity."""

    def check(_session):
        assert shop.happened(ledger) == ["tidied"]

    before_the_step = 4
    explore(
        ExploredTidier(), check, operon=operon, prepare=forget, only=before_the_step
    )


def test_an_activity_that_ignores_its_key_is_found_by_its_rows(operon, forget):
    exploration = found(PlantedCounter(), operon=operon, prepare=forget)

    [finding] = exploration.findings
    assert finding.name == "before COMMIT of activity 'charge', position 1, attempt 1"
    assert "orders, only without a crash" in finding.problem
    assert "status=charge 1" in finding.problem
    assert "status=charge 2" in finding.problem


def test_an_activity_that_ignores_its_key_is_found_by_a_check(operon, forget, ledger):
    def check(_session):
        assert len(shop.happened(ledger)) == 1, "charged twice"

    exploration = found(PlantedQuietCounter(), check, operon=operon, prepare=forget)

    [finding] = exploration.findings
    assert finding.name == "before COMMIT of activity 'charge', position 1, attempt 1"
    assert "the check says AssertionError: charged twice" in finding.problem


def test_a_step_that_commits_through_another_connection_is_found(
    make_operon, database, operon
):
    # on SQLite a step that began as a writer would wait for itself
    careless = make_operon(database.url, manage_sqlite=False)

    exploration = found(PlantedOtherConnection(database.url), operon=careless)

    [finding] = exploration.findings
    assert finding.name == "before COMMIT of step 'reserve', position 1, attempt 1"
    assert "orders, only after it" in finding.problem
    assert "only without a crash" not in finding.problem


def test_a_body_that_does_something_else_each_time_is_found(operon):
    exploration = found(PlantedChance(), operon=operon, prepare=subjects.PLAYS.clear)

    by_name = {finding.name: finding.problem for finding in exploration.findings}
    assert "before COMMIT of step 'odd', position 1, attempt 1" in by_name
    problem = by_name["after COMMIT of step 'odd', position 1, attempt 1"]
    assert "the call raises RunDeadError" in problem
    assert "NonDeterminismError" in problem


def test_a_run_that_differs_without_a_crash_is_found(operon):
    subjects.PLAYS.clear()

    exploration = found(PlantedChance(), operon=operon)

    first = exploration.findings[0]
    assert first.only == ()
    assert first.name == "two runs without a crash differ: something in it is random"
    assert re.search(r"only the first time: .*name=odd", first.problem)
    assert re.search(r"only the second time: .*name=even", first.problem)


def test_what_only_a_second_crash_breaks_is_found_by_pairs(operon, forget):
    planted = PlantedThirdCall()
    explore(planted, operon=operon, prepare=forget)

    exploration = found(planted, operon=operon, prepare=forget, depth=2, seed=3)

    [smallest, *_] = exploration.findings
    again = found(planted, operon=operon, prepare=forget, only=smallest.only)
    assert smallest.name == (
        "before COMMIT of activity 'charge', position 1, attempt 1, then, in the "
        "recovery, before COMMIT of activity 'charge', position 1, attempt 1"
    )
    assert exploration.seed == 3
    assert [each.problem for each in again.findings] == [smallest.problem]


def test_a_right_workflow_is_the_same_after_pairs_of_crashes(operon):
    exploration = explore(shop.Checkout("book"), operon=operon, depth=2, limit=12)

    assert exploration.tried == 15 + 12


def test_the_report_tells_how_to_see_it_again(operon, forget):
    with pytest.raises(NotCrashSafeError) as caught:
        explore(PlantedCounter(), operon=operon, prepare=forget, seed=7)

    report = str(caught.value)
    number = int(re.search(r"only=(\d+), seed=7\)", report)[1])
    again = found(PlantedCounter(), operon=operon, prepare=forget, only=number)
    assert report.startswith("PlantedCounter(): 1 of 12 schedules of crashes change")
    assert again.tried == 1
    assert again.findings == caught.value.exploration.findings


def test_nothing_of_an_exploration_remains(operon):
    contents = contents_of(operon.engine)
    with Session(operon.engine) as session, session.begin():
        session.add(shop.Order(sku="book", quantity=9, run_id="before"))
    before = contents.rows()

    explore(shop.Checkout("book"), operon=operon, only=5)

    assert contents.rows() == before
    assert len(before["orders"]) == 1


def test_a_check_that_fails_without_a_crash_is_raised_as_it_is(operon):
    def check(_session):
        raise AssertionError("never right")

    with pytest.raises(AssertionError, match=r"^never right$"):
        explore(shop.Checkout("book"), check, operon=operon)


def test_columns_may_be_left_out(operon, forget):
    ignore = {"orders.status", "operon_checkpoints.output"}

    exploration = explore(
        PlantedCounter(), operon=operon, prepare=forget, ignore=ignore
    )

    assert exploration.findings == ()


def test_a_launched_operon_is_refused(operon):
    operon.launch()

    with pytest.raises(MisuseError, match="launched, which would take the runs over"):
        explore(shop.Checkout("book"), operon=operon)


@pytest.mark.parametrize("only", [0, 16, (), -1, (16, 1)])
def test_a_boundary_that_does_not_exist_is_refused(operon, only):
    with pytest.raises(MisuseError, match="use a number from 1 to 15"):
        explore(shop.Checkout("book"), operon=operon, only=only)


def test_something_that_cannot_be_run_is_refused(operon):
    with pytest.raises(MisuseError, match="was given nothing to run"):
        explore("Checkout", operon=operon)


def test_an_exploration_waits_for_no_time_to_pass(operon, forget):
    """The journey takes two months and more by its clock."""
    began = time.monotonic()

    explore(ExploredTrier(), operon=operon, prepare=forget, only=1)

    assert time.monotonic() - began < 10
