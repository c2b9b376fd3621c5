"""Many runs at once: cancelled, resumed and retried by what they have in common."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import RunCancelled
from operon import RunStatus
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.api import operating
from operon.errors import RunDeadError
from operon.testing import TurnedClock
from tests.engine.facts import count
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.turned import HOUR
from tests.engine.turned import SOON
from tests.engine.turned import await_status
from tests.engine.turned import turn
from tests.shop import ThreeSteps
from tests.shop import create_shop

broken: list[int] = []
"""What makes `BulkPays` fail and `BulkDies` die."""


class BulkSleeps(Workflow):
    """Waits for a day; compensates if it is cancelled."""

    @step
    def undo(self, session: Session) -> None:
        insert_order(session, f"undone {current().run_id}")

    def run(self) -> str:
        try:
            self.sleep(24 * HOUR)
        except RunCancelled:
            self.undo()
            raise
        return "slept"


class BulkPays(Workflow):
    @step
    def reserve(self, session: Session) -> None:
        insert_order(session, current().run_id)

    @activity
    def charge(self) -> str:
        if broken:
            raise LookupError("bank is down")
        return "paid"

    def run(self) -> str:
        self.reserve()
        return self.charge()


class BulkUndoes(BulkPays):
    def run(self) -> str:
        try:
            return self.charge()
        finally:
            self.reserve()


class BulkDies(BulkPays):
    def run(self) -> str:
        self.reserve()
        if broken:
            raise SystemExit
        return "lives"


@pytest.fixture(autouse=True)
def nothing_broken():
    broken.clear()
    yield
    broken.clear()


@pytest.fixture
def operon(make_operon, database):
    """An Operon on a turned clock, whose runs are suspended at once when they wait."""
    operon = make_operon(database.url, clock=TurnedClock(), inline_wait=timedelta(0))
    create_shop(operon.engine, "book")
    return operon


def statuses(operon, *run_ids: str) -> list[str]:
    return [status(operon, run_id) for run_id in run_ids]


# --- cancel


def test_every_live_run_is_cancelled_wherever_it_stands(operon):
    operon.run(ThreeSteps("book"), id="ended")
    operon.launch()
    operon.start(BulkSleeps(), id="waiting")
    await_status(operon, "waiting", "waiting")
    operon.start(BulkSleeps(), id="enqueued", delay=24 * HOUR)
    seen: list[int] = []

    came_to = operon.cancel_runs(progress=seen.append)

    assert (came_to.done, came_to.refused) == (["enqueued", "waiting"], {})
    assert seen == [1, 1]
    await_status(operon, "waiting", "cancelled")
    assert statuses(operon, "enqueued", "ended") == ["cancelled", "succeeded"]
    assert count(operon, run_id="undone waiting") == 1
    assert operon.cancel_runs().done == []


@pytest.fixture
def many(operon):
    """Live runs that differ in everything a filter can ask."""
    operon.start(BulkSleeps(), id="a", attributes={"customer": 1})
    operon.start(BulkSleeps(), id="b", attributes={"customer": 2, "urgent": True})
    operon.start(BulkPays(), id="c", attributes={"customer": 1, "urgent": 1})
    turn(operon, HOUR)
    operon.start(BulkSleeps(), id="d", attributes={"customer": "1"})
    operon.start(BulkSleeps(), id="e")
    return operon


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ({}, "abcde"),
        ({"workflow": "BulkSleeps"}, "abde"),
        ({"workflow": "sleeps"}, ""),
        ({"attributes": {"customer": 1}}, "ac"),
        ({"attributes": {"customer": "1"}}, "d"),
        ({"attributes": {"urgent": True}}, "b"),
        ({"attributes": {"customer": 1}, "workflow": "BulkPays"}, "c"),
        ({"queue": "default"}, "abcde"),
        ({"queue": "other"}, ""),
        ({"status": RunStatus.ENQUEUED}, "abcde"),
        ({"status": [RunStatus.WAITING, RunStatus.RUNNING]}, ""),
        ({"status": RunStatus.SUCCEEDED}, ""),
    ],
)
def test_only_what_matches_every_condition_is_cancelled(many, wanted, meant):
    came_to = many.cancel_runs(**wanted, force=True)

    assert came_to.done == list(meant)
    for run_id in "abcde":
        ended = "cancelled" if run_id in meant else "enqueued"
        assert status(many, run_id) == ended


@pytest.mark.parametrize("bound", ["created_before", "created_after"])
def test_runs_are_cancelled_by_when_they_were_created(many, bound):
    between = many.get_run("d").created_at

    came_to = many.cancel_runs(**{bound: between})

    assert came_to.done == list("abc" if bound == "created_before" else "de")


def test_children_are_cancelled_with_those_that_match(operon):
    class Calls(Workflow):
        def run(self) -> str:
            return self.call(BulkSleeps())

    operon.launch()
    operon.start(Calls(), id="r")
    await_status(operon, "r", "waiting")
    await_status(operon, "r/1", "waiting")

    assert operon.cancel_runs(workflow="Calls").done == ["r"]

    await_status(operon, "r", "cancelled")
    await_status(operon, "r/1", "cancelled")


def test_more_than_a_page_is_cancelled_and_each_once(operon, monkeypatch):
    monkeypatch.setattr(operating, "_PAGE", 3)
    for number in range(10):
        operon.start(BulkSleeps(), id=f"r{number}")
    seen: list[int] = []

    came_to = operon.cancel_runs(progress=seen.append)

    assert came_to.done == [f"r{number}" for number in range(10)]
    assert sum(seen) == 10
    assert {status(operon, each) for each in came_to.done} == {"cancelled"}


def test_a_bulk_cancel_cut_in_half_leaves_the_rest_and_goes_on_when_called_again(
    operon,
):
    for number in range(5):
        operon.start(BulkSleeps(), id=f"r{number}")

    with pytest.raises(KeyboardInterrupt):
        operon.cancel_runs(progress=_Dies(3))
    half = [status(operon, f"r{number}") for number in range(5)]
    rest = operon.cancel_runs()

    assert half == ["cancelled"] * 3 + ["enqueued"] * 2
    assert rest.done == ["r3", "r4"]


class _Dies:
    """A progress bar whose process is killed at the *nth* step."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self, *_: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


# --- retry


def test_every_failed_run_is_retried_and_those_that_cannot_be_say_why(operon):
    broken.append(1)
    operon.launch()
    for run_id, workflow in (("a", BulkPays()), ("b", BulkUndoes()), ("c", BulkPays())):
        with pytest.raises(LookupError):
            operon.start(workflow, id=run_id).result(SOON)
    operon.run(ThreeSteps("book"), id="fine")
    broken.clear()

    came_to = operon.retry_runs()

    assert came_to.done == ["a", "c"]
    assert list(came_to.refused) == ["b"]
    assert "reserve" in came_to.refused["b"]
    assert [operon.handle(run_id).result(SOON) for run_id in "ac"] == ["paid"] * 2
    assert status(operon, "b") == "failed"
    assert (count(operon, run_id="a"), count(operon, run_id="c")) == (1, 1)
    assert operon.retry_runs().done == []


def test_failed_runs_are_retried_by_filter(operon):
    broken.append(1)
    for run_id, customer in (("a", 1), ("b", 2)):
        with pytest.raises(LookupError):
            operon.run(BulkPays(), id=run_id, attributes={"customer": customer})
    broken.clear()

    assert operon.retry_runs(attributes={"customer": 2}).done == ["b"]
    assert operon.retry_runs(workflow="BulkUndoes").done == []
    assert statuses(operon, "a", "b") == ["failed", "enqueued"]


# --- resume


def test_why_a_run_is_dead_is_told_once(operon):
    broken.append(1)
    operon.launch()

    with pytest.raises(RunDeadError) as raised:
        operon.start(BulkDies(), id="a").result(SOON)

    assert str(raised.value) == (
        "run 'a' is dead: its body raised SystemExit; mend the cause, then "
        "operon.resume the run"
    )


def test_every_dead_run_is_resumed_without_redoing(operon):
    broken.append(1)
    operon.launch()
    for run_id in "ab":
        with pytest.raises(RunDeadError):
            operon.start(BulkDies(), id=run_id).result(SOON)
    operon.start(BulkSleeps(), id="forced", delay=HOUR)
    operon.cancel("forced", force=True)
    broken.clear()

    came_to = operon.resume_runs()

    assert (came_to.done, came_to.refused) == (["a", "b"], {})
    assert [operon.handle(run_id).result(SOON) for run_id in "ab"] == ["lives"] * 2
    assert (names(operon, "a"), count(operon, run_id="a")) == (["reserve"], 1)
    assert status(operon, "forced") == "cancelled"


def test_runs_cancelled_by_force_are_resumed_if_that_is_asked(operon):
    operon.launch()
    for run_id in ("asked", "forced"):
        operon.start(BulkSleeps(), id=run_id)
        await_status(operon, run_id, "waiting")
        operon.cancel(run_id, force=run_id == "forced")
    await_status(operon, "asked", "cancelled")

    came_to = operon.resume_runs(status=RunStatus.CANCELLED)

    assert came_to.done == ["forced"]
    assert "compensated" in came_to.refused["asked"]
    await_status(operon, "forced", "waiting")


def test_a_run_that_is_removed_meanwhile_is_refused_and_the_rest_goes_on(operon):
    for run_id in "abc":
        operon.start(BulkSleeps(), id=run_id)
    seen: list[Any] = []

    def remove(_: int) -> None:
        if not seen:
            seen.append(1)
            operon.cancel("b", force=True)
            operon.purge(timedelta(0))

    came_to = operon.cancel_runs(progress=remove)

    assert came_to.done == ["a", "c"]
    assert "does not exist" in came_to.refused["b"]
