"""The transaction is Operon's to end: every route a step could take is refused."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy import insert
from sqlalchemy import text
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

from operon import Workflow
from operon import step
from operon import transaction
from operon.errors import CommitInStepError
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.shop import Order
from tests.shop import create_shop
from tests.shop import place

Route = Callable[[Session], object]


def _with_session(session: Session) -> None:
    with session:
        pass


def _savepoint_then_commit(session: Session) -> None:
    with session.begin_nested():
        session.commit()


def _savepoint_then_root(session: Session) -> None:
    root = session.get_transaction()
    assert root is not None
    with session.begin_nested():
        root.commit()


def _nested_parent(session: Session) -> None:
    nested = session.begin_nested()
    assert nested.parent is not None
    nested.parent.commit()


def _driver(session: Session) -> Any:
    return session.connection().connection.driver_connection


def _said(statement: str) -> Route:
    return lambda session: session.execute(text(statement))


ROUTES: dict[str, Route] = {
    "session.commit": lambda s: s.commit(),
    "session.rollback": lambda s: s.rollback(),
    "session.close": lambda s: s.close(),
    "session.reset": lambda s: s.reset(),
    "session.invalidate": lambda s: s.invalidate(),
    "with session": _with_session,
    "commit in a savepoint": _savepoint_then_commit,
    "root transaction in a savepoint": _savepoint_then_root,
    "parent of a savepoint": _nested_parent,
    "session transaction commit": lambda s: s.get_transaction().commit(),
    "session transaction rollback": lambda s: s.get_transaction().rollback(),
    "session transaction close": lambda s: s.get_transaction().close(),
    "connection.commit": lambda s: s.connection().commit(),
    "connection.rollback": lambda s: s.connection().rollback(),
    "connection.close": lambda s: s.connection().close(),
    "bind.commit": lambda s: s.get_bind().commit(),
    "connection transaction commit": (
        lambda s: s.connection().get_transaction().commit()
    ),
    "connection transaction rollback": (
        lambda s: s.connection().get_transaction().rollback()
    ),
    "connection transaction close": lambda s: s.connection().get_transaction().close(),
    "text COMMIT": _said("COMMIT"),
    "lower case": _said("commit"),
    "with blanks": _said(" \n\t commit ;"),
    "behind a comment": _said("/* x */ COMMIT"),
    "behind comments": _said("/* a */ /* b */\n-- c\nCOMMIT"),
    "behind a line comment": _said("-- x\nCOMMIT"),
    "text END": _said("END"),
    "text ROLLBACK": _said("ROLLBACK"),
    "text ROLLBACK WORK": _said("ROLLBACK WORK"),
    "text ABORT": _said("ABORT"),
    "text BEGIN": _said("BEGIN"),
    "driver sql": lambda s: s.connection().exec_driver_sql("COMMIT"),
}

POSTGRESQL_ROUTES: dict[str, Route] = {
    "second statement": lambda s: s.connection().exec_driver_sql("SELECT 1; COMMIT"),
    "second line": lambda s: s.connection().exec_driver_sql("SELECT ';'\n;\ncommit"),
    "START TRANSACTION": _said("START  TRANSACTION"),
    "PREPARE TRANSACTION": _said("PREPARE TRANSACTION 'x'"),
    "COMMIT AND CHAIN": _said("COMMIT AND CHAIN"),
    "ROLLBACK AND CHAIN": _said("ROLLBACK AND CHAIN"),
    "nested comment": lambda s: s.connection().exec_driver_sql("/* /* */ */ COMMIT"),
    "escape string": lambda s: s.connection().exec_driver_sql(r"SELECT E'\''; COMMIT"),
    "dollar quote": lambda s: s.connection().exec_driver_sql("SELECT $$;$$; COMMIT"),
    "comment in a dollar quote": (
        lambda s: s.connection().exec_driver_sql("SELECT $$ /* $$; COMMIT; SELECT '*/'")
    ),
}


def attempt(
    operon, route: Route, *, swallowed: bool = False, run_id: str = "r"
) -> None:
    """Run a step that writes, takes *route*, and writes again if it survives."""

    class Ends(Workflow):
        @step
        def insert(self, session: Session) -> str:
            insert_order(session)
            try:
                route(session)
            except Exception:
                if not swallowed:
                    raise
            return "survived"

        def run(self) -> str:
            return self.insert()

    operon.run(Ends(), id=run_id)


def assert_refused(operon, route: Route, *, swallowed: bool) -> None:
    """Assert that *route* ends nothing, whatever the step makes of the refusal."""
    with pytest.raises(CommitInStepError) as first:
        attempt(operon, route, swallowed=swallowed)

    assert count(operon) == 0
    assert names(operon, "r") == ["insert"]
    await_empty_pool(operon)
    with pytest.raises(CommitInStepError) as again:
        attempt(operon, route, swallowed=swallowed)
    assert str(again.value) == str(first.value)
    assert operon.run(place("book")) > 0
    assert count(operon) == 1


@pytest.mark.parametrize("swallowed", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("route", ROUTES)
def test_no_route_ends_a_steps_transaction(operon, route, swallowed):
    assert_refused(operon, ROUTES[route], swallowed=swallowed)


@pytest.mark.parametrize("swallowed", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("route", POSTGRESQL_ROUTES)
def test_no_route_of_postgresql_ends_a_steps_transaction(
    make_operon, postgres_database, route, swallowed
):
    operon = make_operon(postgres_database.url)
    create_shop(operon.engine, "book")
    assert_refused(operon, POSTGRESQL_ROUTES[route], swallowed=swallowed)


@pytest.mark.parametrize(
    "route",
    [
        lambda s: _driver(s).rollback(),
        lambda s: s.connection().connection.rollback(),
        lambda s: _driver(s).execute("ROLLBACK"),
    ],
    ids=["driver", "pooled", "text"],
)
def test_a_rollback_by_the_driver_is_noticed_and_keeps_nothing(operon, route):
    assert_refused(operon, route, swallowed=True)


@pytest.mark.parametrize(
    "route",
    [
        lambda s: _driver(s).commit(),
        lambda s: s.connection().connection.commit(),
        lambda s: _driver(s).execute("COMMIT"),
    ],
    ids=["driver", "pooled", "text"],
)
def test_a_commit_by_the_driver_is_noticed_and_never_recorded_as_success(operon, route):
    """The rows are the driver's; nobody can take them back, but nobody is lied to."""
    with pytest.raises(CommitInStepError, match="driver"):
        attempt(operon, route)

    await_empty_pool(operon)
    assert operon.run(place("book")) > 0


@pytest.mark.parametrize(
    "route",
    [lambda s: s.connection().invalidate(), lambda s: _driver(s).close()],
    ids=["invalidated", "closed by the driver"],
)
def test_a_connection_the_step_breaks_keeps_nothing_and_the_pool_survives(
    make_operon, database, route
):
    operon = make_operon(database.url, database_patience=timedelta(milliseconds=300))
    create_shop(operon.engine, "book")

    with pytest.raises(Exception):  # noqa: B017, PT011 - which one is the database's affair
        attempt(operon, route)

    assert count(operon) == 0
    await_empty_pool(operon)
    assert operon.run(place("book")) > 0


@pytest.mark.parametrize("route", ["session.commit", "text COMMIT", "connection.close"])
def test_no_route_ends_a_transactions_transaction(operon, route):
    @transaction
    def ends(session: Session) -> None:
        insert_order(session)
        ROUTES[route](session)

    with pytest.raises(CommitInStepError):
        operon.run(ends(), id="r")

    assert count(operon) == 0
    assert operon.find_run("r") is None
    await_empty_pool(operon)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'COMMIT'",
        "SELECT 1 -- COMMIT",
        "SELECT 1 /* ; COMMIT */",
        "SELECT '; COMMIT'",
        'SELECT 1 AS "; COMMIT"',
        "SELECT count(*) FROM orders WHERE status = 'x'';COMMIT'",
        "UPDATE orders SET status = 'COMMIT; ROLLBACK'",
    ],
)
def test_words_that_only_look_like_transaction_control_pass(operon, statement):
    attempt(operon, _said(statement))

    assert count(operon) == 1


def test_a_savepoint_in_plain_text_passes(operon):
    def route(session: Session) -> None:
        session.execute(text("SAVEPOINT mine"))
        insert_order(session)
        session.execute(text("ROLLBACK TO SAVEPOINT mine"))
        session.execute(text("RELEASE SAVEPOINT mine"))

    attempt(operon, route)

    assert count(operon) == 1


def test_a_savepoint_keeps_its_rows(operon):
    def route(session: Session) -> None:
        with session.begin_nested():
            insert_order(session)

    attempt(operon, route)

    assert count(operon) == 2


@pytest.mark.parametrize("by", ["error", "rollback"])
def test_a_savepoint_that_is_rolled_back_loses_only_its_own_rows(operon, by):
    def route(session: Session) -> None:
        with session.begin_nested() as savepoint:
            insert_order(session)
            if by == "rollback":
                savepoint.rollback()
            else:
                raise LookupError

    attempt(operon, route, swallowed=True)

    assert count(operon) == 1


def test_savepoints_nest(operon):
    def route(session: Session) -> None:
        with session.begin_nested():
            insert_order(session)
            with suppress(LookupError), session.begin_nested():
                insert_order(session)
                raise LookupError
            with session.begin_nested():
                insert_order(session)

    attempt(operon, route)

    assert count(operon) == 3


def test_a_savepoint_of_the_connection_passes(operon):
    def route(session: Session) -> None:
        with session.connection().begin_nested() as savepoint:
            session.execute(text("UPDATE orders SET status = 'gone'"))
            savepoint.rollback()

    attempt(operon, route)

    assert count(operon, status="reserved") == 1


def test_an_integrity_error_handled_by_a_savepoint_leaves_the_step_alone(operon):
    def route(session: Session) -> None:
        taken = insert_order(session).id
        for _ in range(2):
            with pytest.raises(exc.IntegrityError), session.begin_nested():
                session.execute(
                    insert(Order).values(
                        id=taken, sku="book", quantity=1, run_id="r", status="twin"
                    )
                )
        insert_order(session)

    attempt(operon, route)

    assert count(operon) == 3
    assert count(operon, status="twin") == 0


def test_a_failed_flush_in_a_savepoint_leaves_the_step_alone(operon):
    def route(session: Session) -> None:
        with pytest.raises(exc.IntegrityError), session.begin_nested():
            insert_order(session, sku=None)  # type: ignore[arg-type]  # on purpose
        insert_order(session)

    attempt(operon, route)

    assert count(operon) == 2


@pytest.mark.parametrize("route", ["flush", "statement"])
def test_a_database_error_swallowed_without_a_savepoint_keeps_nothing(
    make_operon, postgres_database, route
):
    """PostgreSQL has aborted the transaction; there is nothing left to commit."""

    def fail(session: Session) -> None:
        if route == "flush":
            insert_order(session, sku=None)  # type: ignore[arg-type]  # on purpose
        session.execute(text("SELECT 1 / 0"))

    operon = make_operon(postgres_database.url)
    create_shop(operon.engine, "book")
    with pytest.raises(exc.SQLAlchemyError):
        attempt(operon, fail, swallowed=True)

    assert count(operon) == 0
    assert operon.get_run("r").status == "failed"
    await_empty_pool(operon)


def test_a_failed_flush_swallowed_without_a_savepoint_keeps_nothing(operon):
    def fail(session: Session) -> None:
        insert_order(session, sku=None)  # type: ignore[arg-type]  # on purpose

    with pytest.raises(exc.SQLAlchemyError):
        attempt(operon, fail, swallowed=True)

    assert count(operon) == 0
    await_empty_pool(operon)


def test_a_rollback_after_a_failed_flush_is_refused_too(operon):
    def fail(session: Session) -> None:
        with pytest.raises(exc.IntegrityError):
            insert_order(session, sku=None)  # type: ignore[arg-type]  # on purpose
        session.rollback()

    assert_refused(operon, fail, swallowed=True)


@pytest.fixture
def factory(database):
    """A sessionmaker of the application's own, on the test's database."""
    return sessionmaker(database.engine())


@pytest.mark.parametrize("late", [False, True], ids=["before Operon", "after Operon"])
def test_commit_events_surround_the_real_commit(make_operon, database, factory, late):
    said: list[tuple[str, int]] = []
    other = database.engine()

    def visible() -> int:
        with other.connect() as connection:
            found = connection.scalar(text("SELECT count(*) FROM orders"))
        return int(found or 0)

    def listen() -> None:
        @event.listens_for(factory, "before_commit")
        def before(session: Session) -> None:
            said.append(("before", visible()))
            session.add(insert_order(session))

        @event.listens_for(factory, "after_commit")
        def after(session: Session) -> None:
            del session
            said.append(("after", visible()))

    if not late:
        listen()
    operon = make_operon(factory)
    create_shop(operon.engine, "book")
    if late:
        listen()

    attempt(operon, lambda _: None)

    assert said == [("before", 0), ("after", 2)]


def test_an_error_in_before_commit_is_the_steps_error(make_operon, factory):
    @event.listens_for(factory, "before_commit")
    def refuse(session: Session) -> None:
        del session
        raise ValueError("not today")

    operon = make_operon(factory)
    create_shop(operon.engine, "book")
    event.remove(factory, "before_commit", refuse)
    event.listen(factory, "before_commit", refuse)

    with pytest.raises(ValueError, match="not today"):
        attempt(operon, lambda _: None)

    assert count(operon) == 0
    assert names(operon, "r") == ["insert"]
    await_empty_pool(operon)


def test_an_error_in_after_commit_cannot_undo_or_repeat_what_is_committed(
    make_operon, factory
):
    operon = make_operon(factory)
    create_shop(operon.engine, "book")

    @event.listens_for(factory, "after_commit")
    def fail(session: Session) -> None:
        del session
        raise ValueError("too late")

    attempt(operon, lambda _: None)

    assert count(operon) == 1
    assert operon.get_run("r").status == "succeeded"
    await_empty_pool(operon)


def test_a_commit_in_a_session_event_is_refused(make_operon, factory):
    @event.listens_for(factory, "after_flush")
    def commit(session: Session, _: object) -> None:
        connection: Connection = session.connection()
        connection.commit()

    operon = make_operon(factory)
    create_shop(operon.engine, "book")

    with pytest.raises(CommitInStepError):
        attempt(operon, lambda _: None)

    assert count(operon) == 0
    await_empty_pool(operon)
