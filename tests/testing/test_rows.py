"""Two states are the same but for what is random, and random in the same places."""

from datetime import UTC
from datetime import datetime
from typing import Any

import pytest

from operon.testing.rows import Comparison
from operon.testing.rows import Difference
from operon.testing.rows import State


def orders(*keys: str, lines: str = "") -> dict[str, list[dict[str, Any]]]:
    """Return an order for each of *keys*, and a line for each of *lines*' letters."""
    return {
        "orders": [{"key": key, "sku": f"s{at}"} for at, key in enumerate(keys)],
        "lines": [{"order": line, "no": at} for at, line in enumerate(lines.split())],
    }


CLEAN = orders("a1", "b1", lines="a1 b1")
AGAIN = orders("a2", "b2", lines="a2 b2")


def compared(rows: dict[str, Any]) -> Difference:
    """Return what distinguishes *rows* from two clean states that are random."""
    clean = State(CLEAN)
    return Comparison(clean, State(AGAIN)).compare(clean, State(rows))


def told(rows: dict[str, Any]) -> str:
    return compared(rows).told("before", "after")


def test_random_values_may_be_others():
    assert not compared(orders("a3", "b3", lines="a3 b3"))


def test_the_order_of_rows_does_not_count():
    rows = orders("a3", "b3", lines="a3 b3")

    assert not compared({table: found[::-1] for table, found in rows.items()})


def test_random_values_must_be_the_same_in_the_same_places():
    assert compared(orders("a3", "b3", lines="a3 c3"))


def test_references_that_were_swapped_are_told():
    assert compared(orders("a3", "b3", lines="b3 a3"))


def test_a_row_that_is_missing_is_told():
    assert told(orders("a3", "b3", lines="a3")) == (
        "  lines, only before: order=b1, no=1"
    )


def test_a_row_that_is_there_twice_is_told():
    rows = orders("a3", "b3", lines="a3 b3")
    rows["lines"].append({"order": "b3", "no": 1})

    assert told(rows) == "  lines, only after: order=b3, no=1"


def test_a_constant_that_changed_is_told_from_both_sides():
    rows = orders("a3", "b3", lines="a3 b3")
    rows["orders"][0]["sku"] = "other"

    assert told(rows) == (
        "  orders, only before: key=a1, sku=s0\n  orders, only after: key=a3, sku=other"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, ""),
        (0, None),
        (1, 2),
        (True, False),
        (b"a", b"b"),
        ({"a": [1]}, {"a": [2]}),
        ("two words", "two  words"),
    ],
)
def test_values_that_are_not_random_are_compared(one, other):
    clean, changed = (State({"t": [{"id": 1, "v": v}]}) for v in (one, other))

    assert Comparison(clean, clean).compare(clean, changed)
    assert not Comparison(clean, clean).compare(clean, clean)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)),
        ("at 2020-01-01T00:00:00Z.", "at 2021-02-02 03:04:05.678+00:00."),
        ({"at": "2020-01-01"}, {"at": "2021-01-01"}),
    ],
)
def test_times_are_not_compared(one, other):
    clean, changed = (State({"t": [{"id": 1, "v": v}]}) for v in (one, other))

    assert not Comparison(clean, clean).compare(clean, changed)


def test_a_time_that_is_missing_is_told():
    clean, changed = (
        State({"t": [{"v": v}]}) for v in (datetime(2020, 1, 1, tzinfo=UTC), None)
    )

    assert Comparison(clean, clean).compare(clean, changed)


def test_epochs_of_operon_are_not_compared_but_those_of_others_are():
    one, other = ({"id": "r", "epoch": 1}, {"id": "r", "epoch": 2})

    def compared(table):
        clean = State({table: [one]})
        return Comparison(clean, clean).compare(clean, State({table: [other]}))

    assert not compared("operon_runs")
    assert compared("runs")


def test_tables_and_columns_that_are_ignored_are_not_compared():
    clean = State({"t": [{"a": 1, "b": 1}], "u": [{"a": 1}]}, {"t.b", "u"})
    other = State({"t": [{"a": 1, "b": 2}], "u": []}, {"t.b", "u"})

    assert not Comparison(clean, clean).compare(clean, other)
