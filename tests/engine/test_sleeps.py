"""SleepsOnce: until when, in what, and what they outlive."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import step
from operon.errors import MisuseError
from operon.errors import RunCancelledError
from operon.errors import RunTimeoutError
from operon.points import Point
from operon.testing import TurnedClock
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.waits import AT_ONCE
from tests.engine.waits import SOON
from tests.engine.waits import await_waiting
from tests.engine.waits import crash_once
from tests.engine.waits import let_look
from tests.engine.waits import row
from tests.engine.waits import stocked
from tests.engine.waits import threads_of
from tests.processes import eventually

HOUR = timedelta(hours=1)
LONG = timedelta(days=300)


class SleepsOnce(Workflow):
    """SleepsOnce, then writes a row."""

    duration: timedelta = HOUR

    @step
    def insert(self, session: Session) -> None:
        insert_order(session)

    def run(self) -> datetime:
        self.sleep(self.duration)
        self.insert()
        return self.now()


class SleepsToUndo(Workflow):
    """SleepsOnce; told to end, it sleeps once more before it writes a row."""

    @step
    def undo(self, session: Session) -> None:
        insert_order(session, "undone")

    def run(self) -> None:
        try:
            self.sleep(LONG)
        except RunCancelled:
            self.sleep(HOUR)
            self.undo()
            raise


@pytest.fixture
def clock():
    return TurnedClock()


@pytest.fixture
def sleeper(make_operon, database, clock):
    """A launched Operon on a turned clock, with a shop."""
    operon = stocked(make_operon(database.url, clock=clock))
    operon.launch()
    return operon


def test_a_long_sleep_holds_neither_executor_nor_thread(sleeper):
    sleeper.start(SleepsOnce(), id="r")

    waiting = await_waiting(sleeper, "r")

    assert (waiting.executor, waiting.wait_kind) == (None, "sleep")
    eventually(lambda: threads_of("r") == [], saying="its thread ends")
    assert "r" not in sleeper._process.made().services.active


def test_a_short_sleep_is_waited_for_in_its_thread(make_operon, database, clock):
    operon = stocked(make_operon(database.url, clock=clock, inline_wait=LONG))
    operon.launch()
    handle = operon.start(SleepsOnce(), id="r")
    eventually(lambda: threads_of("r"))
    let_look(operon)

    before = status(operon, "r")
    clock.turn(hours=1)

    handle.result(SOON)
    assert before == "running"
    assert row(operon, "r").epoch == 1  # one claim


def test_a_sleep_ends_on_time_and_not_before(sleeper, clock):
    handle = sleeper.start(SleepsOnce(), id="r")
    began = row(sleeper, "r").created_at
    await_waiting(sleeper, "r")

    clock.turn(minutes=59)
    let_look(sleeper)
    before = status(sleeper, "r")
    clock.turn(minutes=1)
    ended = handle.result(SOON)

    assert before == "waiting"
    assert HOUR <= ended - began < HOUR + timedelta(minutes=1)


def test_a_sleep_survives_a_restart_and_ends_when_it_would_have(
    make_operon, database, sleeper, clock
):
    sleeper.start(SleepsOnce(), id="r")
    until = await_waiting(sleeper, "r").wait_until
    clock.turn(minutes=40)
    sleeper.shutdown()

    after = make_operon(database.url, clock=clock)
    after.launch()
    clock.turn(minutes=19)
    let_look(after)
    before = row(after, "r")
    clock.turn(minutes=1)
    after.handle("r").result(SOON)

    assert (before.status, before.wait_until) == ("waiting", until)
    assert count(after) == 1


@pytest.mark.parametrize(
    ("point", "nth"), [(Point.LOADED, 2), (Point.COMMITTED, 1), (Point.COMMITTED, 2)]
)
def test_a_crash_after_a_sleep_does_not_start_it_anew(
    make_operon, database, clock, point, nth
):
    """When it woke, when the sleep is recorded, and after the step that follows."""
    probe = crash_once(point, "r", nth=nth)
    operon = stocked(make_operon(database.url, clock=clock, probe=probe))
    operon.launch()
    handle = operon.start(SleepsOnce(), id="r")
    await_waiting(operon, "r")

    clock.turn(hours=1)
    eventually(lambda: row(operon, "r").epoch >= 4, saying="it is left and released")
    clock.turn(seconds=5)

    handle.result(SOON)
    assert history(operon, "r") == [(1, "sleep", "sleep"), (2, "step", "insert")]
    assert count(operon) == 1


def test_a_caller_who_runs_a_sleeping_run_gets_its_result(make_operon, database, clock):
    """Nobody is launched: the caller's thread continues it when it wakes."""
    operon = stocked(make_operon(database.url, clock=clock))
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(operon.run, SleepsOnce(), id="r")
        await_waiting(operon, "r")
        clock.turn(hours=1)
        result.result(SOON.total_seconds())

    assert status(operon, "r") == "succeeded"
    assert count(operon) == 1


@pytest.mark.parametrize("how", ["zero", "past"])
def test_a_sleep_that_is_over_at_once_is_recorded_and_suspends_nothing(
    make_operon, database, how
):
    class Barely(Workflow):
        def run(self) -> None:
            if how == "zero":
                self.sleep(timedelta(0))
            else:
                self.sleep_until(datetime(2020, 1, 1, tzinfo=UTC))

    operon = make_operon(database.url, **AT_ONCE)

    operon.run(Barely(), id="r")

    assert history(operon, "r") == [(1, "sleep", "sleep")]
    assert row(operon, "r").epoch == 1


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda body: body.sleep(timedelta(seconds=-1)), "self.sleep"),
        (lambda body: body.sleep(3), "self.sleep"),
        (lambda body: body.sleep_until(datetime(2030, 1, 1)), "self.sleep_until"),  # noqa: DTZ001 - it is what is refused
        (lambda body: body.sleep_until("tomorrow"), "self.sleep_until"),
        (lambda body: body.receive("t", timeout=-HOUR), "self.receive"),
        (lambda body: body.event("r", "k", timeout=-HOUR), "self.event"),
    ],
)
def test_what_is_no_time_to_wait_is_refused_and_takes_no_position(operon, ask, named):
    class Asks(Workflow):
        @step
        def insert(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> str:
            with pytest.raises(MisuseError) as caught:
                ask(self)
            self.insert()
            return str(caught.value)

    said = operon.run(Asks(), id="r")

    assert named in said
    assert history(operon, "r") == [(1, "step", "insert")]


def test_a_sleep_beyond_the_calendar_waits_until_it_is_cancelled(sleeper):
    handle = sleeper.start(SleepsOnce(timedelta.max), id="r")
    await_waiting(sleeper, "r")
    sleeper.cancel("r")

    with pytest.raises(RunCancelledError):
        handle.result(SOON)
    assert names(sleeper, "r") == ["cancel"]


def test_a_sleep_outside_a_body_is_refused(operon):
    class Steps(Workflow):
        @step
        def nap(self, session: Session) -> None:
            self.sleep(timedelta(0))

        def run(self) -> None:
            self.nap()

    for call in (Steps().run, lambda: operon.run(Steps())):
        with pytest.raises(MisuseError):
            call()


def test_a_moment_is_the_same_in_every_time_zone(sleeper, clock):
    class Until(Workflow):
        moment: datetime

        def run(self) -> datetime:
            self.sleep_until(self.moment)
            return self.now()

    moment = (clock.now() + HOUR).astimezone(timezone(timedelta(hours=9)))
    handle = sleeper.start(Until(moment), id="r")
    assert await_waiting(sleeper, "r").wait_until == moment
    clock.turn(hours=1)

    woke = handle.result(SOON)

    assert timedelta(0) <= woke - moment < timedelta(minutes=1)


def test_each_sleep_of_a_body_has_an_end_of_its_own(sleeper, clock):
    class Twice(Workflow):
        def run(self) -> list[datetime]:
            self.sleep(HOUR)
            first = self.now()
            self.sleep(HOUR)
            return [first, self.now()]

    handle = sleeper.start(Twice(), id="r")
    await_waiting(sleeper, "r", 1)
    clock.turn(hours=1)
    await_waiting(sleeper, "r", 2)
    clock.turn(hours=1)

    first, second = handle.result(SOON)
    assert HOUR <= second - first < HOUR + timedelta(minutes=1)


def test_a_body_reads_the_same_time_after_a_sleep_on_every_replay(sleeper, clock):
    seen: list[datetime] = []

    class Looks(Workflow):
        def run(self) -> None:
            self.sleep(HOUR)
            seen.append(self.now())
            self.sleep(HOUR)

    handle = sleeper.start(Looks(), id="r")
    await_waiting(sleeper, "r", 1)
    clock.turn(hours=1)
    await_waiting(sleeper, "r", 2)
    clock.turn(hours=1)
    handle.result(SOON)

    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_many_sleeping_runs_hold_no_threads(sleeper, clock):
    handles = [sleeper.start(SleepsOnce(), id=f"r{n}") for n in range(60)]
    for each in handles:
        await_waiting(sleeper, each.id)
    eventually(lambda: not any(threads_of(each.id) for each in handles))
    threads = threading.active_count()
    clock.turn(hours=1)
    for each in handles:
        each.result(SOON)

    assert threads < 30  # those that executed runs stay for a moment, 16 at most
    assert count(sleeper) == 60


def test_a_sleep_that_is_disturbed_by_a_retry_goes_on_to_its_own_end(sleeper, clock):
    calls: list[int] = []

    class Both(Workflow):
        @activity(retry=Retry(attempts=2, delay=timedelta(minutes=1), jitter=0))
        def ring(self) -> int:
            calls.append(1)
            if len(calls) == 1:
                raise LookupError
            return len(calls)

        def run(self) -> int:
            future = self.spawn(self.ring)
            self.sleep(HOUR)
            return future.result()

    handle = sleeper.start(Both(), id="r")
    until = await_waiting(sleeper, "r", 2).wait_until
    clock.turn(minutes=2)
    eventually(lambda: names(sleeper, "r") == ["ring"])
    again = await_waiting(sleeper, "r", 2)
    clock.turn(minutes=58)

    assert handle.result(SOON) == 2
    assert again.wait_until == until
    assert again.wake_at == until


def test_a_sleeping_run_is_woken_by_a_cancel_and_compensates(sleeper, clock):
    handle = sleeper.start(SleepsToUndo(), id="r")
    await_waiting(sleeper, "r", 1)

    sleeper.cancel("r")
    await_waiting(sleeper, "r", 2)  # its compensation may sleep as well
    clock.turn(hours=1)

    with pytest.raises(RunCancelledError):
        handle.result(SOON)
    assert names(sleeper, "r") == ["cancel", "sleep", "undo"]
    assert count(sleeper, run_id="undone") == 1


def test_a_sleeping_run_is_told_at_its_deadline(sleeper, clock):
    handle = sleeper.start(SleepsOnce(LONG), id="r", timeout=HOUR)
    await_waiting(sleeper, "r")
    clock.turn(hours=1)

    with pytest.raises(RunTimeoutError):
        handle.result(SOON)
    assert count(sleeper) == 0


def test_what_sleeps_after_its_deadline_is_left_in_peace(sleeper, clock):
    """The deadline was told: it is no reason to wake the run again and again."""
    handle = sleeper.start(SleepsToUndo(), id="r", timeout=HOUR)
    await_waiting(sleeper, "r", 1)
    clock.turn(hours=1)
    waiting = await_waiting(sleeper, "r", 2)
    let_look(sleeper)
    let_look(sleeper)
    later = row(sleeper, "r")
    clock.turn(hours=1)

    with pytest.raises(RunTimeoutError):
        handle.result(SOON)
    assert later.epoch == waiting.epoch
    assert waiting.wake_at == waiting.wait_until
    assert count(sleeper, run_id="undone") == 1


def test_a_sleep_is_ended_by_another_executor_too(
    make_operon, database, sleeper, clock
):
    sleeper.start(SleepsOnce(), id="r")
    await_waiting(sleeper, "r")
    other: Any = make_operon(database.url, clock=clock)
    other.launch()
    sleeper.shutdown()
    clock.turn(hours=1)

    other.handle("r").result(SOON)

    assert count(other) == 1
