"""Where PostgreSQL and SQLite differ: the one place that knows.

Everything else in `store` is written once, in SQLAlchemy's own terms, and asks the
`Backend` of its connection for the few expressions and manners that are not the
same. Nothing here knows what a step or an executor is.
"""

from collections.abc import Collection
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

from sqlalchemy import BigInteger
from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Dialect
from sqlalchemy import Engine
from sqlalchemy import Interval
from sqlalchemy import Text
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import literal_column
from sqlalchemy import type_coerce
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import IsolationLevel

from operon.clock import Clock
from operon.errors import ConfigurationError
from operon.models import UTCDateTime
from operon.store.begin import BEGIN_OPTION
from operon.store.begin import manage_sqlite
from operon.store.direct import Direct
from operon.store.direct import Statement
from operon.store.fair_lock import FairLock
from operon.store.present import told_or_asked


class Backend(Hashable, Protocol):
    """The manners of one database."""

    name: str
    dialect: Dialect
    own_isolation: IsolationLevel
    """The isolation level of Operon's own transactions."""

    def watch(self, engine: Engine) -> None:
        """Listen, once, to what Operon has to know of *engine*'s connections."""
        ...

    def now(self, clock: Clock) -> ColumnElement[datetime]:
        """Return the present time as an expression; *clock* may override it.

        If it does, that is the parameter `now`. A statement that is made once and
        executed later has to be given `times` anew.
        """
        ...

    def statement(self, clause: Any, names: Collection[str]) -> Statement:
        """Return *clause*, whose executions are given *names*, for `Direct`."""
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

    begins_with_start: bool
    """Whether a run's row and the BEGIN of its first step can leave together."""

    def opening(
        self, driver: Any, level: str, *, read_only: bool, ahead: bool
    ) -> Direct:
        """Return a way to begin a step's transaction, with a statement or without.

        SQLAlchemy takes it for begun. If *ahead*, the statement is a transaction by
        itself, which comes first.
        """
        ...

    def reading_only(self, connection: Connection) -> AbstractContextManager[None]:
        """Let *connection* begin as a reader within the block."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Hold the right to write, where this process must take turns."""
        ...

    commits_with_last: bool
    """Whether COMMIT leaves together with the last statement of a transaction."""

    def committing(self, driver: Any) -> AbstractContextManager[Direct]:
        """Lend a way for the last statement; roll back if the block raises.

        If `commits_with_last`, it has ended when the statement has been executed;
        else the caller's own COMMIT is still to come.
        """
        ...

    def in_transaction(self, connection: Connection) -> bool:
        """Tell whether the database still has the connection's transaction open."""
        ...

    def cut(self, driver: Any) -> None:
        """Break a connection from another thread, without asking the server."""
        ...

    def isolate(self, driver: Any) -> None:
        """Make each statement on *driver* a transaction by itself."""
        ...

    def pace(self, driver: Any, *, lazily: bool) -> None:
        """Let commits on *driver* wait for the disk, or not if *lazily*."""
        ...


class PostgreSQL:
    """PostgreSQL 13 and newer through psycopg 3."""

    name = "postgresql"
    commits_with_last = True
    begins_with_start = True
    own_isolation: IsolationLevel = "READ COMMITTED"

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def watch(self, engine: Engine) -> None:
        """Notice rollbacks: psycopg forgets what was prepared."""
        from operon.store.exchange import doubt_after_rollback  # noqa: PLC0415 - needs psycopg

        doubt_after_rollback(engine)

    def statement(self, clause: Any, names: Collection[str]) -> Statement:
        """Make it as psycopg wants it."""
        return Statement(clause, self.dialect, names)

    def told(self, clock: Clock) -> datetime | None:
        """Return the time of a clock that is turned, and of no other."""
        return clock.database_time()

    def now(self, clock: Clock) -> ColumnElement[datetime]:
        """Return the server's clock, so that executors need not agree on theirs."""
        return told_or_asked(self.told(clock))

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

    def opening(
        self, driver: Any, level: str, *, read_only: bool, ahead: bool
    ) -> Direct:
        """Send BEGIN before psycopg would: it need not be told the level first."""
        from operon.store import exchange  # noqa: PLC0415 - needs psycopg

        kind = exchange.Ahead if ahead else exchange.Opening
        return kind(driver, self.dialect, level, read_only=read_only)

    def reading_only(self, connection: Connection) -> AbstractContextManager[None]:
        """Do nothing: BEGIN says it."""
        del connection
        return nullcontext()

    def writing(self) -> AbstractContextManager[None]:
        """Hold nothing: PostgreSQL's writers do not wait for each other here."""
        return nullcontext()

    @contextmanager
    def committing(self, driver: Any) -> Generator[Direct, None, None]:
        """Send the last statement and COMMIT in one write.

        If the statement is refused, the server skips COMMIT.
        """
        from operon.store.exchange import Closing  # noqa: PLC0415 - needs psycopg

        with _rolled_back_on_error(driver):
            yield Closing(driver, self.dialect)

    def in_transaction(self, connection: Connection) -> bool:
        """Ask the driver, which reads it off every answer of the server."""
        idle = 0  # psycopg.pq.TransactionStatus.IDLE
        driver = driver_of(connection)
        if driver.closed and not driver.broken:  # by the user's code
            return False
        return bool(driver.info.transaction_status != idle)

    def cut(self, driver: Any) -> None:
        """Shut the socket down, so that whoever waits on it wakes with an error."""
        import os  # noqa: PLC0415 - only here, on a path that is almost never taken
        import socket  # noqa: PLC0415 - as above

        with (
            suppress(Exception),  # it was lost meanwhile: nobody waits on it
            socket.socket(fileno=os.dup(driver.fileno())) as twin,
        ):
            twin.shutdown(socket.SHUT_RDWR)

    def isolate(self, driver: Any) -> None:
        """Let the driver begin nothing."""
        driver.autocommit = True

    def pace(self, driver: Any, *, lazily: bool) -> None:
        """Do nothing: the statement says it by `lazy_commit`, at no cost."""


class SQLite:
    """SQLite 3.35 and newer, in WAL mode, with BEGIN IMMEDIATE."""

    name = "sqlite"
    commits_with_last = False
    begins_with_start = False
    own_isolation: IsolationLevel = "SERIALIZABLE"

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.lock = FairLock()

    def watch(self, engine: Engine) -> None:
        """Begin transactions as writers."""
        manage_sqlite(engine)

    def statement(self, clause: Any, names: Collection[str]) -> Statement:
        """Make it with named parameters, which need no order."""
        return Statement(clause, sqlite.dialect(paramstyle="named"), names)

    def told(self, clock: Clock) -> datetime:
        """Return this machine's clock: every process on the file shares it."""
        return clock.database_time() or clock.now()

    def now(self, clock: Clock) -> ColumnElement[datetime]:
        """Return this machine's clock."""
        return told_or_asked(self.told(clock))

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

    def opening(
        self, driver: Any, level: str, *, read_only: bool, ahead: bool
    ) -> Direct:
        """Begin nothing: SQLAlchemy has; every level is serializable."""
        del level, read_only, ahead
        return Direct(driver, self.dialect)

    def writing(self) -> AbstractContextManager[None]:
        """Hold the process's turn to write."""
        return self.lock

    @contextmanager
    def committing(self, driver: Any) -> Generator[Direct, None, None]:
        """Send nothing together: there is no wire."""
        with _rolled_back_on_error(driver):
            yield Direct(driver, self.dialect)

    @contextmanager
    def reading_only(self, connection: Connection) -> Generator[None, None, None]:
        """Begin without waiting for writers, and refuse to be one."""
        connection.execution_options(**{BEGIN_OPTION: "DEFERRED"})
        with refusing_writes(connection):
            yield

    def in_transaction(self, connection: Connection) -> bool:
        """Ask the driver."""
        return bool(driver_of(connection).in_transaction)

    def cut(self, driver: Any) -> None:
        """Do nothing: no COMMIT waits for another machine."""

    def isolate(self, driver: Any) -> None:
        """Let the driver begin nothing."""
        driver.isolation_level = None

    def pace(self, driver: Any, *, lazily: bool) -> None:
        """Sync at once, or leave that to the next commit that does.

        Source:
            SQLite, "PRAGMA synchronous": NORMAL in WAL mode loses no order.
        """
        driver.execute(f"PRAGMA synchronous = {'NORMAL' if lazily else 'FULL'}")


@contextmanager
def refusing_writes(connection: Connection) -> Generator[None, None, None]:
    """Let SQLite refuse what writes by *connection* within the block."""
    driver = driver_of(connection)
    driver.execute("PRAGMA query_only = 1")
    try:
        yield
    finally:
        driver.execute("PRAGMA query_only = 0")


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
        return PostgreSQL(engine.dialect)
    if driver == "sqlite+pysqlite":
        return SQLite(engine.dialect)
    raise ConfigurationError(
        f"the database driver {driver!r}",
        "is not supported",
        cure="use a postgresql+psycopg:// or sqlite:/// URL",
    )


def times(backend: Backend, clock: Clock) -> dict[str, Any]:
    """Return the parameter by which statements made once are told the time, if any."""
    now = backend.told(clock)
    return {} if now is None else {"now": now}
