"""Events: the last value under a key, for whoever waits, however many they are."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import RunCancelled
from operon import Workflow
from operon import step
from operon.engine import execution
from operon.errors import DecodeError
from operon.errors import MisuseError
from operon.errors import RunCancelledError
from operon.errors import RunNotFoundError
from operon.points import Point
from operon.store import events
from operon.testing import TurnedClock
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.waits import AT_ONCE
from tests.engine.waits import SOON
from tests.engine.waits import Crash
from tests.engine.waits import MarkerRun
from tests.engine.waits import await_waiting
from tests.engine.waits import crash_once
from tests.engine.waits import let_look
from tests.engine.waits import row
from tests.engine.waits import stocked
from tests.engine.waits import threads_of
from tests.processes import eventually

HOUR = timedelta(hours=1)
NOW = timedelta(0)


class PublishesAll(Workflow):
    """PublishesAll values under one key, one after the other."""

    values: list[Any]

    def run(self) -> None:
        for value in self.values:
            self.publish("k", value)


class AwaitsEvent(Workflow):
    """Waits for the event `k` of run `p`, then writes a row."""

    timeout: timedelta | None = None

    @step
    def insert(self, session: Session) -> None:
        insert_order(session)

    def run(self) -> Any:
        found = self.event("p", "k", timeout=self.timeout)
        self.insert()
        return found


@pytest.fixture
def clock():
    return TurnedClock()


@pytest.fixture
def stage(make_operon, database, clock):
    """An Operon that suspends at once, on a turned clock; there is a run `p`."""
    operon = stocked(make_operon(database.url, clock=clock, **AT_ONCE))
    operon.run(MarkerRun(), id="p")
    return operon


# --- seen from outside


def test_the_last_value_counts(stage):
    stage.run(PublishesAll([1, 2, {"three": 3}]), id="r")

    assert stage.handle("r").event("k") == {"three": 3}
    assert stage.handle("r").events() == {"k": {"three": 3}}
    stage.publish("r", "k", 4)
    stage.publish("r", "l", None)
    assert stage.handle("r").events() == {"k": 4, "l": None}


def test_the_events_of_runs_are_apart(stage):
    stage.run(PublishesAll([1]), id="r")

    assert stage.handle("p").events() == {}
    assert stage.handle("p").event("k", timeout=NOW) is None


def test_a_caller_waits_for_an_event_until_it_is_published(stage):
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(stage.handle("p").event, "k", type=int, timeout=SOON)
            for _ in range(4)
        ]
        stage.publish("p", "k", 7)

        assert [each.result(20) for each in asked] == [7] * 4


def test_a_caller_who_has_waited_long_enough_gets_none(stage):
    asked = stage.handle("p").event("k", timeout=timedelta(milliseconds=30))

    assert asked is None


@pytest.mark.parametrize(
    "ask",
    [
        lambda handle: handle.event("k"),
        lambda handle: handle.events(),
        lambda handle: next(handle.stream("log")),
    ],
    ids=["event", "events", "stream"],
)
def test_who_asks_an_unknown_run_is_told_at_once(stage, ask):
    with pytest.raises(RunNotFoundError, match="nobody"):
        ask(stage.handle("nobody"))


def test_what_a_caller_asks_for_is_checked(stage):
    handle = stage.handle("p")
    for ask in (
        lambda: handle.event(""),
        lambda: handle.event("k", timeout=-HOUR),
        lambda: stage.publish("p", "", 1),
        lambda: stage.publish("p", "k", object()),
    ):
        with pytest.raises(MisuseError):
            ask()
    assert handle.events() == {}


# --- waited for by runs


@pytest.mark.parametrize("inline_wait", [NOW, HOUR])
def test_many_waiters_wake(make_operon, database, inline_wait):
    operon = stocked(make_operon(database.url, inline_wait=inline_wait))
    operon.run(MarkerRun(), id="p")
    operon.launch()
    handles = [operon.start(AwaitsEvent(), id=f"r{n}") for n in range(6)]
    for each in handles:
        if inline_wait:
            eventually(lambda run_id=each.id: threads_of(run_id))
        else:
            waiting = await_waiting(operon, each.id)
            assert (waiting.wait_kind, waiting.executor) == ("event", None)

    operon.publish("p", "k", "now")

    assert [each.result(SOON) for each in handles] == ["now"] * 6
    assert count(operon) == 6


def test_an_event_that_is_there_is_not_waited_for(stage):
    stage.publish("p", "k", 1)

    assert stage.run(AwaitsEvent(), id="r") == 1
    assert row(stage, "r").epoch == 1


def test_an_event_is_taken_as_it_was_when_the_body_asked(make_operon, database):
    """A replay says what was recorded, though another value has come since."""
    probe = crash_once(Point.BEGAN, "r")
    operon = stocked(make_operon(database.url, probe=probe))
    operon.run(MarkerRun(), id="p")
    operon.publish("p", "k", "old")
    with pytest.raises(Crash):
        operon.run(AwaitsEvent(), id="r")
    operon.publish("p", "k", "new")

    assert operon.run(AwaitsEvent(), id="r") == "old"
    assert history(operon, "r") == [(1, "event", "k"), (2, "step", "insert")]


def test_an_event_of_another_key_or_run_wakes_nobody(stage):
    stage.launch()
    handle = stage.start(AwaitsEvent(), id="r")
    before = await_waiting(stage, "r").epoch

    stage.publish("p", "another", 1)
    stage.publish("r", "k", 1)
    let_look(stage)
    after = row(stage, "r")
    stage.publish("p", "k", 2)

    assert (after.status, after.epoch) == ("waiting", before)
    assert handle.result(SOON) == 2


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("order", ["event", "waiting"])
def test_an_event_between_none_yet_and_waiting_wakes_in_either_commit_order(
    make_operon, database, monkeypatch, order, told
):
    operon = stocked(make_operon(database.url, **AT_ONCE))
    operon.run(MarkerRun(), id="p")
    if not told:
        operon._process.ready().services.tell = lambda *_: None
    suspend, done = execution.suspend, []

    def between(run, wait) -> None:
        if run.run_id != "r" or done:
            suspend(run, wait)
            return
        done.append(1)
        if order == "event":
            operon.publish("p", "k", 1)
            suspend(run, wait)
        elif database.dialect == "sqlite":
            suspend(run, wait)
            operon.publish("p", "k", 1)
        else:
            with Session(operon.engine) as session, session.begin():
                operon.publish("p", "k", 1, session=session)
                suspend(run, wait)

    monkeypatch.setattr(execution, "suspend", between)
    operon.launch()

    assert operon.start(AwaitsEvent(), id="r").result(SOON) == 1
    assert done


def test_a_timeout_gives_none_once_and_for_ever(make_operon, database, clock):
    probe = crash_once(Point.BEGAN, "r")
    operon = stocked(make_operon(database.url, clock=clock, probe=probe, **AT_ONCE))
    operon.run(MarkerRun(), id="p")
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(operon.run, AwaitsEvent(HOUR), id="r")
        await_waiting(operon, "r")
        clock.turn(hours=1)
        with pytest.raises(Crash):
            ran.result(20)
    operon.publish("p", "k", "too late")

    assert operon.run(AwaitsEvent(HOUR), id="r") is None
    assert names(operon, "r") == ["k", "insert"]


def test_an_unknown_run_is_an_error_that_is_recorded_once(make_operon, database):
    probe = crash_once(Point.BEGAN, "r")
    operon = stocked(make_operon(database.url, probe=probe))

    class Catches(AwaitsEvent):
        def run(self) -> Any:
            try:
                return self.event("p", "k")
            except RunNotFoundError as error:
                self.insert()
                return error.run_id

    with pytest.raises(Crash):
        operon.run(Catches(), id="r")
    operon.run(PublishesAll([1]), id="p")  # too late

    assert operon.run(Catches(), id="r") == "p"
    assert history(operon, "r") == [(1, "event", "k"), (2, "step", "insert")]


def test_a_handle_waits_in_a_body_without_a_thread(stage):
    class Asks(Workflow):
        def run(self) -> Any:
            handle = self.start(PublishesAll([1, 2]), id="child")
            handle.result()
            return handle.event("k", type=int)

    stage.launch()

    assert stage.start(Asks(), id="r").result(SOON) == 2
    kinds = [kind for _, kind, _ in history(stage, "r")]
    assert kinds == ["start", "result", "event"]


def test_two_runs_talk_by_events(stage):
    class Ping(Workflow):
        def run(self) -> Any:
            self.publish("ping", 1)
            return self.event("pong", "pong")

    class Pong(Workflow):
        def run(self) -> None:
            self.publish("pong", [self.event("ping", "ping"), 2])

    stage.start(Ping(), id="ping")
    stage.start(Pong(), id="pong")
    stage.launch()

    assert stage.handle("ping").result(SOON) == [1, 2]


def test_a_waiter_in_another_process_wakes(make_operon, database):
    here = stocked(make_operon(database.url, **AT_ONCE))
    there = make_operon(database.url)
    here.run(MarkerRun(), id="p")
    here.launch()
    handle = here.start(AwaitsEvent(), id="r")
    await_waiting(there, "r")

    there.publish("p", "k", 1)

    assert handle.result(SOON) == 1


def test_a_run_that_waits_for_an_event_is_woken_by_a_cancel_and_compensates(stage):
    class CompensatesEvent(AwaitsEvent):
        def run(self) -> Any:
            try:
                return self.event("p", "k")
            except RunCancelled:
                self.insert()
                raise

    stage.launch()
    handle = stage.start(CompensatesEvent(), id="r")
    await_waiting(stage, "r")
    stage.cancel("r")

    with pytest.raises(RunCancelledError):
        handle.result(SOON)
    assert names(stage, "r") == ["cancel", "insert"]


# --- values, and once


@dataclasses.dataclass(frozen=True)
class Progress:
    done: int
    at: datetime


@pytest.mark.parametrize("who", ["body", "outside"])
def test_a_value_comes_as_what_it_was_published_as(stage, who):
    value = Progress(3, datetime(2026, 1, 2, tzinfo=UTC))

    class Tells(Workflow):
        def run(self) -> None:
            self.publish("k", value)

    class Reads(Workflow):
        def run(self) -> bool:
            return self.event("p", "k", type=Progress) == value

    if who == "body":
        stage.run(Tells(), id="q")
        assert stage.handle("q").event("k", type=Progress) == value
    stage.publish("p", "k", value)

    assert stage.run(Reads()) is True
    assert stage.handle("p").event("k", type=Progress) == value
    assert stage.handle("p").events()["k"]["done"] == 3


def test_an_event_that_does_not_decode_is_an_error_once(make_operon, database):
    probe = crash_once(Point.BEGAN, "r")
    operon = stocked(make_operon(database.url, probe=probe))
    operon.run(PublishesAll(["three"]), id="p")

    class Reads(AwaitsEvent):
        def run(self) -> Any:
            try:
                return self.event("p", "k", type=int)
            except DecodeError as error:
                self.insert()
                return str(error)

    with pytest.raises(Crash):
        operon.run(Reads(), id="r")
    operon.publish("p", "k", 3)

    assert "'k'" in operon.run(Reads(), id="r")
    with pytest.raises(DecodeError, match="'k'"):
        operon.handle("p").event("k", type=str)


@pytest.mark.parametrize("point", [Point.RECORDED, Point.COMMITTED])
def test_a_crash_around_a_publish_does_not_bring_an_old_value_back(
    make_operon, database, point
):
    """What was published after the crash by somebody else is not overwritten twice."""
    operon = make_operon(database.url, probe=crash_once(point, "r"))
    with pytest.raises(Crash):
        operon.run(PublishesAll([1]), id="r")
    recorded = len(operon.list_steps("r"))
    operon.publish("r", "k", "between")

    operon.run(PublishesAll([1]), id="r")

    assert recorded == (1 if point is Point.COMMITTED else 0)
    expected = "between" if point is Point.COMMITTED else 1
    assert operon.handle("r").events() == {"k": expected}


def test_a_publish_of_its_own_commit_would_bring_an_old_value_back(
    make_operon, postgres_database, monkeypatch
):
    """Planted bug: publishing and recording in two transactions."""
    operon = make_operon(postgres_database.url, probe=crash_once(Point.RECORDED, "r"))
    database = operon._process.ready().services.database
    real = events.publish

    def apart(connection, *args, **options) -> None:
        del connection
        with database.transaction() as another:
            real(another, *args, **options)

    monkeypatch.setattr(events, "publish", apart)
    with pytest.raises(Crash):
        operon.run(PublishesAll([1]), id="r")

    assert operon.list_steps("r") == []
    assert operon.handle("r").events() == {"k": 1}


def test_publishers_in_many_threads_leave_one_value(stage):
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: stage.publish("p", "k", n), range(24)))

    assert stage.handle("p").event("k", type=int) in range(24)
    assert list(stage.handle("p").events()) == ["k"]


def test_events_follow_the_chain(stage):
    """Published by whichever run of it, they are those of all."""

    class Chain(Workflow):
        number: int

        def run(self) -> None:
            self.publish(f"k{self.number}", self.number)
            if self.number < 3:
                self.continue_as(Chain(self.number + 1))

    class Waits(Workflow):
        def run(self) -> Any:
            return self.event("c", "k3")

    stage.launch()
    handle = stage.start(Waits(), id="r")
    stage.start(Chain(1), id="c")

    assert handle.result(SOON) == 3
    stage.handle("c").result(SOON)
    for run_id in ("c", "c~2", "c~3"):
        assert stage.handle(run_id).events() == {"k1": 1, "k2": 2, "k3": 3}
    assert status(stage, "c~3") == "succeeded"
