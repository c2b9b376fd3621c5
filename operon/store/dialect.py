"""Where PostgreSQL and SQLite differ: the one place that knows.

Everything else in `store` is written once, in SQLAlchemy's own terms, and asks the
`Backend` of its connection for the few expressions and manners that are not the
same. Nothing here knows what a step or an executor is.
"""

import random
import sqlite3
import time
from collections.abc import Generator
from collections.abc import Hashable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import suppress
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import Protocol
from typing import cast

from sqlalchemy import BigInteger
from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import Interval
from sqlalchemy import Table
from sqlalchemy import Text
from sqlalchemy import bindparam
from sqlalchemy import event
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import literal_column
from sqlalchemy import type_coerce
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.pool import ConnectionPoolEntry

from operon.clock import Clock
from operon.errors import ConfigurationError
from operon.models import UTCDateTime
from operon.store.fair_lock import FairLock

BEGIN_OPTION = "operon_begin"
"""Execution option of a connection: how SQLite begins, IMMEDIATE unless told."""


class Backend(Hashable, Protocol):
    """The manners of one database."""

    name: str
    own_isolation: IsolationLevel
    """The isolation level of Operon's own transactions."""

    def now(self, clock: Clock) -> ColumnElement[datetime]:
        """Return the present time as an expression; *clock* may override it."""
        ...

    def told(self, clock: Clock) -> datetime | None:
        """Return the time that statements have to be told; None: the database's."""
        ...

    def after(self, clock: Clock, delay: timedelta) -> ColumnElement[datetime]:
        """Return the time *delay* after the present one, as an expression."""
        ...

    def transaction_id(self) -> ColumnElement[int]:
        """Return the number of the current transaction, for provenance."""
        ...

    def snapshot(self) -> ColumnElement[Any]:
        """Return the snapshot of the current transaction, for provenance."""
        ...

    def lazy_commit(self) -> Sequence[ColumnElement[Any]]:
        """Return what RETURNING needs, so that COMMIT does not wait for the disk."""
        ...

    def step_isolation(self, level: str) -> IsolationLevel | None:
        """Return what to set on a step's connection; None: there is only one level."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Hold the right to write, where this process must take turns."""
        ...

    commit_suffix: str
    """What to add to the last statement, so that COMMIT is part of its message."""

    def committing(self, connection: Connection) -> AbstractContextManager[None]:
        """Execute the last statement of a transaction in the block.

        With `commit_suffix` added to it, the transaction has ended when the block
        ends; without, the caller's own COMMIT is still to come.
        """
        ...

    def read_only(self, connection: Connection) -> AbstractContextManager[None]:
        """Let the database refuse every write on *connection* within the block."""
        ...

    def in_transaction(self, connection: Connection) -> bool:
        """Tell whether the database still has the connection's transaction open."""
        ...

    def cut(self, connection: Connection) -> None:
        """Break the connection from another thread, without asking the server."""
        ...


class PostgreSQL:
    """PostgreSQL 13 and newer through psycopg 3."""

    name = "postgresql"
    commit_suffix = "; COMMIT"
    own_isolation: IsolationLevel = "READ COMMITTED"

    def told(self, clock: Clock) -> datetime | None:
        """Return the time of a clock that is turned, and of no other."""
        return clock.database_time()

    def now(self, clock: Clock) -> ColumnElement[datetime]:
        """Return the server's clock, so that executors need not agree on theirs."""
        turned = clock.database_time()
        if turned is not None:
            return literal(turned, UTCDateTime())
        return func.clock_timestamp(type_=UTCDateTime())

    def after(self, clock: Clock, delay: timedelta) -> ColumnElement[datetime]:
        """Return the server's clock and *delay*."""
        turned = clock.database_time()
        if turned is not None:
            return literal(turned + delay, UTCDateTime())
        return type_coerce(
            func.clock_timestamp() + literal(delay, Interval()), UTCDateTime()
        )

    def transaction_id(self) -> ColumnElement[int]:
        """Return the 64-bit transaction id."""
        return literal_column("pg_current_xact_id()::text::bigint", BigInteger)

    def snapshot(self) -> ColumnElement[Any]:
        """Return which transactions the current one sees."""
        return literal_column("pg_current_snapshot()::text", Text)

    def lazy_commit(self) -> Sequence[ColumnElement[Any]]:
        """Switch `synchronous_commit` off for this transaction, in its statement.

        It costs no round trip, and leaves nothing behind on a pooled connection.

        Source:
            PostgreSQL, "Asynchronous Commit".
        """
        return [func.set_config("synchronous_commit", "off", literal(value=True))]

    def step_isolation(self, level: str) -> IsolationLevel | None:
        """Return *level*: psycopg sends it with BEGIN, at no cost."""
        return cast("IsolationLevel", level)

    def writing(self) -> AbstractContextManager[None]:
        """Hold nothing: PostgreSQL's writers do not wait for each other here."""
        return nullcontext()

    @contextmanager
    def committing(self, connection: Connection) -> Generator[None, None, None]:
        """Send one simple query: the record and COMMIT leave in one write.

        Two messages could be torn apart by a process that is frozen between them,
        and the server would wait for the second with the fence's lock held, which
        none of its timeouts counts as idle. If the record is refused, the server
        skips COMMIT.

        Source:
            PostgreSQL, "Message Flow: Multiple Statements in a Simple Query".
        """
        from psycopg import ClientCursor  # noqa: PLC0415 - SQLite needs no psycopg

        driver = driver_of(connection)
        usual, driver.cursor_factory = driver.cursor_factory, ClientCursor
        try:
            with _rolled_back_on_error(driver):
                yield
        finally:
            driver.cursor_factory = usual

    @contextmanager
    def read_only(self, connection: Connection) -> Generator[None, None, None]:
        """Begin READ ONLY, which psycopg sends with BEGIN."""
        connection.execution_options(postgresql_readonly=True)
        yield

    def in_transaction(self, connection: Connection) -> bool:
        """Ask the driver, which reads it off every answer of the server."""
        idle = 0  # psycopg.pq.TransactionStatus.IDLE
        driver = driver_of(connection)
        if driver.closed and not driver.broken:  # by the user's code
            return False
        return bool(driver.info.transaction_status != idle)

    def cut(self, connection: Connection) -> None:
        """Shut the socket down, so that whoever waits on it wakes with an error."""
        import os  # noqa: PLC0415 - only here, on a path that is almost never taken
        import socket  # noqa: PLC0415 - as above

        with (
            suppress(Exception),  # it was lost meanwhile: nobody waits on it
            socket.socket(fileno=os.dup(driver_of(connection).fileno())) as twin,
        ):
            twin.shutdown(socket.SHUT_RDWR)


class SQLite:
    """SQLite 3.35 and newer, in WAL mode, with BEGIN IMMEDIATE."""

    name = "sqlite"
    commit_suffix = ""
    own_isolation: IsolationLevel = "SERIALIZABLE"

    def __init__(self) -> None:
        self.lock = FairLock()

    def told(self, clock: Clock) -> datetime:
        """Return this machine's clock: every process on the file shares it."""
        return clock.database_time() or clock.now()

    def now(self, clock: Clock) -> ColumnElement[datetime]:
        """Return this machine's clock."""
        return literal(self.told(clock), UTCDateTime())

    def after(self, clock: Clock, delay: timedelta) -> ColumnElement[datetime]:
        """Return this machine's clock and *delay*."""
        return literal(self.told(clock) + delay, UTCDateTime())

    def transaction_id(self) -> ColumnElement[int]:
        """Return a counter of commits that hold a checkpoint."""
        return literal_column(
            "(SELECT coalesce(max(rowid), 0) + 1 FROM operon_checkpoints)", BigInteger
        )

    def snapshot(self) -> ColumnElement[Any]:
        """Return NULL: writers are serial, so the counter tells it all."""
        return type_coerce(None, Text())

    def lazy_commit(self) -> Sequence[ColumnElement[Any]]:
        """Return nothing: every COMMIT of a connection waits as its pragma says."""
        return ()

    def step_isolation(self, level: str) -> IsolationLevel | None:
        """Return None: every transaction is serializable."""
        del level
        return None

    def writing(self) -> AbstractContextManager[None]:
        """Hold the process's turn to write."""
        return self.lock

    def committing(self, connection: Connection) -> AbstractContextManager[None]:
        """Send nothing together: there is no wire."""
        return _rolled_back_on_error(driver_of(connection))

    @contextmanager
    def read_only(self, connection: Connection) -> Generator[None, None, None]:
        """Begin without waiting for writers, and refuse to be one."""
        connection.execution_options(**{BEGIN_OPTION: "DEFERRED"})
        driver = driver_of(connection)
        driver.execute("PRAGMA query_only = 1")
        try:
            yield
        finally:
            driver.execute("PRAGMA query_only = 0")

    def in_transaction(self, connection: Connection) -> bool:
        """Ask the driver."""
        return bool(driver_of(connection).in_transaction)

    def cut(self, connection: Connection) -> None:
        """Do nothing: no COMMIT waits for another machine."""
        del connection


def driver_of(connection: Connection) -> Any:
    """Return the driver's own connection."""
    return connection.connection.dbapi_connection


@contextmanager
def _rolled_back_on_error(driver: Any) -> Generator[None, None, None]:
    """Roll *driver* back if the block raises.

    SQLAlchemy takes a transaction whose COMMIT was attempted for ended, and would
    give the connection back to its pool with the transaction open.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):  # a lost connection has rolled back by itself
            driver.rollback()
        raise


def backend_of(engine: Engine) -> Backend:
    """Return the manners of the database behind *engine*.

    Raises:
        ConfigurationError: Operon does not run on this database or driver.
    """
    driver = f"{engine.dialect.name}+{engine.dialect.driver}"
    if driver == "postgresql+psycopg":
        return PostgreSQL()
    if driver == "sqlite+pysqlite":
        return SQLite()
    raise ConfigurationError(
        f"the database driver {driver!r}",
        "is not supported",
        cure="use a postgresql+psycopg:// or sqlite:/// URL",
    )


def manage_sqlite(engine: Engine) -> None:
    """Make every transaction on *engine* begin with BEGIN IMMEDIATE, in WAL mode.

    A deferred transaction that reads and then writes is refused at once when
    somebody else wrote in between, whatever the busy timeout; one that begins as
    a writer waits for its turn. Reading only, Operon asks for a deferred one.

    Source:
        SQLAlchemy, "Serializable isolation / Savepoints / Transactional DDL" in
        the pysqlite dialect's documentation; SQLite, "Write-Ahead Logging".
    """
    if not event.contains(engine, "connect", _prepare_connection):
        event.listen(engine, "connect", _prepare_connection)
        event.listen(engine, "begin", _begin)


def _prepare_connection(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    raw = cast("sqlite3.Connection", connection)
    raw.isolation_level = None  # the driver shall not begin transactions by itself
    raw.execute("PRAGMA busy_timeout = 10000")
    _patiently(raw, "PRAGMA journal_mode = WAL")
    raw.execute("PRAGMA synchronous = FULL")


def _patiently(raw: sqlite3.Connection, statement: str) -> None:
    """Execute *statement*; changing the journal ignores the busy timeout."""
    give_up = time.monotonic() + 10
    while True:
        try:
            raw.execute(statement)
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - jitter, no secret
        else:
            return


def _begin(connection: Connection) -> None:
    manner = connection.get_execution_options().get(BEGIN_OPTION, "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {manner}")


def present(*, told: bool) -> ColumnElement[datetime]:
    """Return the present time in a statement that is made once and used again.

    Either the server's clock, or the parameter `now`, which `Backend.told` fills.
    """
    if told:
        return bindparam("now", type_=UTCDateTime())
    return func.clock_timestamp(type_=UTCDateTime())


def present_in(parameter: str) -> ColumnElement[datetime]:
    """Return the server's time and the duration that *parameter* holds, likewise."""
    later = func.clock_timestamp() + bindparam(parameter, type_=Interval())
    return type_coerce(later, UTCDateTime())


def insert_unless_there(backend: Backend, table: Table) -> Any:
    """Return an INSERT into *table* that does nothing where a unique key is taken.

    It never poisons the transaction, and can be given RETURNING.
    """
    dialect = postgresql if backend.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def insert_or_replace(
    backend: Backend, table: Table, values: dict[str, Any], *, key: Sequence[str]
) -> Any:
    """Return an INSERT of *values* that overwrites the row that has the same *key*."""
    dialect = postgresql if backend.name == "postgresql" else sqlite
    insertion = dialect.insert(table).values(values)
    rest = {name: value for name, value in values.items() if name not in key}
    return insertion.on_conflict_do_update(index_elements=list(key), set_=rest)
