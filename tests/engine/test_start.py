"""Starting: durable when it returns, or with the transaction it was called in."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import exc
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.orm import Session

from operon import Retry
from operon import Workflow
from operon import current
from operon import step
from operon.errors import MisuseError
from operon.errors import ResultTimeoutError
from operon.errors import RunConflictError
from operon.errors import RunNotFoundError
from operon.models import WorkflowRun
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import status
from tests.engine.facts import stock
from tests.shop import Checkout
from tests.shop import Product
from tests.shop import ThreeSteps
from tests.shop import create_shop
from tests.shop import place

SOON = timedelta(seconds=15)
QUICK = timedelta(milliseconds=5)


def test_what_is_started_is_durable_and_waits_for_an_executor(operon, database):
    handle = operon.start(ThreeSteps("book"), id="r", attributes={"tenant": "north"})

    with database.engine().connect() as other:
        row = other.execute(
            text("SELECT status, queue, workflow, epoch FROM operon_runs")
        ).one()
    assert tuple(row) == ("enqueued", "default", "ThreeSteps", 0)
    assert handle.status() == "enqueued"
    assert operon.get_run("r").attributes == {"tenant": "north"}
    assert count(operon) == 0

    operon.launch()

    assert handle.result(SOON) == 1
    assert handle.status() == "succeeded"
    assert [each.name for each in handle.steps()] == ["take", "pay", "close"]


def test_a_started_run_raises_its_error_from_the_handle(operon):
    operon.launch()

    with pytest.raises(Exception, match="book"):
        operon.start(Checkout("book", quantity=1000)).result(SOON)


def test_a_transaction_can_be_started(operon):
    operon.launch()

    assert operon.start(place("book"), id="r").result(SOON) == 1
    assert operon.run(place("book"), id="r") == 1
    assert count(operon, run_id="r") == 1


def test_a_result_that_takes_too_long_is_a_timeout_and_the_run_goes_on(operon):
    handle = operon.start(ThreeSteps("book"))

    with pytest.raises(ResultTimeoutError, match="the run goes on"):
        handle.result(timedelta(milliseconds=20))
    with pytest.raises(ResultTimeoutError):
        handle.result(timedelta(0))

    operon.launch()
    assert handle.result(SOON) == 1


def test_an_id_that_was_started_is_finished_by_a_foreground_run(operon):
    operon.start(ThreeSteps("book"), id="r")

    assert operon.run(ThreeSteps("book"), id="r") == 1
    assert stock(operon) == 99


def test_starting_an_id_again_returns_the_same_run(operon):
    first = operon.start(ThreeSteps("book"), id="r")
    second = operon.start(ThreeSteps("book"), id="r")

    assert first.id == second.id == "r"
    assert len(operon.list_runs()) == 1


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (ThreeSteps("pen"), "another input"),
        (Checkout("book"), "not 'Checkout'"),
        (place("book"), "not 'place'"),
    ],
)
def test_starting_an_id_for_something_else_is_refused(operon, other, said):
    operon.start(ThreeSteps("book"), id="r")

    with pytest.raises(RunConflictError, match=said):
        operon.start(other, id="r")

    assert len(operon.list_runs()) == 1


def test_on_conflict_raise_refuses_an_id_that_exists(operon):
    operon.start(ThreeSteps("book"), id="r", on_conflict="raise")

    with pytest.raises(RunConflictError, match="exists already"):
        operon.start(ThreeSteps("book"), id="r", on_conflict="raise")


def test_threads_that_start_one_id_at_once_start_one_run(operon):
    barrier = threading.Barrier(8)

    def call(_: int) -> str:
        barrier.wait()
        return operon.start(ThreeSteps("book"), id="r").id

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, range(8))) == {"r"}
    operon.launch()

    assert operon.handle("r").result(SOON) == 1
    assert stock(operon) == 99


@pytest.mark.parametrize("bad", ["", "x" * 256, "a\nb", "a\x00b", 7])
def test_an_id_that_cannot_be_one_is_refused(operon, bad):
    with pytest.raises(MisuseError, match="id="):
        operon.start(ThreeSteps("book"), id=bad)

    assert operon.list_runs() == []


@pytest.mark.parametrize("good", ["x", "x" * 255, "ключ", "a/b c?d#e%", "1"])
def test_any_printable_text_is_an_id(operon, good):
    assert operon.run(ThreeSteps("book"), id=good) == 1
    assert operon.get_run(good).id == good


@pytest.mark.parametrize("name", ["attributes", "principal"])
@pytest.mark.parametrize(
    "bad", [{"x": b"bytes"}, {"x": float("nan")}, {1: "x"}, {"x": "\ud800"}], ids=str
)
def test_attributes_and_principal_are_plain_json(operon, name, bad):
    with pytest.raises(MisuseError, match=name):
        operon.start(ThreeSteps("book"), **{name: bad})

    assert operon.list_runs() == []


# --- in the caller's transaction


def test_a_start_in_a_session_exists_when_that_commits(operon):
    with Session(operon.engine) as session:
        handle = operon.start(ThreeSteps("book"), id="r", session=session)
        insert_order(session, "mine")
        assert operon.find_run("r") is None
        with pytest.raises(RunNotFoundError, match="once that transaction"):
            handle.result()
        session.commit()

    assert (status(operon, "r"), count(operon, run_id="mine")) == ("enqueued", 1)
    operon.launch()
    assert handle.result(SOON) > 0


@pytest.mark.parametrize("by", ["rollback", "close", "error"])
def test_a_start_in_a_session_is_gone_with_it(operon, by):
    session = Session(operon.engine)
    operon.start(ThreeSteps("book"), id="r", session=session)
    if by == "rollback":
        session.rollback()
    elif by == "error":
        with pytest.raises(ZeroDivisionError), session:
            1 / 0  # noqa: B018 - any error
    session.close()

    assert operon.find_run("r") is None
    assert operon.start(ThreeSteps("pen"), id="r").status() == "enqueued"


def test_a_start_in_a_savepoint_is_gone_with_it(operon):
    with Session(operon.engine) as session:
        operon.start(ThreeSteps("book"), id="kept", session=session)
        with session.begin_nested() as savepoint:
            operon.start(ThreeSteps("book"), id="gone", session=session)
            savepoint.rollback()
        with session.begin_nested():
            operon.start(ThreeSteps("book"), id="kept too", session=session)
        session.commit()

    found = sorted(each.id for each in operon.list_runs())
    assert found == ["kept", "kept too"]


def test_a_start_in_a_session_flushes_nothing_and_commits_nothing(operon):
    with Session(operon.engine) as session:
        product = Product(sku="new", stock=1)
        session.add(product)
        operon.start(ThreeSteps("book"), id="r", session=session)
        assert product in session.new
        assert session.in_transaction()
        session.rollback()

    assert count(operon, Product, sku="new") == 0


@pytest.mark.parametrize(
    "other", [ThreeSteps("book"), ThreeSteps("pen"), Checkout("book")]
)
def test_an_id_that_exists_does_not_poison_the_callers_session(operon, other):
    operon.start(ThreeSteps("book"), id="r")

    with Session(operon.engine) as session:
        insert_order(session, "before")
        if other == ThreeSteps("book"):
            assert operon.start(other, id="r", session=session).id == "r"
        else:
            with pytest.raises(RunConflictError):
                operon.start(other, id="r", session=session)
        insert_order(session, "after")
        session.commit()

    assert count(operon) == 2
    await_empty_pool(operon)


def test_an_id_started_twice_in_one_session_is_one_run(operon):
    with Session(operon.engine) as session:
        operon.start(ThreeSteps("book"), id="r", session=session)
        operon.start(ThreeSteps("book"), id="r", session=session)
        with pytest.raises(RunConflictError):
            operon.start(ThreeSteps("pen"), id="r", session=session)
        session.commit()

    assert [each.id for each in operon.list_runs()] == ["r"]


def test_the_first_use_of_operon_may_be_within_a_transaction_that_writes(
    make_operon, database
):
    create_shop(make_operon(database.url).engine, "book")
    operon = make_operon(
        database.url, database_patience=timedelta(seconds=2)
    )  # nothing of it was used yet

    with Session(operon.engine) as session:
        insert_order(session)
        operon.start(ThreeSteps("book"), id="r", session=session)
        session.commit()

    assert status(operon, "r") == "enqueued"


def test_a_session_on_another_database_is_refused(
    operon, make_operon, sqlite_template, tmp_path
):
    other = make_operon(f"sqlite:///{tmp_path / 'other.db'}")
    with (
        Session(other.engine) as session,
        pytest.raises(MisuseError, match="bound to Operon's database"),
    ):
        operon.start(ThreeSteps("book"), id="r", session=session)

    assert operon.find_run("r") is None
    del sqlite_template


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
def test_a_start_in_a_session_waits_for_a_start_of_the_same_id(
    make_operon, postgres_database, isolation
):
    operon = make_operon(postgres_database.url)
    engine = operon.engine.execution_options(isolation_level=isolation)
    first, second = Session(engine), Session(engine)
    operon.start(place("book"), id="r", session=first)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(operon.start, place("book"), id="r", session=second)
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        first.rollback()
        assert waiting.result(10).id == "r"
    second.commit()
    first.close()
    second.close()

    assert status(operon, "r") == "enqueued"


# --- context decides


class Child(Workflow):
    sku: str

    @step
    def write_one(self, session: Session) -> int:
        return insert_order(session, current().run_id).id

    def run(self) -> int:
        return self.write_one()


def test_a_start_in_a_step_exists_when_the_step_does(operon):
    fails = [True]

    class Starts(Workflow):
        @step
        def begin_two(self, session: Session) -> list[str]:
            insert_order(session)
            first = operon.start(Child("book"))
            second = operon.start(Child("pen"), session=session)
            assert operon.find_run(first.id) is None
            if fails:
                raise LookupError
            return [first.id, second.id]

        def run(self) -> list[str]:
            return self.begin_two()

    with pytest.raises(LookupError):
        operon.run(Starts(), id="a")
    assert [each.id for each in operon.list_runs()] == ["a"]
    fails.clear()

    assert operon.run(Starts(), id="b", principal={"sub": "x"}) == ["b/1/1", "b/1/2"]
    child = operon.get_run("b/1/2")
    assert (child.parent_id, child.root_id) == ("b", "b")
    assert (child.status, child.principal) == ("enqueued", {"sub": "x"})
    operon.launch()
    assert operon.handle("b/1/1").result(SOON) > 0


def test_grandchildren_know_their_root(operon):
    class Nests(Workflow):
        depth: int

        @step
        def begin(self, session: Session) -> None:
            del session
            if self.depth:
                operon.start(Nests(self.depth - 1))

        def run(self) -> None:
            self.begin()

    operon.launch()
    operon.start(Nests(2), id="r").result(SOON)
    operon.handle("r/1/1").result(SOON)
    operon.handle("r/1/1/1/1").result(SOON)

    last = operon.get_run("r/1/1/1/1")
    assert (last.parent_id, last.root_id) == ("r/1/1", "r")


def test_every_attempt_of_a_step_starts_the_same_run(operon):
    started: list[str] = []

    class Starts(Workflow):
        @step(retry=Retry(attempts=3, delay=QUICK))
        def begin(self, session: Session) -> None:
            del session
            started.append(operon.start(Child("book")).id)
            if len(started) < 3:
                raise LookupError

        def run(self) -> None:
            self.begin()

    operon.run(Starts(), id="r")

    assert started == ["r/1/1"] * 3
    assert sorted(each.id for each in operon.list_runs()) == ["r", "r/1/1"]


def test_a_serialization_retry_starts_one_child_not_two(make_operon, postgres_database):
    operon = make_operon(postgres_database.url)
    create_shop(operon.engine, "book")
    calls: list[str] = []

    class Starts(Workflow):
        @step
        def begin(self, session: Session) -> str:
            product = session.get_one(Product, "book")
            handle = operon.start(Child("book"))
            calls.append(handle.id)
            if len(calls) == 1:
                with Session(operon.engine) as other, other.begin():
                    other.get_one(Product, "book").stock -= 1
            product.stock -= 1
            session.flush()
            return handle.id

        def run(self) -> str:
            return self.begin()

    assert operon.run(Starts(), id="r") == "r/1/1"
    assert calls == ["r/1/1", "r/1/1"]
    assert sorted(each.id for each in operon.list_runs()) == ["r", "r/1/1"]
    assert stock(operon) == 98


def test_a_replayed_step_starts_nothing(operon):
    crashes = [1]

    class Starts(Workflow):
        @step
        def begin(self, session: Session) -> str:
            del session
            return operon.start(Child("book")).id

        def run(self) -> str:
            found = self.begin()
            if crashes:
                crashes.pop()
                raise KeyboardInterrupt
            return found

    with pytest.raises(KeyboardInterrupt):
        operon.run(Starts(), id="r")
    operon.run(Starts(), id="r")

    assert len(operon.list_runs()) == 2


def test_an_inner_step_starts_under_its_outer_steps_ids(operon):
    class Starts(Workflow):
        @step
        def outer(self, session: Session) -> list[str]:
            del session
            return [operon.start(Child("book")).id, self.inner()]

        @step
        def inner(self, session: Session) -> str:
            del session
            return operon.start(Child("pen")).id

        def run(self) -> list[str]:
            return self.outer()

    assert operon.run(Starts(), id="r") == ["r/1/1", "r/1/2"]


def test_a_conflict_in_a_step_does_not_poison_the_step(operon):
    operon.start(Child("book"), id="taken")

    class Starts(Workflow):
        @step
        def begin(self, session: Session) -> str:
            insert_order(session, "before")
            try:
                operon.start(Child("pen"), id="taken")
            except RunConflictError as error:
                insert_order(session, "after")
                return error.run_id
            return "started"

        def run(self) -> str:
            return self.begin()

    assert operon.run(Starts(), id="r") == "taken"
    assert count(operon) == 2
    assert history(operon, "r") == [(1, "step", "begin")]


def test_runs_can_be_joined_by_the_application(operon):
    operon.run(Child("book"), id="r")

    with Session(operon.engine) as session:
        query: Any = select(WorkflowRun).where(WorkflowRun.id == "r")
        assert session.scalars(query).one().workflow == "Child"


def test_two_values_of_equal_decoded_input_are_one_run(operon):
    class Prices(Workflow):
        price: float

        def run(self) -> float:
            return self.price

    operon.run(Prices(1.0), id="r")

    with pytest.raises(RunConflictError):
        operon.run(Prices(2.0), id="r")
    assert operon.run(Prices(1.0), id="r") == 1.0


def test_a_run_whose_row_is_refused_executes_nothing_and_can_be_asked_for_again(
    make_operon, postgres_database
):
    operon = make_operon(postgres_database.url)
    create_shop(operon.engine, "book")
    operon.list_runs()  # the tables are there
    with operon.engine.begin() as connection:
        rule = "ADD CONSTRAINT none CHECK (workflow <> 'ThreeSteps')"
        connection.execute(text(f"ALTER TABLE operon_runs {rule}"))

    with pytest.raises(exc.IntegrityError, match="none"):
        operon.run(ThreeSteps("book"), id="r")

    assert (count(operon), operon.find_run("r")) == (0, None)
    with operon.engine.begin() as connection:
        connection.execute(text("ALTER TABLE operon_runs DROP CONSTRAINT none"))
    operon.run(ThreeSteps("book"), id="r")
    assert operon.get_run("r").status == "succeeded"
