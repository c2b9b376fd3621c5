"""`@transaction`: a whole run in one commit, or nothing at all."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import exc
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import Retry
from operon import current
from operon import step
from operon import transaction
from operon.errors import MisuseError
from operon.errors import ResultNotSerializableError
from operon.errors import RunConflictError
from operon.points import Point
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import stock
from tests.shop import Order
from tests.shop import Product
from tests.shop import ThreeSteps
from tests.shop import create_shop
from tests.shop import place

QUICK = timedelta(milliseconds=5)


def test_rows_run_and_result_are_there_together(operon):
    assert operon.run(place("book"), id="r") == 1

    run = operon.get_run("r")
    assert (run.status, run.workflow, run.epoch) == ("succeeded", "place", 1)
    assert run.finished_at is not None
    assert history(operon, "r") == [(1, "transaction", "place")]
    assert operon.handle("r").result() == 1
    assert count(operon, run_id="r") == 1


def test_the_same_id_returns_the_recorded_result_and_runs_nothing(operon):
    calls: list[int] = []

    @transaction
    def register(session: Session, email: str) -> None:
        del email
        calls.append(1)
        insert_order(session)

    assert operon.run(register("a@example.org"), id="r") is None
    assert operon.run(register(email="a@example.org"), id="r") is None
    assert operon.start(register("a@example.org"), id="r").result() is None

    assert (len(calls), count(operon)) == (1, 1)


def test_without_an_id_every_call_runs(operon):
    assert [operon.run(place("book")) for _ in range(2)] == [1, 2]


def test_an_id_for_something_else_is_refused(operon):
    operon.run(place("book"), id="r")

    with pytest.raises(RunConflictError, match="another input"):
        operon.run(place("pen"), id="r")
    with pytest.raises(RunConflictError, match="'place', not 'ThreeSteps'"):
        operon.run(ThreeSteps("book"), id="r")
    with pytest.raises(RunConflictError, match="exists already"):
        operon.run(place("book"), id="r", on_conflict="raise")

    assert count(operon) == 1


def test_an_error_leaves_nothing_and_the_id_may_be_tried_again(operon):
    fails = [True]

    @transaction
    def register(session: Session) -> int:
        found = insert_order(session).id
        if fails:
            raise LookupError("taken")
        return found

    for _ in range(2):
        with pytest.raises(LookupError, match="taken") as caught:
            operon.run(register(), id="r")
        assert "register" in {entry.name for entry in caught.traceback}
    assert operon.find_run("r") is None
    assert count(operon) == 0
    await_empty_pool(operon)
    fails.clear()

    assert operon.run(register(), id="r") > 0
    assert count(operon) == 1


@pytest.mark.parametrize(
    "point", [Point.BEGAN, Point.BODY_DONE, Point.FLUSHED, Point.RECORDED]
)
def test_a_crash_before_the_commit_leaves_nothing(make_operon, database, point):
    crashes = [1]

    def crash(reached: Point, run_id: str) -> None:
        del run_id
        if reached is point and crashes:
            crashes.pop()
            raise KeyboardInterrupt

    operon = make_operon(database.url, probe=crash)
    create_shop(operon.engine, "book")
    with pytest.raises(KeyboardInterrupt):
        operon.run(place("book"), id="r")

    assert operon.find_run("r") is None
    assert count(operon) == 0
    await_empty_pool(operon)
    assert operon.run(place("book"), id="r") > 0
    assert count(operon) == 1


def test_a_crash_after_the_commit_leaves_everything(make_operon, database):
    def crash(reached: Point, run_id: str) -> None:
        del run_id
        if reached is Point.COMMITTED:
            raise KeyboardInterrupt

    operon = make_operon(database.url, probe=crash)
    create_shop(operon.engine, "book")
    with pytest.raises(KeyboardInterrupt):
        operon.run(place("book"), id="r")

    assert operon.run(place("book"), id="r") == 1
    assert count(operon) == 1


def test_a_duplicate_waits_for_the_first_and_gets_its_result(operon):
    began, go = threading.Event(), threading.Event()
    calls: list[int] = []

    @transaction
    def slow(session: Session) -> int:
        calls.append(1)
        began.set()
        assert go.wait(10)
        return insert_order(session).id

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(operon.run, slow(), id="r")
        assert began.wait(10)
        second = pool.submit(operon.run, slow(), id="r")
        with pytest.raises(TimeoutError):
            second.result(0.2)
        go.set()
        assert first.result(10) == second.result(10)

    assert (len(calls), count(operon)) == (1, 1)


def test_a_duplicate_of_one_that_fails_does_the_work_itself(operon):
    began, go = threading.Event(), threading.Event()
    calls: list[int] = []

    @transaction
    def slow(session: Session) -> int:
        calls.append(1)
        if len(calls) == 1:
            began.set()
            assert go.wait(10)
            raise LookupError
        return insert_order(session).id

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(operon.run, slow(), id="r")
        assert began.wait(10)
        second = pool.submit(operon.run, slow(), id="r")
        go.set()
        assert isinstance(first.exception(10), LookupError)
        assert second.result(10) > 0

    assert (len(calls), count(operon)) == (2, 1)


def test_threads_that_run_one_id_at_once_do_the_work_once(operon):
    barrier = threading.Barrier(8)
    calls: list[int] = []

    @transaction
    def take(session: Session) -> int:
        calls.append(1)
        session.execute(update(Product).values(stock=Product.stock - 1))
        return len(calls)

    def call(_: int) -> int:
        barrier.wait()
        return operon.run(take(), id="r")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(8)))

    assert len(set(results)) == 1
    assert stock(operon) == 99


def test_a_policy_tries_again_in_a_transaction_of_its_own(operon):
    seen: list[int | None] = []

    @transaction(retry=Retry(attempts=3, delay=QUICK))
    def flaky(session: Session) -> str:
        insert_order(session)
        seen.append(current().attempt)
        if len(seen) < 3:
            raise LookupError
        return current().idempotency_key

    assert operon.run(flaky(), id="r") == "r/1"
    assert seen == [1, 2, 3]
    assert count(operon) == 1


def test_a_serialization_failure_is_tried_again(make_operon, postgres_database):
    operon = make_operon(postgres_database.url)
    create_shop(operon.engine, "book")
    calls: list[int] = []

    @transaction
    def take(session: Session) -> int:
        calls.append(1)
        product = session.get_one(Product, "book")
        if len(calls) == 1:
            with Session(operon.engine) as other, other.begin():
                other.get_one(Product, "book").stock -= 1
        product.stock -= 1
        return product.stock

    assert operon.run(take(), id="r") == 98
    assert len(calls) == 2
    assert stock(operon) == 98


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_duplicate_is_found_at_every_isolation_level(
    make_operon, postgres_database, level
):
    operon = make_operon(postgres_database.url)
    create_shop(operon.engine, "book")
    barrier = threading.Barrier(4)
    levels: list[str] = []

    @transaction(isolation=level)
    def write_one(session: Session) -> int:
        levels.append(str(session.scalar(text("SHOW transaction_isolation"))))
        return insert_order(session).id

    def call(_: int) -> int:
        barrier.wait()
        return operon.run(write_one(), id="r")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(call, range(4)))) == 1

    assert count(operon) == 1
    assert set(levels) == {level.lower()}


def test_a_result_that_cannot_be_stored_leaves_nothing(operon):
    @transaction
    def bad(session: Session) -> list[float]:
        insert_order(session)
        return [1.0, float("nan")]

    with pytest.raises(ResultNotSerializableError, match=r"'bad'.*result\[1\]"):
        operon.run(bad(), id="r")

    assert count(operon) == 0
    assert operon.find_run("r") is None


def test_a_step_called_in_a_transaction_joins_it(operon):
    @step
    def add(session: Session) -> int:
        return insert_order(session).id

    @transaction
    def both(session: Session) -> list[int]:
        del session
        return [add(), add()]

    assert operon.run(both(), id="r") == [1, 2]
    assert history(operon, "r") == [(1, "transaction", "both")]


def test_a_transaction_cannot_run_another(operon):
    @transaction
    def outer(session: Session) -> int:
        insert_order(session)
        return operon.run(place("book"), id="inner")

    with pytest.raises(MisuseError, match=r"operon\.run .*step"):
        operon.run(outer(), id="outer")

    assert count(operon) == 0
    assert operon.list_runs() == []


def test_what_a_transaction_starts_exists_with_it(operon):
    @transaction
    def outer(session: Session, fails: bool) -> str:  # noqa: FBT001 - an input
        del session
        handle = operon.start(ThreeSteps("book"))
        if fails:
            raise LookupError
        return handle.id

    with pytest.raises(LookupError):
        operon.run(outer(fails=True), id="r")
    assert operon.list_runs() == []

    assert operon.run(outer(fails=False), id="r") == "r/1/1"
    assert operon.get_run("r/1/1").parent_id == "r"


# --- read only


@transaction(read_only=True)
def total(session: Session) -> int:
    return len(session.scalars(select(Order)).all())


def test_a_read_only_transaction_leaves_no_trace(operon):
    operon.run(place("book"), id="r")

    assert [operon.run(total()) for _ in range(2)] == [1, 1]
    assert [each.id for each in operon.list_runs()] == ["r"]


def test_a_read_only_transaction_with_an_id_is_a_run(operon):
    operon.run(place("book"))

    assert operon.run(total(), id="counted") == 1
    operon.run(place("book"))

    assert operon.run(total(), id="counted") == 1
    assert operon.get_run("counted").status == "succeeded"


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_write_in_a_read_only_transaction_is_refused_by_the_database(
    operon, swallowed
):
    @transaction(read_only=True)
    def sneaky(session: Session) -> str:
        try:
            with session.begin_nested():
                insert_order(session)
        except exc.SQLAlchemyError:
            if not swallowed:
                raise
            return "refused"
        return "written"

    if swallowed:
        assert operon.run(sneaky()) == "refused"
    else:
        with pytest.raises(exc.SQLAlchemyError, match=r"(?i)read-?only"):
            operon.run(sneaky())

    assert count(operon) == 0
    await_empty_pool(operon)
    assert operon.run(place("book")) > 0  # the pooled connection writes again


def test_a_read_only_transaction_does_not_wait_for_a_writer(operon):
    operon.run(place("book"))
    with Session(operon.engine) as session:
        insert_order(session)

        assert operon.run(total()) == 1


def test_a_transaction_may_be_tested_as_a_plain_function(operon, session):
    @transaction
    def add(session: Session, sku: str) -> str:
        insert_order(session, sku=sku)
        return sku

    assert add.__wrapped__(session, "book") == "book"
    session.rollback()
    assert operon.list_runs() == []
