"""Commits whose outcome nobody knows: the answer is lost, late, or never comes.

Whatever happened to a COMMIT, the run claims itself again and replays; what was
committed is found in its history, what was not is done again. PostgreSQL only:
SQLite has no wire on which an answer could be lost.
"""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.orm import Session

from operon import Queue
from operon.engine import trying
from operon.engine.faults import Fault
from operon.models import Checkpoint
from operon.status import RunStatus
from tests import shop
from tests.fix_db import Database
from tests.fix_db import _migrate
from tests.processes import eventually
from tests.shop import Checkout
from tests.shop import PaymentDeclinedError
from tests.shop import place


class Nth:
    """Matches the statement that is number *number* of those beginning like that."""

    def __init__(self, beginning: str, number: int = 1) -> None:
        self._beginning = beginning
        self._left = number

    def __call__(self, sql: str) -> bool:
        text = sql.strip().upper()
        # a step's COMMIT ends the message that carries its record
        commits = self._beginning == "COMMIT" and text.endswith("COMMIT")
        self._left -= commits or text.startswith(self._beginning)
        return self._left == 0


@dataclass(frozen=True)
class Case:
    """One commit of a checkout."""

    statement: str
    number: int = 1
    card: str = "good"
    repeats: bool = False
    """Whether the activity happens again if the commit did not."""

    def pattern(self) -> Callable[[str], bool]:
        return Nth(self.statement, self.number)


CASES = {
    "start": Case("INSERT INTO OPERON_RUNS"),
    "step": Case("COMMIT", 1),
    "activity": Case("COMMIT", 2, repeats=True),
    "error": Case("COMMIT", 2, card="declined", repeats=True),
    "last step": Case("COMMIT", 3),
    "finish": Case("UPDATE OPERON_RUNS SET STATUS"),
}


@pytest.fixture
def quiet(make_operon, postgres_database, wire):
    """An Operon behind the wire whose heartbeat is silent: every commit is a run's."""
    operon = make_operon(
        wire.url(postgres_database.url),
        heartbeat=timedelta(days=100),
        lease=timedelta(days=300),
    )
    shop.create_shop(operon.engine, "book")
    operon.run(Checkout("book"), id="first")  # so that nothing below is the first
    return operon


def _committed(operon, run_id: str):
    """Return how many orders and payments *run_id* has, and its positions."""
    with Session(operon.engine) as session:
        orders = list(
            session.scalars(select(shop.Order.id).where(shop.Order.run_id == run_id))
        )
        paid = select(func.count()).where(shop.Payment.order_id.in_(orders))
        positions = select(Checkpoint.position).where(Checkpoint.run_id == run_id)
        return (
            len(orders),
            session.scalar(paid),
            list(session.scalars(positions.order_by(Checkpoint.position))),
        )


def _stock(operon) -> int:
    with Session(operon.engine) as session:
        return session.get_one(shop.Product, "book").stock


def _run(operon, case: Case, run_id: str = "r") -> None:
    """Run a checkout and check that it ends as it should."""
    checkout = Checkout("book", card=case.card)
    if case.card == "declined":
        with pytest.raises(PaymentDeclinedError):
            operon.run(checkout, id=run_id)
    else:
        order_id = operon.run(checkout, id=run_id)
        assert order_id == operon.run(checkout, id=run_id)


def _assert_happened_once(operon, case: Case, run_id: str = "r") -> None:
    paid = 0 if case.card == "declined" else 1
    assert _committed(operon, run_id) == (1, paid, [1, 2, 3])
    status = RunStatus.FAILED if case.card == "declined" else RunStatus.SUCCEEDED
    assert operon.get_run(run_id).status is status


@pytest.mark.parametrize("name", CASES)
def test_a_commit_whose_answer_is_lost_is_not_repeated(quiet, wire, ledger, name):
    case = CASES[name]
    fault = wire.lose_reply_to(case.pattern())

    _run(quiet, case)

    assert fault.happened.is_set()
    assert fault.answer is not None
    assert fault.answer not in {"", "ROLLBACK"}  # the server had committed
    _assert_happened_once(quiet, case)
    assert len(shop.happened(ledger)) == (0 if case.card == "declined" else 1)


@pytest.mark.parametrize("name", CASES)
def test_a_commit_that_never_reached_the_server_is_made_good(quiet, wire, ledger, name):
    case = CASES[name]
    fault = wire.cut_before(case.pattern())

    _run(quiet, case)

    assert fault.happened.is_set()
    _assert_happened_once(quiet, case)
    expected = 0 if case.card == "declined" else 1 + case.repeats
    assert len(shop.happened(ledger)) == expected


@pytest.mark.parametrize("name", CASES)
def test_an_answer_that_comes_late_and_is_cut_then_is_no_reason_to_repeat(
    quiet, wire, ledger, name
):
    case = CASES[name]
    hold = wire.hold_reply(case.pattern())
    cutter = threading.Thread(target=lambda: (hold.happened.wait(30), hold.cut()))
    cutter.start()

    _run(quiet, case)

    cutter.join()
    assert hold.happened.is_set()
    _assert_happened_once(quiet, case)
    assert len(shop.happened(ledger)) == (0 if case.card == "declined" else 1)


@pytest.mark.parametrize("lost", ["cut_before", "lose_reply_to"])
def test_a_record_lost_before_its_commit_was_sent_repeats_no_activity(
    quiet, wire, ledger, lost
):
    """Nothing is unknown then: it was rolled back, and the outcome is at hand."""
    fault = getattr(wire, lost)(Nth("INSERT INTO OPERON_CHECKPOINTS", 2))

    _run(quiet, CASES["activity"])

    assert fault.happened.is_set()
    _assert_happened_once(quiet, CASES["activity"])
    assert len(shop.happened(ledger)) == 1
    assert quiet.get_run("r").epoch == 1


@pytest.mark.parametrize("name", ["step", "activity", "error", "last step"])
def test_the_run_is_claimed_again_before_anything_else_happens(quiet, wire, name):
    wire.lose_reply_to(CASES[name].pattern())

    _run(quiet, CASES[name])

    assert quiet.get_run("r").epoch == 2


@pytest.mark.parametrize("fault", ["lose_reply_to", "cut_before"])
def test_a_transactions_unknown_commit_is_settled_by_its_run(quiet, wire, fault):
    struck = getattr(wire, fault)(Nth("COMMIT"))

    order_id = quiet.run(place("book"), id="t")

    assert struck.happened.is_set()
    assert _committed(quiet, "t") == (1, 0, [1])
    assert quiet.run(place("book"), id="t") == order_id


@pytest.mark.parametrize("fault", ["lose_reply_to", "cut_before"])
def test_an_unknown_start_starts_one_run(quiet, wire, fault):
    struck = getattr(wire, fault)(Nth("INSERT INTO OPERON_RUNS"))

    handle = quiet.start(Checkout("book"), id="s")

    assert struck.happened.is_set()
    assert handle.status() is RunStatus.ENQUEUED
    assert len(quiet.list_runs()) == 2


@pytest.mark.parametrize("what", ["run", "start", "transaction"])
def test_ones_own_unknown_commit_is_no_conflict(quiet, wire, what):
    """`on_conflict="raise"` refuses an id somebody used before: here nobody did."""
    statement = "COMMIT" if what == "transaction" else "INSERT INTO OPERON_RUNS"
    struck = wire.lose_reply_to(Nth(statement))
    asked = place("book") if what == "transaction" else Checkout("book")
    call = quiet.start if what == "start" else quiet.run

    call(asked, id="c", on_conflict="raise")

    assert struck.happened.is_set()


def _ignore_loss(monkeypatch) -> None:
    """Plant the bug: a lost answer to COMMIT is taken for a rollback."""
    settle = trying.settle

    def settled(run, operation, position, refusal):
        if refusal.fault is Fault.LOST:
            return None
        return settle(run, operation, position, refusal)

    monkeypatch.setattr(trying, "settle", settled)


def test_ignoring_a_lost_answer_would_be_masked_by_the_primary_key(
    quiet, wire, monkeypatch
):
    """Planted bug: the step runs twice, but its position is taken."""
    _ignore_loss(monkeypatch)
    wire.lose_reply_to(CASES["step"].pattern())

    _run(quiet, CASES["step"])

    assert quiet.get_run("r").epoch == 1  # it was not claimed again
    _assert_happened_once(quiet, CASES["step"])


@pytest.mark.parametrize("ignored", [False, True])
def test_without_the_primary_key_claiming_again_alone_prevents_repetition(
    quiet, wire, monkeypatch, ignored
):
    """Each layer alone: what the key masks above shows here."""
    with quiet.engine.begin() as connection:
        drop = "ALTER TABLE operon_checkpoints DROP CONSTRAINT pk_operon_checkpoints"
        connection.execute(text(drop))
    if ignored:
        _ignore_loss(monkeypatch)
    wire.lose_reply_to(CASES["step"].pattern())

    _run(quiet, CASES["step"])

    expected = (2, 1, [1, 1, 2, 3]) if ignored else (1, 1, [1, 2, 3])
    assert _committed(quiet, "r") == expected


class Frozen:
    """A server whose synchronous commits wait for a standby that never comes."""

    def __init__(self, server, database: Database) -> None:
        self._server = server
        self.database = database

    def freeze(self) -> None:
        """Let no synchronous COMMIT end from now on.

        Not so when `SHOW` says it, but when the checkpointer has told the others, which
        may be later: what follows would commit before.
        """
        self._set("SET synchronous_standby_names = 'ghost'")
        eventually(self._hangs, saying="the server is frozen")

    def _hangs(self) -> bool:
        """Return whether a COMMIT, which is then cancelled, does not end."""
        with closing(self._server.connect()) as connection:
            wire = connection.pgconn
            wire.send_query(b"SELECT pg_logical_emit_message(true, 'a commit', '')")
            wire.flush()

            def is_answered() -> bool:
                wire.consume_input()
                return not wire.is_busy()

            eventually(lambda: is_answered() or self.waiting("IPC", "SyncRep"))
            hung = not is_answered()
            wire.get_cancel().cancel()
            return hung

    def thaw(self) -> None:
        """Let every pending COMMIT end."""
        self._set("RESET synchronous_standby_names")

    def _set(self, change: str) -> None:
        with self._server.connect() as connection:
            connection.execute(f"ALTER SYSTEM {change}")
            connection.execute("SELECT pg_reload_conf()")

    def waiting(self, kind: str, name: str = "%") -> int:
        """Return how many sessions wait for such an event."""
        return self._server.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            f"AND wait_event_type = '{kind}' AND wait_event LIKE '{name}'"
        )[0][0]


@pytest.fixture(scope="module")
def freezing_server():
    """A server of this module's own, which may be frozen."""
    from tests.postgres import PostgresServer  # noqa: PLC0415 - only these tests

    with PostgresServer() as server:
        server.create_database("frozen")
        _migrate(Database(server.url("frozen"), "postgresql"))
        yield server


@pytest.fixture
def frozen(freezing_server):
    frozen = Frozen(
        freezing_server, Database(freezing_server.url("frozen"), "postgresql")
    )
    yield frozen
    frozen.thaw()


@pytest.fixture
def background():
    """A thread in which a call may hang."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def hurried(make_operon, frozen):
    """An Operon that gives a COMMIT 600 ms."""
    operon = make_operon(
        frozen.database.url,
        heartbeat=timedelta(milliseconds=100),
        lease=timedelta(milliseconds=300),
    )
    shop.create_shop(operon.engine, "book")
    return operon


_GHOSTS = {"step": "reserve", "activity": "charge", "last step": "settle"}


@pytest.fixture
def freeze_after(frozen, ledger, monkeypatch):
    """Freeze the server when an operation of a checkout has done its work, once."""

    def freeze_after(operation: str) -> Path:
        real = Checkout.__dict__[operation].function
        done = threading.Event()

        def freezing(self, *args):
            value = real(self, *args)
            if not done.is_set():
                done.set()
                frozen.freeze()
            return value

        monkeypatch.setattr(Checkout.__dict__[operation], "function", freezing)
        return ledger

    return freeze_after


@pytest.mark.parametrize("name", _GHOSTS)
def test_a_commit_that_hangs_is_waited_for_by_the_next_claim(
    hurried, frozen, background, freeze_after, name
):
    """The client cuts; the server goes on waiting; nobody may decide before it."""
    run_id = f"ghost-{name}"
    ledger = freeze_after(_GHOSTS[name])
    stock = _stock(hurried)

    called: Future[int] = background.submit(hurried.run, Checkout("book"), id=run_id)
    eventually(lambda: frozen.waiting("IPC", "SyncRep"))
    eventually(lambda: frozen.waiting("Lock"), saying="claimed again, and waiting")
    seen = _committed(hurried, run_id)
    assert not called.done()
    frozen.thaw()
    called.result(30)

    done = list(_GHOSTS).index(name)
    assert seen[2] == [1, 2, 3][:done]  # a plain read saw nothing of it
    _assert_happened_once(hurried, CASES[name], run_id)
    assert _stock(hurried) == stock - 1
    assert len(shop.happened(ledger)) == 1
    assert hurried.get_run(run_id).epoch >= 2


def test_a_transaction_whose_commit_hangs_is_waited_for(
    hurried, frozen, background, ledger
):
    hurried.run(place("book"))  # it has met this server before
    hurried.launch()  # so that somebody watches its commits
    frozen.freeze()
    called = background.submit(hurried.run, place("book"), id="ghost")
    eventually(lambda: frozen.waiting("IPC", "SyncRep"))
    eventually(lambda: frozen.waiting("Lock"))
    frozen.thaw()

    order_id = called.result(30)

    assert _committed(hurried, "ghost") == (1, 0, [1])
    assert hurried.run(place("book"), id="ghost") == order_id


def test_a_claim_whose_commit_hangs_strands_no_run(make_operon, frozen, ledger, caplog):
    """The answer is lost: the heartbeat finds the runs that are here only by rows."""
    few = make_operon(
        frozen.database.url,
        heartbeat=timedelta(milliseconds=100),
        lease=timedelta(milliseconds=300),
        queues=[Queue("few", concurrency=100)],  # its claims are waited for
    )
    shop.create_shop(few.engine, "book")
    handles = [
        few.start(Checkout("book"), id=f"few-{n}", queue="few") for n in range(10)
    ]
    frozen.freeze()
    few.launch()
    eventually(lambda: frozen.waiting("IPC", "SyncRep"))
    eventually(lambda: "claiming failed" in caplog.text)
    frozen.thaw()

    for handle in handles:
        handle.result(timedelta(seconds=30))
        assert _committed(few, handle.id) == (1, 1, [1, 2, 3])
    assert set(Counter(shop.happened(ledger)).values()) == {1}


def test_claims_wait_for_no_standby_and_their_steps_do(hurried, frozen, ledger, caplog):
    handles = [hurried.start(Checkout("book"), id=f"many-{n}") for n in range(10)]
    frozen.freeze()
    hurried.launch()
    eventually(lambda: frozen.waiting("IPC", "SyncRep"))
    rows = [hurried.get_run(handle.id) for handle in handles]
    frozen.thaw()

    assert {row.status for row in rows} == {RunStatus.RUNNING}
    for handle in handles:
        handle.result(timedelta(seconds=30))
        assert _committed(hurried, handle.id) == (1, 1, [1, 2, 3])
    assert "claiming failed" not in caplog.text
    assert set(Counter(shop.happened(ledger)).values()) == {1}


def test_the_heart_beats_on_while_a_commit_hangs(hurried, frozen, background, ledger):
    """Also the commit that confirms finishes: it must not hold the executor's row."""
    beats = "SELECT max(heartbeat_at) FROM operon_executors"
    hurried.run(Checkout("book"), id="finished")
    frozen.freeze()
    called = background.submit(hurried.run, Checkout("book"), id="hanging")
    eventually(lambda: frozen.waiting("IPC", "SyncRep"))
    before = frozen._server.execute(beats, "frozen")

    eventually(
        lambda: frozen._server.execute(beats, "frozen") > before,
        timeout=5,
        saying="the heart stands still",
    )
    frozen.thaw()
    called.result(30)
