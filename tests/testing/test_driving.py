"""Driving inline, and binding to a session: no threads, no waiting, nothing stays."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import create_engine
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.orm import Session

from operon import Operon
from operon import Retry
from operon import RunStatus
from operon import Workflow
from operon import activity
from operon import step
from operon import transaction
from operon.errors import CommitInStepError
from operon.errors import MisuseError
from operon.errors import ResultTimeoutError
from operon.executor.inline import InlineExecutor
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.store.begin import BEGIN_OPTION
from operon.testing.driving import DrivenClock
from operon.testing.driving import bound_to
from operon.testing.driving import inline
from tests import shop

DAY = timedelta(days=1)


class DrivenOrder(Workflow):
    """Steps, an activity that fails twice, a month's sleep, a child, spawned steps."""

    sku: str
    months: int = 1

    @step
    def reserve(self, session: Session) -> int:
        session.get_one(shop.Product, self.sku).stock -= 1
        order = shop.Order(sku=self.sku, quantity=1, run_id="x")
        session.add(order)
        session.flush()
        return order.id

    @activity(retry=Retry(attempts=3, delay=timedelta(hours=5)))
    def charge(self, order_id: int) -> int:
        tries.append(order_id)
        if len(tries) < 3:
            raise ConnectionError
        return order_id

    @step
    def settle(self, session: Session, order_id: int, status: str) -> str:
        session.get_one(shop.Order, order_id).status = status
        return status

    def run(self) -> list[str]:
        order_id = self.charge(self.reserve())
        self.sleep(30 * self.months * DAY)
        first = self.spawn(self.settle, order_id, "paid")
        second = self.spawn(self.settle, order_id, "shipped")
        return [*self.gather(first, second), self.call(DrivenChild())]


class DrivenChild(Workflow):
    """Waits for a day."""

    def run(self) -> str:
        self.sleep(DAY)
        return threading.current_thread().name


class DrivenWaits(Workflow):
    """Waits for a message."""

    timeout: timedelta | None = None

    def run(self) -> str | None:
        return self.receive("word", type=str, timeout=self.timeout)


class DrivenMisuse(Workflow):
    """Ends the transaction of its step."""

    how: str

    @step
    def end(self, session: Session) -> None:
        session.add(shop.Order(sku="book", quantity=1, run_id="x"))
        session.flush()
        match self.how:
            case "session":
                session.commit()
            case "connection":
                session.connection().commit()
            case _:
                session.execute(text("COMMIT"))

    def run(self) -> None:
        self.end()


class DrivenFails(Workflow):
    """Its step writes, and then fails."""

    @step
    def fail(self, session: Session) -> None:
        session.add(shop.Order(sku="book", quantity=1, run_id="x"))
        session.flush()
        raise LookupError

    def run(self) -> None:
        self.fail()


class DrivenSelfLocked(Workflow):
    """Bug: another connection writes what the step has locked, and waits for it."""

    url: str

    @step
    def reserve(self, session: Session) -> None:
        tries.append(1)
        session.get_one(shop.Product, "book").stock = 1
        session.flush()
        with other_writer(self.url) as other:
            other.get_one(shop.Product, "book").stock = 2
            other.flush()

    def run(self) -> None:
        self.reserve()


@contextmanager
def other_writer(url: str) -> Iterator[Session]:
    """Lend a session on a connection of its own that does not wait long for locks."""
    is_sqlite = url.startswith("sqlite")
    how = {"timeout": 0.1} if is_sqlite else {"options": "-c lock_timeout=100"}
    engine = create_engine(url, connect_args=how)
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


@transaction
def driven_self_locked(session: Session, url: str) -> None:
    session.get_one(shop.Product, "book").stock = 1
    session.flush()
    with other_writer(url) as other:
        other.get_one(shop.Product, "book").stock = 2
        other.flush()


@transaction(read_only=True)
def driven_peek(session: Session, writes: bool) -> int:  # noqa: FBT001 - an argument of the run
    if writes:
        session.add(shop.Order(sku="book", quantity=1, run_id="x"))
        session.flush()
    return session.get_one(shop.Product, "book").stock


tries: list[int] = []


@pytest.fixture(autouse=True)
def _quick():
    tries.clear()
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 30


@pytest.fixture
def threads():
    before = {each.name for each in threading.enumerate()}
    yield
    after = {each.name for each in threading.enumerate()}
    assert not {name for name in after - before if name.startswith("operon")}


@pytest.fixture
def bound(operon, threads):
    """A session in a transaction that is rolled back, with `operon` bound to it."""
    before = contents(operon)
    with operon.engine.connect() as connection:
        outer = connection.begin()
        session = Session(connection, join_transaction_mode="create_savepoint")
        with bound_to(operon, session):
            yield session
        session.close()
        outer.rollback()
    assert contents(operon) == before


def contents(operon: Operon) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table."""
    names = inspect(operon.engine).get_table_names()
    with operon.engine.connect() as connection:
        return {
            name: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {name}"))))
            for name in names
        }


def test_months_pass_in_no_time_without_a_thread(operon, threads):
    with inline(operon) as driver:
        began = driver.clock.now()
        result = operon.run(DrivenOrder("book"))
        passed = driver.clock.now() - began

    assert result == ["paid", "shipped", threading.current_thread().name]
    assert 31 * DAY <= passed < 33 * DAY
    assert len(tries) == 3


def test_what_is_done_inline_is_committed(operon):
    with inline(operon):
        handle = operon.start(DrivenChild())
        assert handle.status() is RunStatus.ENQUEUED
        handle.result()

    assert operon.get_run(handle.id).status is RunStatus.SUCCEEDED


def test_everything_is_part_of_the_sessions_transaction_and_goes_with_it(operon, bound):
    bound.add(shop.Product(sku="ink", stock=3))
    bound.commit()

    assert operon.run(DrivenOrder("ink"), id="r")[0] == "paid"

    assert bound.get_one(shop.Product, "ink").stock == 2
    assert bound.get_one(WorkflowRun, "r").status is RunStatus.SUCCEEDED
    query = select(Checkpoint.kind).where(Checkpoint.run_id == "r")
    assert "sleep" in bound.scalars(query).all()
    waits_for_no_writer = operon.engine.execution_options(**{BEGIN_OPTION: "DEFERRED"})
    with waits_for_no_writer.connect() as other:
        assert other.scalar(select(func.count()).select_from(WorkflowRun)) == 0


def test_the_test_sees_what_steps_have_written_since_it_looked(operon, bound):
    product = bound.get_one(shop.Product, "book")
    stock = product.stock

    operon.run(DrivenOrder("book"))

    assert product.stock == stock - 1


def test_what_the_test_has_not_flushed_is_seen_by_steps(operon, bound):
    bound.add(shop.Product(sku="ink", stock=3))

    assert operon.run(DrivenOrder("ink"))


def test_a_step_that_fails_leaves_nothing_of_what_it_wrote(operon, bound):
    with pytest.raises(LookupError):
        operon.run(DrivenFails(), id="r")

    assert bound.scalars(select(shop.Order)).all() == []
    assert bound.get_one(WorkflowRun, "r").status is RunStatus.FAILED


def test_a_step_may_not_end_the_transaction_either(operon, bound):
    for how in ("session", "text"):
        with pytest.raises(CommitInStepError):
            operon.run(DrivenMisuse(how))

    assert bound.scalars(select(shop.Order)).all() == []


def test_a_step_that_ends_the_transaction_around_is_refused_and_nothing_stays(
    operon, bound
):
    with pytest.raises(CommitInStepError):
        operon.run(DrivenMisuse("connection"))


def test_reading_transactions_may_not_write_and_hinder_nobody_afterwards(operon, bound):
    stock = operon.run(driven_peek(writes=False))

    with pytest.raises(Exception, match="read"):
        operon.run(driven_peek(writes=True))

    assert operon.run(DrivenOrder("book"))
    assert operon.run(driven_peek(writes=False)) == stock - 1


def test_the_same_id_joins_the_run_that_is_there(operon, bound):
    first = operon.run(DrivenOrder("book"), id="same")

    assert operon.run(DrivenOrder("book"), id="same") == first
    assert len(bound.scalars(select(shop.Order)).all()) == 1


def test_what_nobody_sends_is_not_waited_for_for_ever(operon, bound):
    with pytest.raises(MisuseError, match="never end"):
        operon.run(DrivenWaits())

    assert operon.run(DrivenWaits(3 * DAY)) is None


def test_a_moment_that_comes_between_two_looks_is_not_missed(operon, monkeypatch):
    clock, advance = DrivenClock(), InlineExecutor.advance

    def slow(self: InlineExecutor) -> bool:
        found = advance(self)
        if not found:
            clock.turn(days=3)  # more than is waited for
        return found

    monkeypatch.setattr(InlineExecutor, "advance", slow)
    with inline(operon, clock):
        assert operon.start(DrivenWaits(DAY)).result() is None


def test_a_timeout_is_kept_to_the_second(operon, bound):
    handle = operon.start(DrivenWaits())

    with pytest.raises(ResultTimeoutError):
        handle.result(10 * DAY)
    operon.send(handle.id, "word", "yes")

    assert handle.result() == "yes"


def test_what_is_started_in_the_tests_own_transaction_is_executed(operon, bound):
    handle = operon.start(DrivenOrder("book"), session=bound)

    assert handle.result()[1] == "shipped"


@pytest.mark.parametrize("how", ["run", "start", "transaction"])
def test_a_lock_that_never_comes_free_is_not_waited_for(database, operon, bound, how):
    stock = bound.get_one(shop.Product, "book").stock
    asked = (driven_self_locked if how == "transaction" else DrivenSelfLocked)(
        database.url
    )

    with pytest.raises(MisuseError, match="nobody else is at work who could free"):
        operon.start(asked).result() if how == "start" else operon.run(asked)

    assert len(tries) == (how != "transaction")
    assert bound.get_one(shop.Product, "book").stock == stock
