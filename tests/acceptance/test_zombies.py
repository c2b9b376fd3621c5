"""Executors that freeze, die, are cut off or told to stop: who goes on, and when?"""

import signal
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from operon import Workflow
from operon import errors
from operon import step
from operon.models import Checkpoint
from operon.models import ExecutorRecord
from operon.models import WorkflowRun
from operon.points import Point
from operon.status import RunStatus
from tests import shop
from tests.acceptance import worker
from tests.acceptance.worker import Note
from tests.processes import Child
from tests.processes import eventually
from tests.shop import Checkout
from tests.shop import Order
from tests.shop import Product
from tests.shop import ThreeSteps

LEASE = 1.5  # seconds
HEARTBEAT = 0.25
LONG_LEASE = 60.0  # nothing may need to wait for its end
AT_ONCE = 8.0  # seconds: much less than the long lease, much for a busy machine


@pytest.fixture
def gate(tmp_path, monkeypatch) -> Path:
    """The file that lets waiting work go on."""
    path = tmp_path / "gate"
    monkeypatch.setenv(worker.GATE, str(path))
    return path


@pytest.fixture
def look(database):
    """What is committed, seen past every proxy and every Operon."""
    return Look(database.engine())


class Look:
    def __init__(self, engine) -> None:
        self.engine = engine
        worker.create_tables(engine)

    def run(self, run_id: str) -> WorkflowRun:
        with Session(self.engine) as session:
            return session.get_one(WorkflowRun, run_id)

    def status(self, run_id: str) -> RunStatus:
        return self.run(run_id).status

    def statuses(self) -> Counter:
        with Session(self.engine) as session:
            return Counter(session.scalars(select(WorkflowRun.status)))

    def count(self, cls, **values) -> int:
        with Session(self.engine) as session:
            query = select(func.count()).select_from(cls).filter_by(**values)
            return session.scalar(query) or 0

    def executors(self) -> dict[int, ExecutorRecord]:
        with Session(self.engine) as session:
            return {each.pid: each for each in session.scalars(select(ExecutorRecord))}


@contextmanager
def executor(url: str, lease: float = LEASE, point: str | None = None):
    """An executor in a process of its own, launched."""
    arguments = [url, lease, HEARTBEAT if lease < LONG_LEASE else 2]
    arguments += [] if point is None else [point]
    with Child("tests.acceptance.worker", arguments) as child:
        eventually(lambda: "launched" in child.output(), saying=child.output())
        yield child


def is_frozen(child: Child) -> bool:
    """Tell whether *child* has stopped itself."""
    stat = Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(")")[2].split()[0] == "T"


FREEZING = [
    Point.LOADED,
    Point.BEGAN,
    Point.BODY_DONE,
    Point.FLUSHED,
    Point.RECORDED,
    Point.COMMITTED,
    Point.EFFECT_DONE,
]


@pytest.mark.parametrize("point", FREEZING)
def test_a_frozen_executor_loses_its_run_and_adds_nothing_when_it_wakes(
    make_operon, postgres_database, ledger, point
):
    look = Look(postgres_database.engine())
    _bound_idle_transactions(look.engine)
    operon = make_operon(postgres_database.url)
    with executor(postgres_database.url, point=point) as zombie:
        operon.start(worker.Noting("book"), id="victim")
        eventually(lambda: is_frozen(zombie))
        before = look.executors()[zombie.pid]
        with executor(postgres_database.url):
            seen_at = time.monotonic()
            operon.handle("victim").result(timedelta(seconds=8))
            took = time.monotonic() - seen_at

            assert is_frozen(zombie)
            assert took > LEASE - 2 * HEARTBEAT, "taken over while its lease held"
            assert took < LEASE + 1 + 4, "lease, a poll, patience with the machine"
            assert look.run("victim").recoveries == 1
            _eventually_free(look.engine)

            zombie.resume()
            eventually(lambda: _beats(look, zombie, before), saying=zombie.output())
        # it is useful again, alone
        operon.start(worker.Noting("book"), id="after")
        operon.handle("after").result(timedelta(seconds=20))

    with Session(look.engine) as session:
        notes = Counter(
            tuple(row) for row in session.execute(select(Note.run_id, Note.what))
        )
        assert notes == {
            (run_id, what): 1
            for run_id in ("victim", "after")
            for what in ("begin", "end")
        }
        assert session.get_one(Product, "book").stock == 98
    assert look.count(Checkpoint) == 6
    happened = Counter(shop.happened(ledger))
    assert happened == {"victim/2": 1 + (point is Point.EFFECT_DONE), "after/2": 1}


def _bound_idle_transactions(engine) -> None:
    """Let the server end the transactions of frozen clients, as operators should."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = connection.scalar(text("SELECT current_database()"))
        bound = "SET idle_in_transaction_session_timeout = '1s'"
        connection.execute(text(f'ALTER DATABASE "{name}" {bound}'))


def _beats(look: Look, child: Child, before: ExecutorRecord | None) -> bool:
    now = look.executors().get(child.pid)
    if now is None:
        return False
    return before is None or now.heartbeat_at > before.heartbeat_at


def _eventually_free(engine) -> None:
    """Wait until the frozen executor's business rows can be locked."""

    def free() -> bool:
        try:
            with Session(engine) as session:
                session.get_one(Product, "book", with_for_update={"nowait": True})
        except OperationalError:
            return False
        return True

    eventually(free, timeout=5)


def test_a_woken_executor_takes_nothing_from_the_living(
    make_operon, postgres_database, gate, ledger
):
    """While it was frozen their heartbeats did not move, as far as it knows."""
    look = Look(postgres_database.engine())
    operon = make_operon(postgres_database.url)
    url = postgres_database.url
    with executor(url) as sleeper, executor(url) as awake:
        eventually(lambda: len(look.executors()) == 2)
        sleeper.stop()
        for n in range(4):
            operon.start(worker.Waiting("book"), id=f"r-{n}")
        eventually(lambda: len(shop.happened(ledger)) == 4)
        _pass(2 * LEASE)
        sleeper.resume()
        _pass(LEASE)
        gate.touch()
        eventually(lambda: look.statuses() == {RunStatus.SUCCEEDED: 4})
        holder = look.executors()[awake.pid].id

    for n in range(4):
        run = look.run(f"r-{n}")
        assert (run.recoveries, run.epoch, run.executor) == (0, 1, holder)
    assert len(shop.happened(ledger)) == 4


def _pass(seconds: float) -> None:
    """Let real time pass: a lease is a duration, and nothing tells that it held."""
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until, timeout=seconds + 5)


def test_nobody_shares_a_run_while_its_lease_holds(
    make_operon, database, look, gate, ledger
):
    operon = make_operon(database.url)
    with executor(database.url), executor(database.url):
        for n in range(16):
            operon.start(worker.Waiting("book"), id=f"r-{n}")
        eventually(lambda: len(shop.happened(ledger)) >= 16)
        _pass(2 * LEASE)
        gate.touch()
        eventually(lambda: look.statuses() == {RunStatus.SUCCEEDED: 16})

    assert sorted(shop.happened(ledger)) == sorted(f"r-{n}" for n in range(16))
    assert {look.run(f"r-{n}").recoveries for n in range(16)} == {0}
    assert look.count(Order) == 16


def test_the_runs_of_a_dead_process_of_this_machine_are_taken_over_at_once(
    make_operon, database, look, gate, ledger
):
    operon = make_operon(database.url)
    with executor(database.url, LONG_LEASE) as victim:
        operon.start(worker.Waiting("book"), id="r")
        eventually(lambda: shop.happened(ledger))
        with executor(database.url, LONG_LEASE):
            eventually(lambda: len(look.executors()) == 2)
            killed_at = time.monotonic()
            victim.kill()
            eventually(lambda: len(shop.happened(ledger)) == 2)
            took = time.monotonic() - killed_at
            gate.touch()
            operon.handle("r").result(timedelta(seconds=20))

    assert took < AT_ONCE
    assert look.run("r").recoveries == 1
    assert look.count(Order, run_id="r") == 1


def test_an_outage_longer_than_the_lease_is_no_reason_to_take_over(
    make_operon, postgres_database, wire, gate, ledger
):
    look = Look(postgres_database.engine())
    operon = make_operon(postgres_database.url)
    url = wire.url(postgres_database.url)
    with executor(url) as one, executor(url) as two, executor(url) as three:
        everyone = (one, two, three)
        for n in range(9):
            operon.start(worker.Waiting("book"), id=f"r-{n}")
        eventually(lambda: len(shop.happened(ledger)) == 9)
        holders = {f"r-{n}": look.run(f"r-{n}").executor for n in range(9)}
        for _ in range(2):
            before = {child.pid: look.executors()[child.pid] for child in everyone}
            wire.refuse = True
            wire.cut_all()
            _pass(2 * LEASE)
            wire.refuse = False
            eventually(
                lambda: all(_beats(look, each, before[each.pid]) for each in everyone)  # noqa: B023 - called at once
            )
            _pass(1.5 * LEASE)
        assert {f"r-{n}": look.run(f"r-{n}").executor for n in range(9)} == holders
        gate.touch()
        eventually(lambda: look.statuses() == {RunStatus.SUCCEEDED: 9})

    assert {look.run(f"r-{n}").recoveries for n in range(9)} == {0}
    assert {f"r-{n}": look.run(f"r-{n}").executor for n in range(9)} == holders
    assert look.count(Order) == 9
    # the outcome of an activity outlives an outage that ended before its record
    assert len(shop.happened(ledger)) == 9


def test_a_step_of_twice_the_lease_is_not_taken_over_on_sqlite(
    make_operon, sqlite_database, ledger
):
    """One writer: the others' heartbeats wait for the long step, as does its own."""
    look = Look(sqlite_database.engine())
    operon = make_operon(sqlite_database.url)
    with executor(sqlite_database.url) as one, executor(sqlite_database.url) as two:
        eventually(lambda: len(look.executors()) == 2)
        operon.start(worker.Slow(2 * LEASE), id="slow")
        eventually(lambda: shop.happened(ledger))
        holder = look.run("slow").executor
        operon.handle("slow").result(timedelta(seconds=20))
        operon.start(worker.Slow(0.0), id="after")
        operon.handle("after").result(timedelta(seconds=20))
        assert one.running
        assert two.running

    run = look.run("slow")
    assert (run.recoveries, run.epoch, run.executor) == (0, 1, holder)
    assert shop.happened(ledger) == ["slow", "after"]
    assert look.count(Order, run_id="slow") == 1


def test_a_run_that_kills_its_executors_ends_dead_and_can_be_resumed(
    make_operon, database, look, gate, ledger
):
    operon = make_operon(database.url)
    operon.start(worker.Poison(), id="poison")
    for _ in range(3):  # the first, and two recoveries
        with executor(database.url, LONG_LEASE) as victim:
            assert victim.wait(20) == -signal.SIGKILL
    with executor(database.url, LONG_LEASE) as survivor:
        with pytest.raises(errors.RunDeadError, match="3 times without recording"):
            operon.handle("poison").result(timedelta(seconds=20))
        assert survivor.running
        other = operon.start(ThreeSteps("book"), id="other")
        other.result(timedelta(seconds=20))
        gate.touch()
        operon.resume("poison")

        assert operon.handle("poison").result(timedelta(seconds=20)) == "cured"
    assert len(shop.happened(ledger)) == 3
    assert look.count(Order, run_id="poison") == 1


def test_progress_between_recoveries_keeps_a_run_alive(
    make_operon, database, look, ledger
):
    """It may be taken over once without progress, and is taken over four times."""
    operon = make_operon(database.url)
    operon.start(worker.Progressing(4), id="r")
    for _ in range(4):
        with executor(database.url, LONG_LEASE) as victim:
            assert victim.wait(20) == -signal.SIGKILL
    with executor(database.url, LONG_LEASE):
        operon.handle("r").result(timedelta(seconds=20))

    assert look.run("r").recoveries == 1
    assert look.count(Order, run_id="r") == 4


class Unknown(Workflow):
    """What the executors of this file have never heard of."""

    @step
    def insert(self, session: Session) -> None:
        session.add(Order(sku="book", quantity=1, run_id="unknown"))

    def run(self) -> None:
        self.insert()


def test_runs_of_unknown_workflows_and_versions_wait_for_who_knows_them(
    make_operon, database, look
):
    operon = make_operon(database.url)
    operon.start(Unknown(), id="unknown")
    operon.start(ThreeSteps("book"), id="version")
    operon.start(ThreeSteps("book"), id="orphan")
    with look.engine.begin() as connection:
        connection.execute(
            text("UPDATE operon_runs SET version = 7 WHERE id <> 'unknown'")
        )
        connection.execute(
            text(
                "UPDATE operon_runs SET status = 'running', executor = 'ghost', "
                "epoch = 1 WHERE id = 'orphan'"
            )
        )
    with executor(database.url) as child:
        for n in range(3):
            operon.start(ThreeSteps("book"), id=f"known-{n}")
            operon.handle(f"known-{n}").result(timedelta(seconds=20))
        _pass(1.5 * LEASE)  # the ghost's lease is over
        assert child.running
        waiting = [look.run(name) for name in ("unknown", "version", "orphan")]
        assert [(run.status, run.epoch) for run in waiting] == [
            (RunStatus.ENQUEUED, 0),
            (RunStatus.ENQUEUED, 0),
            (RunStatus.RUNNING, 1),
        ]
        operon.launch()  # this process knows the first one
        operon.handle("unknown").result(timedelta(seconds=20))


@pytest.fixture
def patient_threads(monkeypatch):
    """Executors whose runs wait in their threads, however long."""
    monkeypatch.setenv("OPERON_INLINE_WAIT", "86400")


@pytest.mark.usefixtures("patient_threads")
def test_sigterm_gives_every_run_back_at_once(
    make_operon, database, look, gate, ledger
):
    operon = make_operon(database.url)
    with executor(database.url, LONG_LEASE) as leaving:
        operon.start(worker.Retrying(), id="idle")
        operon.start(worker.Waiting("book"), id="busy")
        eventually(lambda: len(shop.happened(ledger)) == 2)
        with executor(database.url, LONG_LEASE):
            told_at = time.monotonic()
            leaving.terminate()
            # what waits is given back before what is busy has ended
            mine = look.executors()[leaving.pid].id
            eventually(lambda: look.run("idle").executor not in {None, mine})
            took = time.monotonic() - told_at
            assert look.run("busy").executor == mine
            gate.touch()
            operon.handle("busy").result(timedelta(seconds=20))
            assert leaving.wait(20) == 0, leaving.output()
            assert leaving.pid not in look.executors()

    assert took < AT_ONCE
    assert look.run("busy").recoveries == look.run("idle").recoveries == 0
    assert look.count(Order, run_id="busy") == 1
    assert sorted(shop.happened(ledger)) == ["attempt 1", "busy"]


INTERRUPTED = [point for point in Point if point not in {Point.CLAIMED, Point.LOADED}]


@pytest.mark.parametrize("point", INTERRUPTED)
def test_an_interrupted_run_is_stuck_nowhere(make_operon, database, ledger, point):
    """Ctrl+C at any point: the same call, or anybody else, goes on with it."""

    def interrupt(reached: Point, run_id: str) -> None:
        if reached is point and pending and run_id == "r":
            pending.pop()
            raise KeyboardInterrupt

    pending = [True]
    operon = make_operon(
        database.url, probe=interrupt, heartbeat=timedelta(milliseconds=200)
    )
    shop.create_shop(operon.engine, "book")
    with pytest.raises(KeyboardInterrupt):
        operon.run(Checkout("book"), id="r")

    eventually(lambda: operon.get_run("r").status is not RunStatus.RUNNING)
    operon.run(ThreeSteps("book"), id="another")  # no lock was left behind
    order_id = operon.run(Checkout("book"), id="r")

    with Session(operon.engine) as session:
        orders = session.scalars(select(Order.id).where(Order.run_id == "r"))
        assert list(orders) == [order_id]
    assert [each.position for each in operon.list_steps("r")] == [1, 2, 3]
    repeated = point is Point.EFFECT_DONE
    assert len(shop.happened(ledger)) == 1 + repeated


def test_a_run_given_up_by_its_caller_is_continued_by_an_executor(
    make_operon, postgres_database, wire, gate, ledger
):
    """The caller's patience ends while the database is away; the run goes on."""
    operon = make_operon(
        wire.url(postgres_database.url),
        database_patience=timedelta(milliseconds=300),
        heartbeat=timedelta(milliseconds=200),
        lease=timedelta(seconds=1),
    )
    shop.create_shop(operon.engine, "book")
    wire.cut_before(lambda sql: _refuse(wire, sql))

    with pytest.raises(errors.DatabaseUnavailableError):
        operon.run(Checkout("book"), id="r")
    wire.refuse = False

    with executor(postgres_database.url):
        operon.handle("r").result(timedelta(seconds=20))
    look = Look(postgres_database.engine())
    assert look.count(Order, run_id="r") == 1


def _refuse(wire, sql: str) -> bool:
    """Turn the database away from the second step on."""
    if "INSERT INTO payments" in sql:
        wire.refuse = True
        return True
    return False


@pytest.mark.parametrize("when", ["before", "after", "launched"])
def test_a_forked_process_begins_anew_and_its_parent_goes_on(database, look, when):
    with Child("tests.acceptance.forking", [database.url, when]) as child:
        assert child.wait(60) == 0, child.output()

    runs = 9 + (when != "before") + 2 * (when == "launched")
    assert look.statuses() == {RunStatus.SUCCEEDED: runs}
    assert look.count(Order) == runs
    assert look.executors() == {}  # both left in order
    with Session(look.engine) as session:
        holders = {
            who: set(
                session.scalars(
                    select(WorkflowRun.executor).where(WorkflowRun.id.startswith(who))
                )
            )
            for who in ("child ", "parent ")
        }
    if when == "launched":
        return  # the started ones may have gone to either
    assert all(len(each) == 1 for each in holders.values())
    assert not holders["child "] & holders["parent "]
