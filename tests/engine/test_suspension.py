"""Suspension: what unwinding causes, who may still write, and commits in doubt."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.engine import execution
from operon.points import Point
from operon.store import checkpoints
from operon.store import messages
from operon.store import waits
from operon.store.checkpoints import Record
from operon.store.waits import Wait
from operon.testing import TurnedClock
from tests import shop
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.waits import AT_ONCE
from tests.engine.waits import SOON
from tests.engine.waits import THIEF
from tests.engine.waits import MarkerRun
from tests.engine.waits import await_waiting
from tests.engine.waits import let_look
from tests.engine.waits import mail
from tests.engine.waits import offsets
from tests.engine.waits import record_and_end
from tests.engine.waits import row
from tests.engine.waits import steal
from tests.engine.waits import stocked
from tests.engine.waits import threads_of
from tests.engine.waits import unread
from tests.processes import eventually

HOUR = timedelta(hours=1)
SECONDS = SOON.total_seconds()


@pytest.fixture
def clock():
    return TurnedClock()


@pytest.fixture
def operon(make_operon, database, clock):
    """A launched Operon that suspends at once, on a turned clock."""
    operon = stocked(make_operon(database.url, clock=clock, **AT_ONCE))
    operon.launch()
    return operon


# --- unwinding


class UnwindsCarelessly(Workflow):
    """Everything that a body can do while it unwinds; *how* says what it raises."""

    how: str

    @step
    def insert(self, session: Session, who: str) -> None:
        insert_order(session, who)

    @activity
    def ring(self, who: str) -> None:
        shop.happen(who)

    def everything(self, who: str) -> None:
        """Call every durable operation; a BaseException of one stops no other."""
        for call in (
            lambda: self.insert(who),
            lambda: self.ring(who),
            lambda: self.send("r", "more", who),
            lambda: self.publish(who, 1),
            lambda: self.write("log", who),
            lambda: self.start(MarkerRun(), id=who),
            lambda: self.spawn(self.insert, who),
            lambda: self.annotate(who=who),
            lambda: self.patched(who),
            lambda: self.sleep(timedelta(0)),
            lambda: self.receive("more", timeout=timedelta(0)),
            lambda: self.continue_as(MarkerRun()),
        ):
            try:
                call()
            except BaseException as flow:  # noqa: BLE001 - as a careless body would
                seen.append(type(flow).__name__)

    def run(self) -> str:
        try:
            got = self.receive("t")
        except:
            self.everything("except")
            if self.how == "raise":
                raise LookupError from None
            if self.how == "return":
                return "swallowed"
            if self.how == "exit":
                raise SystemExit from None
            raise
        finally:
            self.insert("finally")
        return str(got)


seen: list[str] = []
"""What the operations raised while the body unwound."""


@pytest.mark.parametrize("how", ["again", "raise", "return", "exit"])
def test_a_body_that_swallows_its_suspension_causes_nothing_durable(
    operon, ledger, how
):
    seen.clear()
    handle = operon.start(UnwindsCarelessly(how), id="r")
    await_waiting(operon, "r")
    unwound = history(operon, "r")
    told = (len(mail(operon, "r")), handle.events(), offsets(operon, "r"))
    operon.send("r", "t", "go")

    assert handle.result(SOON) == "go"
    assert seen == ["Suspended"] * 12
    assert (unwound, told) == ([], (0, {}, []))
    assert names(operon, "r") == ["t", "insert"]
    assert (count(operon), count(operon, run_id="finally")) == (1, 1)
    assert shop.happened(ledger) == []
    assert operon.find_run("except") is None
    assert row(operon, "r").attributes in (None, {})


def test_a_return_in_finally_ends_no_suspended_run(operon):
    class Returns(Workflow):
        def run(self) -> str:
            try:
                return str(self.receive("t"))
            finally:
                if "early" in how:
                    return "early"  # noqa: B012 - as a careless body would

    how = ["early"]
    handle = operon.start(Returns(), id="r")
    await_waiting(operon, "r")
    how.clear()
    operon.send("r", "t", "late")

    assert handle.result(SOON) == "late"


def test_a_context_manager_may_clean_up_by_steps(operon):
    class Rents(Workflow):
        @step
        def insert(self, session: Session, what: str) -> None:
            insert_order(session, what)

        def run(self) -> None:
            self.insert("rented")
            try:
                self.receive("t")
            finally:
                self.insert("returned")

    handle = operon.start(Rents(), id="r")
    await_waiting(operon, "r", 2)
    before = count(operon, run_id="returned")
    operon.send("r", "t", 1)
    handle.result(SOON)

    assert before == 0
    assert (count(operon, run_id="rented"), count(operon, run_id="returned")) == (1, 1)


def test_spawned_operations_end_before_the_run_is_suspended(operon):
    class Spawns(Workflow):
        @activity
        def slow(self) -> int:
            started.set()
            assert go_on.wait(SECONDS)
            calls.append(1)
            return 7

        def run(self) -> int:
            future = self.spawn(self.slow)
            self.receive("t")
            return future.result()

    started, go_on, calls = threading.Event(), threading.Event(), list[int]()
    handle = operon.start(Spawns(), id="r")
    assert started.wait(SECONDS)
    let_look(operon)
    before = status(operon, "r")
    go_on.set()
    await_waiting(operon, "r", 2)
    recorded = history(operon, "r")
    operon.send("r", "t", 1)

    assert handle.result(SOON) == 7
    assert before == "running"
    assert recorded == [(1, "activity", "slow")]
    assert len(calls) == 1


def test_a_suspended_run_leaves_neither_connection_nor_memory_behind(operon):
    handle = operon.start(UnwindsCarelessly("again"), id="r")
    await_waiting(operon, "r")
    active = operon._process.made().services.active

    eventually(lambda: "r" not in active)
    eventually(lambda: threads_of("r") == [])
    await_empty_pool(operon)
    operon.send("r", "t", 1)
    handle.result(SOON)


def test_where_every_thread_is_taken_a_wait_takes_none(make_operon, database, clock):
    """The second of two runs is what the first waits for; there is one thread."""

    class Asks(Workflow):
        def run(self) -> Any:
            return self.receive("t")

    class Answers(Workflow):
        def run(self) -> None:
            self.send("r", "t", 1)

    operon = make_operon(database.url, clock=clock, threads=1, inline_wait=HOUR)
    operon.launch()
    handle = operon.start(Asks(), id="r")
    await_waiting(operon, "r")
    operon.start(Answers())

    assert handle.result(SOON) == 1


# --- the guard: a position that is recorded is not waited for


class TakesMessage(Workflow):
    def run(self) -> Any:
        return self.receive("t")


def _record_behind(operon, monkeypatch) -> None:
    """Let the position of run `r` be recorded just before it is suspended there.

    That is what a thread whose own commit was in doubt would find.
    """
    suspend, done = execution.suspend, []

    def late(run, wait) -> None:
        if run.run_id == "r" and not done:
            done.append(1)
            services = run.services
            record = Record(position=1, kind="receive", name="t", output='"recorded"')
            with services.database.transaction() as connection:
                checkpoints.record(
                    connection,
                    services.database.backend,
                    run.lease,
                    record,
                    clock=services.clock,
                    started_at=services.clock.now(),
                )
        suspend(run, wait)

    monkeypatch.setattr(execution, "suspend", late)


def test_a_run_is_not_suspended_at_a_position_that_is_recorded(operon, monkeypatch):
    _record_behind(operon, monkeypatch)

    assert operon.start(TakesMessage(), id="r").result(SOON) == "recorded"
    assert row(operon, "r").wait_position is None


def test_without_the_guard_it_would_wait_for_ever(operon, monkeypatch):
    """Planted bug: the guard looks at a position that is never recorded."""
    _record_behind(operon, monkeypatch)
    real = waits.suspend

    def unguarded(connection, backend, lease, wait: Wait) -> bool:
        return real(connection, backend, lease, replace(wait, position=99))

    monkeypatch.setattr(waits, "suspend", unguarded)
    operon.start(TakesMessage(), id="r")
    await_waiting(operon, "r", 99)
    let_look(operon)

    assert status(operon, "r") == "waiting"


# --- zombies: the run was suspended, woken and claimed elsewhere


class ThawsAndGoesOn(Workflow):
    """Is frozen before *what*, and does it when it thaws."""

    what: str

    @step
    def insert(self, session: Session) -> None:
        insert_order(session)

    def run(self) -> int:
        frozen.pop()(current().run_id)
        calls: dict[str, Callable[[], Any]] = {
            "receive": lambda: self.receive("t"),
            "timeout": lambda: self.receive("none", timeout=timedelta(0)),
            "wait": lambda: self.receive("none"),
            "send": lambda: self.send("other", "t", 1),
            "publish": lambda: self.publish("k", 1),
            "write": lambda: self.write("log", 1),
            "event": lambda: self.event("other", "k"),
            "sleep": lambda: self.sleep(timedelta(0)),
            "nap": lambda: self.sleep(HOUR),
            "start": lambda: self.start(MarkerRun(), id="child"),
            "insert": self.insert,
        }
        calls[self.what]()
        self.insert()
        return 1


ZOMBIES = [
    "receive",
    "timeout",
    "wait",
    "send",
    "publish",
    "write",
    "event",
    "sleep",
    "nap",
    "start",
    "insert",
]
frozen: list[Callable[[str], None]] = []
"""What happens, once, while the holder is frozen."""

THEIRS = Record(position=1, kind="receive", name="elsewhere", output="1")


@pytest.mark.parametrize(
    ("what", "ended"),
    [*((what, False) for what in ZOMBIES), ("receive", True), ("wait", True)],
)
def test_a_thawed_holder_of_a_run_that_was_suspended_and_claimed_records_nothing(
    make_operon, database, what, ended
):
    """Whether the new holder goes on, or has ended the run."""

    def freeze(run_id: str) -> None:
        with services.database.transaction() as connection:
            wait = Wait(kind="sleep", position=1, wake_at=services.clock.now())
            lease = steal(operon, run_id, wait, connection)
            if ended:
                record_and_end(operon, lease, THEIRS, connection)
        stolen.append(lease)

    stolen: list[Any] = []
    operon = stocked(make_operon(database.url, **AT_ONCE))
    services = operon._process.ready().services
    operon.start(TakesMessage(), id="other")
    operon.publish("other", "k", 1)
    operon.start(ThawsAndGoesOn(what), id="r")
    operon.send("r", "t", 1)
    frozen[:] = [freeze]
    operon.launch()
    eventually(lambda: stolen)
    eventually(lambda: "r" not in services.active, saying="it gives up")
    held = row(operon, "r")
    before = history(operon, "r")
    if not ended:
        with services.database.transaction() as connection:
            record_and_end(operon, stolen[0], THEIRS, connection)

    assert operon.handle("r").result(SOON) == -1
    assert held.epoch == stolen[0].epoch
    assert held.executor == THIEF
    assert before == ([(1, "receive", "elsewhere")] if ended else [])
    assert history(operon, "r") == [(1, "receive", "elsewhere")]
    assert (unread(operon, "r"), len(mail(operon, "other"))) == (1, 0)
    assert (operon.handle("r").events(), offsets(operon, "r")) == ({}, [])
    assert (count(operon), operon.find_run("child")) == (0, None)


@pytest.mark.parametrize("planted", [False, True])
def test_a_receive_in_mid_transaction_loses_its_message_to_the_new_holder(
    make_operon, postgres_database, monkeypatch, planted
):
    """The zombie has found a message and marked it when the run changes hands.

    Planted bug: without the fence it would have been read by both.
    """

    def stealing(connection, address: str, topic: str):
        found = first_unread(connection, address, topic)
        if address == "r" and not stolen:
            with services.database.transaction() as another:
                wait = Wait(kind="sleep", position=1, wake_at=services.clock.now())
                stolen.append(steal(operon, "r", wait, another))
        return found

    stolen: list[Any] = []
    first_unread = messages.first_unread
    monkeypatch.setattr(messages, "first_unread", stealing)
    if planted:
        _record_without_fence(monkeypatch)
    operon = make_operon(postgres_database.url, **AT_ONCE)
    services = operon._process.ready().services
    operon.start(TakesMessage(), id="r")
    operon.send("r", "t", 1)
    operon.launch()
    eventually(lambda: stolen)
    eventually(lambda: "r" not in services.active, saying="it gives up")
    left = unread(operon, "r")
    with services.database.transaction() as connection:
        record = replace(THEIRS, position=2 if planted else 1)
        record_and_end(operon, stolen[0], record, connection)

    assert operon.handle("r").result(SOON) == -1
    assert left == (0 if planted else 1)


def _record_without_fence(monkeypatch) -> None:
    real = checkpoints.record

    def unfenced(*args: Any, **options: Any) -> Any:
        return real(*args, **{**options, "fenced": False})

    monkeypatch.setattr(checkpoints, "record", unfenced)


# --- commits in doubt


class After:
    """Matches the first statement that *ends* once one that *begins* was sent."""

    def __init__(self, begins: str, ends: str) -> None:
        self._begins, self._ends = begins, ends
        self._begun = False

    def __call__(self, sql: str) -> bool:
        text = " ".join(sql.upper().split())
        self._begun = self._begun or self._begins in text
        return self._begun and self._ends in text


COMMIT = "INSERT INTO OPERON_CHECKPOINTS", "COMMIT"
NOTE = "INSERT INTO OPERON_CHECKPOINTS", "INSERT INTO OPERON_CHECKPOINTS"
SUSPENSION = "UPDATE OPERON_RUNS", "WAIT_KIND="


class DoubtsCommit(Workflow):
    """One operation, then a step that shows that the body has gone on."""

    what: str

    @step
    def insert(self, session: Session) -> None:
        insert_order(session)

    def run(self) -> Any:
        calls: dict[str, Callable[[], Any]] = {
            "receive": lambda: self.receive("t"),
            "undecodable": lambda: self.receive("t", type=list[int]),
            "timeout": lambda: self.receive("none", timeout=timedelta(0)),
            "event": lambda: self.event("other", "k"),
            "send": lambda: self.send("other", "t", 1),
            "nobody": lambda: self.send("nobody", "t", 1),
            "publish": lambda: self.publish("k", 1),
            "write": lambda: self.write("log", 1),
            "sleep": lambda: self.sleep(timedelta(milliseconds=1)),
        }
        try:
            answer = calls[self.what]()
        except Exception as error:  # noqa: BLE001 - what it is, is compared
            answer = type(error).__name__
        self.insert()
        return answer


ANSWERS = {
    "receive": 1,
    "undecodable": "DecodeError",
    "timeout": None,
    "event": "published",
    "send": None,
    "nobody": "RunNotFoundError",
    "publish": None,
    "write": None,
    "sleep": None,
}


@pytest.fixture
def doubtful(make_operon, postgres_database, wire):
    """An Operon behind the wire whose heartbeat is silent: every commit is a run's."""
    operon = make_operon(
        wire.url(postgres_database.url),
        heartbeat=timedelta(days=100),
        lease=timedelta(days=300),
        **AT_ONCE,
    )
    stocked(operon)
    operon.start(TakesMessage(), id="other")
    operon.publish("other", "k", "published")
    return operon


def _assert_once(operon, what: str) -> None:
    """Check that *what* and the step after it have happened exactly once."""
    assert [position for position, _, _ in history(operon, "r")] == [1, 2]
    assert count(operon) == 1
    receives = what in {"receive", "undecodable"}
    assert [each.position for each in mail(operon, "r")] == [1 if receives else None]
    assert len(mail(operon, "other")) == int(what == "send")
    assert offsets(operon, "r") == ([0] if what == "write" else [])
    assert operon.handle("r").events() == ({"k": 1} if what == "publish" else {})


@pytest.mark.parametrize("what", ANSWERS)
@pytest.mark.parametrize("fault", ["lose_reply_to", "cut_before"])
def test_an_unknown_commit_of_an_operation_leaves_one_record(
    doubtful, wire, what, fault
):
    doubtful.start(DoubtsCommit(what), id="r")
    doubtful.send("r", "t", 1)
    struck = getattr(wire, fault)(After(*(NOTE if what == "sleep" else COMMIT)))

    assert doubtful.run(DoubtsCommit(what), id="r") == ANSWERS[what]

    assert struck.happened.is_set()
    _assert_once(doubtful, what)


@pytest.mark.parametrize("fault", ["lose_reply_to", "cut_before"])
@pytest.mark.parametrize("what", ["receive", "sleep"])
def test_an_unknown_suspension_loses_neither_run_nor_message(
    doubtful, wire, what, fault
):
    struck = getattr(wire, fault)(After(*SUSPENSION))
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(doubtful.run, DoubtsCommit(what), id="r")
        eventually(struck.happened.is_set)
        if what == "receive":
            await_waiting(doubtful, "r")
        doubtful.send("r", "t", 1)

        assert ran.result(SECONDS) == ANSWERS[what]
    _assert_once(doubtful, what)


@pytest.mark.parametrize("fault", ["lose_reply_to", "cut_before"])
def test_an_unknown_wake_up_leaves_one_record(doubtful, wire, fault):
    struck = getattr(wire, fault)(After("SKIP LOCKED", "DUE_AT="))
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(doubtful.run, DoubtsCommit("receive"), id="r")
        await_waiting(doubtful, "r")
        doubtful.send("r", "t", 1)

        assert ran.result(SECONDS) == 1
    assert struck.happened.is_set()
    _assert_once(doubtful, "receive")


@pytest.mark.parametrize("fault", ["lose_reply_to", "cut_before"])
@pytest.mark.parametrize("ask", ["send", "publish"])
def test_an_unknown_commit_from_outside_tells_once(doubtful, wire, ask, fault):
    struck = getattr(wire, fault)(After("INSERT INTO OPERON_", "COMMIT"))

    getattr(doubtful, ask)("other", "t", 1)

    assert struck.happened.is_set()
    if ask == "send":
        assert len(mail(doubtful, "other")) == 1
    else:
        assert doubtful.handle("other").events() == {"k": "published", "t": 1}


# --- crashes of the process, told by the engine's own points


def test_a_crash_before_the_suspension_leaves_a_run_that_goes_on(
    make_operon, database, monkeypatch
):
    """The thread is gone; the row still says that this executor has the run."""
    suspend, crashed = execution.suspend, []

    def crash(run, wait) -> None:
        if run.run_id == "r" and not crashed:
            crashed.append(1)
            run.services.probe = lambda *_: None
            raise _GoneError
        suspend(run, wait)

    monkeypatch.setattr(execution, "suspend", crash)
    operon = make_operon(database.url, **AT_ONCE)
    operon.launch()
    handle = operon.start(TakesMessage(), id="r")
    eventually(lambda: crashed)
    operon.send("r", "t", 1)

    assert handle.result(SOON) == 1
    assert history(operon, "r") == [(1, "receive", "t")]


class _GoneError(BaseException):
    pass


def test_a_crash_of_a_woken_run_before_it_reads_loses_no_message(make_operon, database):
    """The first claim leads to the wait; the thread of the second one ends."""

    def probe(reached: Point, run_id: str) -> None:
        if reached is Point.LOADED and run_id == "r" and mail(operon, "r"):
            crashes.append(1)
            if len(crashes) == 1:
                raise _GoneError

    crashes: list[int] = []
    operon = make_operon(database.url, probe=probe, **AT_ONCE)
    operon.launch()
    handle = operon.start(TakesMessage(), id="r")
    await_waiting(operon, "r")
    operon.send("r", "t", 1)

    assert handle.result(SOON) == 1
    assert len(crashes) == 2
    assert [each.position for each in mail(operon, "r")] == [1]


def test_a_body_that_asks_again_whatever_happens_waits_in_its_thread(
    make_operon, database, caplog
):
    """It cannot be unwound, so it is left where it is, and said to be there."""

    class AsksAgain(Workflow):
        def run(self) -> Any:
            while True:
                try:
                    return self.receive("t")
                except:  # noqa: E722, S112 - the body of somebody in a hurry
                    continue

    operon = make_operon(database.url, **AT_ONCE)
    operon.launch()
    handle = operon.start(AsksAgain(), id="r")
    eventually(lambda: "swallows its suspension" in caplog.text)
    operon.send("r", "t", 1)

    assert handle.result(SOON) == 1
    assert history(operon, "r") == [(1, "receive", "t")]
