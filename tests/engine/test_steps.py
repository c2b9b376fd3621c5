"""Steps: one transaction each, with everything SQLAlchemy does inside it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy import insert
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import relationship
from sqlalchemy.orm import sessionmaker

from operon import Retry
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon import transaction
from operon.errors import ActivityInStepError
from operon.errors import MisuseError
from operon.errors import NoCurrentRunError
from tests.engine.facts import attempts
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import stock
from tests.shop import Order
from tests.shop import Product
from tests.shop import ThreeSteps
from tests.shop import create_shop
from tests.shop import place


@pytest.fixture
def postgres_operon(make_operon, postgres_database):
    """An Operon on PostgreSQL, where two writers can meet."""
    operon = make_operon(postgres_database.url)
    create_shop(operon.engine, "book", "pen")
    return operon


@step
def plain(session: Session, quantity: int = 1) -> int:
    """Write an order from a plain function."""
    order = Order(sku="book", quantity=quantity, run_id=current().run_id)
    session.add(order)
    session.flush()
    return order.id


@activity
def ask(question: str) -> str:
    return f"{question}? {current().idempotency_key}"


# --- where operations may be called


@pytest.mark.parametrize(
    "call", [plain, lambda: ask("who"), lambda: ThreeSteps("book").take()]
)
def test_outside_a_run_an_operation_refuses_and_names_the_cure(operon, call):
    with pytest.raises(NoCurrentRunError, match=r"outside a run.*__wrapped__"):
        call()

    assert count(operon) == 0


def test_outside_a_run_there_is_no_current():
    with pytest.raises(NoCurrentRunError):
        current()


def test_after_a_run_there_is_no_current(operon):
    operon.run(ThreeSteps("book"))

    with pytest.raises(NoCurrentRunError):
        current()


def test_plain_functions_are_operations_of_the_run_that_calls_them(operon):
    class Calls(Workflow):
        def run(self) -> list[Any]:
            return [plain(2), ask("why"), plain(quantity=3)]

    result = operon.run(Calls(), id="r")

    assert result == [1, "why? r/2", 2]
    assert history(operon, "r") == [
        (1, "step", "plain"),
        (2, "activity", "ask"),
        (3, "step", "plain"),
    ]


@pytest.mark.parametrize("swallowed", [False, True])
def test_an_activity_in_a_step_is_refused(operon, swallowed):
    asked: list[str] = []

    class Asks(Workflow):
        @activity
        def charge(self) -> None:
            asked.append("charge")

        @step
        def reserve(self, session: Session) -> str:
            insert_order(session)
            try:
                self.charge()
            except ActivityInStepError as error:
                if not swallowed:
                    raise
                return str(error)
            return "charged"

        def run(self) -> str:
            return self.reserve()

    if swallowed:
        assert "before or after the step" in operon.run(Asks(), id="r")
    else:
        with pytest.raises(ActivityInStepError, match=r"'charge'.*'reserve'"):
            operon.run(Asks(), id="r")

    assert asked == []
    assert count(operon) == int(swallowed)
    assert history(operon, "r") == [(1, "step", "reserve")]


def test_a_step_in_an_activity_is_refused(operon):
    class Writes(Workflow):
        @activity
        def charge(self) -> None:
            plain()

        def run(self) -> None:
            self.charge()

    with pytest.raises(MisuseError, match=r"'plain'.*inside activity 'charge'"):
        operon.run(Writes())

    assert count(operon) == 0


@pytest.mark.parametrize("where", ["body", "step", "activity"])
def test_operon_run_inside_a_run_is_refused(operon, where):
    class Nests(Workflow):
        @step
        def in_step(self, session: Session) -> None:
            insert_order(session)
            operon.run(ThreeSteps("book"), id="inner")

        @activity
        def in_activity(self) -> None:
            operon.run(ThreeSteps("book"), id="inner")

        def run(self) -> None:
            if where == "step":
                self.in_step()
            elif where == "activity":
                self.in_activity()
            else:
                operon.run(ThreeSteps("book"), id="inner")

    with pytest.raises(MisuseError, match=f"operon.run.*{where}"):
        operon.run(Nests(), id="outer")

    assert operon.find_run("inner") is None
    assert count(operon) == 0


def test_a_thread_of_the_bodys_own_is_outside_the_run(operon):
    """Positions are counted in one thread; another one would shuffle them."""
    said: list[type[BaseException]] = []

    def work() -> None:
        try:
            plain()
        except NoCurrentRunError as error:
            said.append(type(error))

    class Threads(Workflow):
        def run(self) -> None:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    operon.run(Threads())

    assert said == [NoCurrentRunError]


# --- a step in a step


def test_a_step_in_a_step_joins_its_session_and_commit(operon):
    seen: list[Session] = []

    class Nests(Workflow):
        @step
        def outer(self, session: Session) -> list[int]:
            seen.append(session)
            return [self.inner(1), self.inner(2), plain(3)]

        @step(isolation="READ COMMITTED", retry=Retry(attempts=5))
        def inner(self, session: Session, quantity: int) -> int:
            seen.append(session)
            return plain(quantity)

        def run(self) -> list[int]:
            return self.outer()

    assert operon.run(Nests(), id="r") == [1, 2, 3]
    assert history(operon, "r") == [(1, "step", "outer")]
    assert len(set(map(id, seen))) == 1
    assert count(operon) == 3


@pytest.mark.parametrize("handled", [True, False])
def test_an_error_in_an_inner_step_is_a_plain_error_of_the_outer_one(operon, handled):
    class Nests(Workflow):
        @step
        def outer(self, session: Session) -> str:
            insert_order(session)
            try:
                self.inner()
            except LookupError:
                if not handled:
                    raise
            return "done"

        @step(retry=Retry(attempts=5))
        def inner(self, session: Session) -> None:
            insert_order(session)
            raise LookupError("inner")

        def run(self) -> str:
            return self.outer()

    if handled:
        assert operon.run(Nests(), id="r") == "done"
    else:
        with pytest.raises(LookupError, match="inner"):
            operon.run(Nests(), id="r")

    assert count(operon) == (2 if handled else 0)
    assert names(operon, "r") == ["outer"]
    assert attempts(operon, "r") == []


def test_the_result_of_an_inner_step_is_the_object_itself(operon):
    class Nests(Workflow):
        @step
        def outer(self, session: Session) -> bool:
            return self.inner() in session

        @step
        def inner(self, session: Session) -> Order:
            return insert_order(session)

        def run(self) -> bool:
            return self.outer()

    assert operon.run(Nests())


def test_an_overriding_step_may_call_the_one_it_overrides(operon):
    class Base(Workflow, abstract=True):
        @step
        def reserve(self, session: Session, quantity: int) -> int:
            session.add(Order(sku="book", quantity=quantity, run_id="base"))
            return quantity

        def run(self) -> int:
            return self.reserve(1)

    class Special(Base):
        @step
        def reserve(self, session: Session, quantity: int) -> int:
            session.add(Order(sku="book", quantity=quantity, run_id="special"))
            return super().reserve(quantity + 1)

    assert operon.run(Special(), id="r") == 2
    assert history(operon, "r") == [(1, "step", "reserve")]
    assert count(operon, run_id="base", quantity=2) == 1
    assert count(operon, run_id="special", quantity=1) == 1


# --- what the running code may know


def test_current_says_where_the_code_stands(operon):
    class Looks(Workflow, name="looks"):
        @step
        def in_step(self, session: Session) -> list[Any]:
            del session
            return facts()

        @activity
        def in_activity(self) -> list[Any]:
            return facts()

        def run(self) -> list[Any]:
            return [facts(), self.in_step(), self.in_activity(), facts()]

    def facts() -> list[Any]:
        now = current()
        return [
            now.run_id,
            now.workflow,
            now.step,
            now.position,
            now.attempt,
            now.idempotency_key,
            now.principal,
            now.deadline is None,
        ]

    body = ["r", "looks", None, None, None, "r", {"sub": "anna"}, True]

    assert operon.run(Looks(), id="r", principal={"sub": "anna"}) == [
        body,
        ["r", "looks", "in_step", 1, 1, "r/1", {"sub": "anna"}, True],
        ["r", "looks", "in_activity", 2, 1, "r/2", {"sub": "anna"}, True],
        body,
    ]


def test_the_current_logger_carries_the_run(operon, caplog):
    class Logs(Workflow):
        @step
        def note(self, session: Session) -> None:
            del session
            current().logger.warning("low stock")

        def run(self) -> None:
            self.note()

    operon.run(Logs(), id="r")

    record: Any = next(each for each in caplog.records if each.msg == "low stock")
    assert (record.run_id, record.workflow, record.step, record.attempt) == (
        "r",
        "Logs",
        "note",
        1,
    )


# --- everything SQLAlchemy does is inside


def test_what_is_only_added_is_flushed_and_committed(operon):
    class Adds(Workflow):
        @step
        def add(self, session: Session) -> None:
            session.add(Order(sku="book", quantity=1, run_id="r"))

        def run(self) -> None:
            self.add()

    operon.run(Adds())

    assert count(operon) == 1


def test_autoflush_bulk_inserts_and_raw_sql_share_the_commit(operon):
    class Writes(Workflow):
        fails: bool

        @step
        def write_all(self, session: Session) -> int:
            session.add(Order(sku="book", quantity=1, run_id="unit"))
            flushed = len(session.scalars(select(Order)).all())
            rows = [{"sku": "book", "quantity": n, "run_id": "bulk"} for n in range(3)]
            session.execute(insert(Order), rows)
            session.bulk_insert_mappings(Order, [{**rows[0], "status": "old"}])
            session.execute(
                text(
                    "INSERT INTO orders (sku, quantity, run_id, status) "
                    "VALUES ('book', 1, 'raw', 'new')"
                )
            )
            session.execute(update(Product).values(stock=Product.stock - 5))
            if self.fails:
                raise LookupError
            return flushed

        def run(self) -> int:
            return self.write_all()

    with pytest.raises(LookupError):
        operon.run(Writes(fails=True))
    assert (count(operon), stock(operon)) == (0, 100)

    assert operon.run(Writes(fails=False)) == 1
    assert (count(operon), stock(operon)) == (6, 95)


class Family(DeclarativeBase):
    pass


class Parent(Family):
    __tablename__ = "parents"

    id: Mapped[int] = mapped_column(primary_key=True)
    children: Mapped[list["Child"]] = relationship(cascade="all, delete-orphan")


class Child(Family):
    __tablename__ = "children"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey("parents.id"))


def test_cascades_and_mapper_events_are_inside_the_step(operon):
    Family.metadata.create_all(operon.engine)
    inserted: list[str] = []

    def note(_mapper: object, _connection: object, target: object) -> None:
        inserted.append(type(target).__name__)

    class Cascades(Workflow):
        @step
        def create(self, session: Session) -> int:
            parent = Parent(children=[Child(), Child()])
            session.add(parent)
            session.flush()
            return parent.id

        @step
        def remove(self, session: Session, key: int) -> None:
            session.delete(session.get_one(Parent, key))
            session.flush()
            assert not session.scalars(select(Child)).all()
            raise LookupError

        def run(self) -> int:
            key = self.create()
            try:
                self.remove(key)
            except LookupError:
                return key
            return 0

    event.listen(Child, "after_insert", note)
    try:
        assert operon.run(Cascades()) == 1
    finally:
        event.remove(Child, "after_insert", note)

    assert inserted == ["Child", "Child"]
    assert (count(operon, Parent), count(operon, Child)) == (1, 2)


def test_each_step_has_a_session_of_its_own_and_leaves_it_closed(operon):
    sessions: list[Session] = []
    found: list[Order] = []

    class Keeps(Workflow):
        @step
        def add(self, session: Session) -> None:
            sessions.append(session)
            found.append(insert_order(session))

        def run(self) -> None:
            self.add()
            self.add()

    operon.run(Keeps())

    assert sessions[0] is not sessions[1]
    assert [len(list(each)) for each in sessions] == [0, 0]
    await_empty_pool(operon)


class ShopSession(Session):
    """A session class of the application's own."""

    def shelf(self, sku: str) -> int:
        return self.get_one(Product, sku).stock


def test_the_applications_session_keeps_class_options_and_listeners(
    make_operon, database
):
    flushed: list[Any] = []
    factory = sessionmaker(
        database.engine(),
        class_=ShopSession,
        info={"tenant": "north"},
        expire_on_commit=False,
        autoflush=False,
    )

    @event.listens_for(factory, "before_flush")
    def note(session: Session, *_: object) -> None:
        flushed.append(session.info)

    operon = make_operon(factory)
    create_shop(operon.engine, "book")
    kept: list[Order] = []

    class Uses(Workflow):
        @step
        def use(self, session: ShopSession) -> list[Any]:
            order = Order(sku="book", quantity=1, run_id="r")
            session.add(order)
            pending = len(session.scalars(select(Order)).all())
            kept.append(order)
            return [
                isinstance(session, ShopSession),
                session.shelf("book"),
                session.info["tenant"],
                session.autoflush,
                session.expire_on_commit,
                pending,
            ]

        def run(self) -> list[Any]:
            return self.use()

    assert operon.run(Uses()) == [True, 100, "north", False, False, 0]
    assert flushed[0]["tenant"] == "north"
    assert kept[0].quantity == 1  # not expired by the commit


# --- what the user's code raises, and what the database does


def test_a_users_error_rolls_back_every_row_and_is_recorded_once(operon):
    class Fails(Workflow):
        @step
        def fail(self, session: Session) -> None:
            insert_order(session)
            session.get_one(Product, "book").stock = 0
            raise LookupError("gone")

        def run(self) -> None:
            self.fail()

    for _ in range(2):
        with pytest.raises(LookupError, match="gone"):
            operon.run(Fails(), id="r")

    assert (count(operon), stock(operon)) == (0, 100)
    assert names(operon, "r") == ["fail"]
    assert operon.list_steps("r")[0].attempts == 1
    assert attempts(operon, "r") == []


@pytest.mark.parametrize("route", ["flush", "return"])
def test_an_integrity_error_is_the_users_own_and_recorded_as_such(operon, route):
    calls: list[int] = []

    class Fails(Workflow):
        @step
        def fail(self, session: Session) -> None:
            calls.append(1)
            session.add(Order(sku="book", quantity=None, run_id="r"))  # type: ignore[arg-type]  # on purpose
            if route == "flush":
                session.flush()

        def run(self) -> None:
            self.fail()

    said = []
    for _ in range(2):
        with pytest.raises(exc.IntegrityError) as caught:
            operon.run(Fails(), id="r")
        said.append((str(caught.value), caught.value.args, caught.value.statement))

    assert said[0] == said[1]
    assert len(calls) == 1
    assert names(operon, "r") == ["fail"]
    await_empty_pool(operon)


def test_a_constraint_that_is_checked_at_commit_is_the_users_error(postgres_operon):
    operon = postgres_operon
    with operon.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE links (id int PRIMARY KEY, "
                "other int REFERENCES links (id) DEFERRABLE INITIALLY DEFERRED)"
            )
        )
    calls: list[int] = []

    class Links(Workflow):
        @step
        def link(self, session: Session) -> str:
            calls.append(1)
            insert_order(session)
            session.execute(text("INSERT INTO links VALUES (1, 2)"))
            return "linked"

        def run(self) -> str:
            return self.link()

    for _ in range(2):
        with pytest.raises(exc.IntegrityError, match="links_other_fkey"):
            operon.run(Links(), id="r")

    assert len(calls) == 1
    assert count(operon) == 0
    assert names(operon, "r") == ["link"]
    assert operon.list_steps("r")[0].error is not None
    await_empty_pool(operon)


def _steal(operon, sku: str = "book") -> None:
    """Let another session of the application take one *sku*."""
    with Session(operon.engine) as other, other.begin():
        other.execute(
            update(Product).where(Product.sku == sku).values(stock=Product.stock - 1)
        )


@pytest.mark.parametrize("handling", ["raises", "swallows", "returns early"])
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_serialization_failure_is_tried_again_and_never_recorded(
    postgres_operon, isolation, handling
):
    operon = postgres_operon
    calls: list[int | None] = []

    class Takes(Workflow):
        @step(isolation=isolation)
        def take(self, session: Session) -> str:
            calls.append(current().attempt)
            product = session.get_one(Product, "book")
            if len(calls) == 1:
                _steal(operon)
            insert_order(session)
            product.stock -= 1
            try:
                session.flush()
            except Exception:
                if handling == "raises":
                    raise
                if handling == "swallows":
                    insert_order_quietly(session)
                return "fallback"
            return "taken"

        def run(self) -> str:
            return self.take()

    assert operon.run(Takes(), id="r") == "taken"
    assert calls == [1, 1]  # the database's doing does not count as an attempt
    assert stock(operon) == 98
    assert count(operon) == 1
    assert attempts(operon, "r") == []
    await_empty_pool(operon)


def insert_order_quietly(session: Session) -> None:
    """Try to go on in a transaction that the database has given up."""
    with suppress(Exception):
        insert_order(session)


def test_a_write_skew_found_at_commit_is_tried_again(postgres_operon):
    """Two steps read what the other writes; PostgreSQL refuses one at COMMIT."""
    operon = postgres_operon
    barrier = threading.Barrier(2, timeout=10)
    calls: list[str] = []

    class Skews(Workflow):
        reads: str
        writes: str

        @step
        def move(self, session: Session) -> int:
            left = session.get_one(Product, self.reads).stock
            calls.append(self.reads)
            if calls.count(self.reads) == 1:
                barrier.wait()
            session.get_one(Product, self.writes).stock = left - 10
            return left

        def run(self) -> int:
            return self.move()

    with ThreadPoolExecutor(2) as pool:
        results = list(
            pool.map(operon.run, [Skews("book", "pen"), Skews("pen", "book")])
        )

    assert sorted(results) == [90, 100]
    assert sorted((stock(operon, "book"), stock(operon, "pen"))) == [80, 90]
    assert len(calls) >= 3


def test_a_deadlock_is_tried_again_and_never_recorded(postgres_operon):
    operon = postgres_operon
    barrier = threading.Barrier(2, timeout=10)
    calls: list[str] = []

    class Locks(Workflow):
        first: str
        second: str

        @step(isolation="READ COMMITTED")
        def lock(self, session: Session) -> None:
            session.get_one(Product, self.first, with_for_update=True).stock -= 1
            calls.append(self.first)
            session.flush()
            if calls.count(self.first) == 1:
                barrier.wait()
            session.get_one(Product, self.second, with_for_update=True).stock -= 1

        def run(self) -> None:
            self.lock()

    with ThreadPoolExecutor(2) as pool:
        handles = [
            pool.submit(operon.run, each, id=each.first)
            for each in (Locks("book", "pen"), Locks("pen", "book"))
        ]
        for each in handles:
            each.result()

    assert len(calls) >= 3
    assert stock(operon, "book") == stock(operon, "pen") == 98
    for run_id in ("book", "pen"):
        assert names(operon, run_id) == ["lock"]
        assert attempts(operon, run_id) == []


@pytest.mark.parametrize("timeout", ["lock_timeout", "statement_timeout"])
def test_a_lock_timeout_is_tried_again_and_never_recorded(postgres_operon, timeout):
    operon = postgres_operon
    blocker = Session(operon.engine)
    blocker.get_one(Product, "book", with_for_update=True)
    calls: list[int] = []

    class Waits(Workflow):
        @step
        def take(self, session: Session) -> int:
            calls.append(1)
            if len(calls) == 3:
                blocker.close()
            session.execute(text(f"SET LOCAL {timeout} = '20ms'"))
            return session.get_one(Product, "book", with_for_update=True).stock

        def run(self) -> int:
            return self.take()

    try:
        assert operon.run(Waits(), id="r") == 100
    finally:
        blocker.close()

    assert len(calls) == 3
    assert attempts(operon, "r") == []
    assert operon.list_steps("r")[0].error is None


def test_a_lock_refused_in_a_savepoint_is_the_users_to_handle(postgres_operon):
    operon = postgres_operon
    calls: list[int] = []

    class Peeks(Workflow):
        @step
        def peek(self, session: Session) -> str:
            calls.append(1)
            insert_order(session)
            try:
                with session.begin_nested():
                    session.get_one(Product, "pen", with_for_update={"nowait": True})
            except exc.OperationalError:
                return "busy"
            return "free"

        def run(self) -> str:
            return self.peek()

    with Session(operon.engine) as blocker:
        blocker.get_one(Product, "pen", with_for_update=True)
        result = operon.run(Peeks(), id="r")

    assert result == "busy"
    assert (len(calls), count(operon)) == (1, 1)


def test_a_conflict_swallowed_by_a_savepoint_is_tried_again(postgres_operon):
    operon = postgres_operon
    calls: list[int] = []

    class Takes(Workflow):
        @step
        def take(self, session: Session) -> str:
            calls.append(1)
            session.get_one(Product, "pen")
            if len(calls) == 1:
                _steal(operon)
            try:
                with session.begin_nested():
                    session.execute(update(Product).values(stock=Product.stock - 1))
            except Exception:  # noqa: BLE001 - that is what careless code does
                return "fallback"
            return "taken"

        def run(self) -> str:
            return self.take()

    assert operon.run(Takes(), id="r") == "taken"
    assert len(calls) == 2


def test_a_connection_killed_in_a_step_is_tried_again(postgres_operon):
    operon = postgres_operon
    calls: list[int] = []

    class Dies(Workflow):
        @step
        def write_one(self, session: Session) -> str:
            calls.append(1)
            insert_order(session)
            if len(calls) == 1:
                pid = session.scalar(text("SELECT pg_backend_pid()"))
                with operon.engine.connect() as other:
                    other.execute(text(f"SELECT pg_terminate_backend({pid})"))
            try:
                session.execute(text("SELECT 1"))
            except Exception:  # noqa: BLE001 - that is what careless code does
                return "fallback"
            return "written"

        def run(self) -> str:
            return self.write_one()

    assert operon.run(Dies(), id="r") == "written"
    assert len(calls) == 2
    assert count(operon) == 1
    assert attempts(operon, "r") == []


def test_sqlite_that_is_busy_is_tried_again_and_never_recorded(
    make_operon, sqlite_database
):
    engine = sqlite_database.engine()
    operon = make_operon(engine)
    create_shop(operon.engine, "book")
    event.listen(engine, "connect", _impatient)
    operon.run(place("book"))
    engine.dispose()
    blocker = sqlite_database.engine().connect().connection.driver_connection
    refused: list[str] = []

    def release(context: Any) -> None:
        refused.append(str(context.original_exception))
        if blocker.in_transaction:
            blocker.rollback()

    class Writes(Workflow):
        @step
        def write_one(self, session: Session) -> int:
            return insert_order(session).id

        def run(self) -> int:
            if not refused:
                operon.engine.pool.dispose()
            return self.write_one()

    event.listen(engine, "handle_error", release)
    blocker.execute("BEGIN IMMEDIATE")

    assert operon.run(Writes(), id="r") == 2
    assert refused
    assert all("locked" in each for each in refused)
    assert attempts(operon, "r") == []


def _impatient(connection: Any, _: object) -> None:
    connection.execute("PRAGMA busy_timeout = 1")


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_step_runs_at_the_level_it_asks_for(postgres_operon, level):
    class Asks(Workflow):
        @step(isolation=level)
        def ask_level(self, session: Session) -> str:
            return str(session.scalar(text("SHOW transaction_isolation")))

        @step
        def ask_default(self, session: Session) -> str:
            return str(session.scalar(text("SHOW transaction_isolation")))

        def run(self) -> list[str]:
            return [self.ask_level(), self.ask_default()]

    assert postgres_operon.run(Asks(), id="r") == [level.lower(), "serializable"]
    recorded = [each.isolation for each in postgres_operon.list_steps("r")]
    assert recorded == [level, "SERIALIZABLE"]


def test_a_base_exception_in_a_step_keeps_nothing_and_the_run_can_go_on(operon):
    calls: list[int] = []

    class Interrupted(Workflow):
        @step
        def write_one(self, session: Session) -> int:
            calls.append(1)
            found = insert_order(session).id
            if len(calls) == 1:
                raise SystemExit(3)
            return found

        def run(self) -> int:
            return self.write_one()

    with pytest.raises(SystemExit):
        operon.run(Interrupted(), id="r")
    assert count(operon) == 0
    assert names(operon, "r") == []
    await_empty_pool(operon)

    assert operon.run(Interrupted(), id="r") > 0
    assert (len(calls), count(operon)) == (2, 1)


def test_a_generator_or_another_thread_cannot_use_the_session_after_the_step(operon):
    kept: list[Session] = []

    class Leaks(Workflow):
        @step
        def leak(self, session: Session) -> None:
            kept.append(session)

        def run(self) -> None:
            self.leak()
            kept[0].add(Order(sku="book", quantity=1, run_id="leaked"))
            kept[0].commit()

    with pytest.raises(Exception):  # noqa: B017, PT011 - SQLAlchemy's or Operon's own
        operon.run(Leaks())

    assert count(operon) == 0


@pytest.mark.parametrize("kind", ["step", "transaction"])
def test_a_rollback_makes_no_later_step_be_executed_twice(
    make_operon, postgres_database, kind
):
    engine = create_engine(
        postgres_database.url, pool_size=1, connect_args={"prepare_threshold": 0}
    )
    operon = make_operon(engine)
    create_shop(engine, "book")
    executed: list[str] = []

    @transaction
    def order_at_once(session: Session) -> int:
        executed.append("transaction")
        return insert_order(session).id

    class OrderInStep(Workflow):
        @step
        def order(self, session: Session) -> int:
            executed.append("step")
            return insert_order(session).id

        def run(self) -> int:
            return self.order()

    def order() -> None:
        operon.run(OrderInStep() if kind == "step" else order_at_once())

    order()
    with Session(engine) as session:
        session.execute(text("SELECT 1"))
        session.rollback()  # psycopg drops what is prepared on the connection
    order()

    assert executed == [kind] * 2
