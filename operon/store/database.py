"""The database a process works on: its transactions and the manners they keep.

Operon's own transactions are opened here and nowhere else, all of them at READ
COMMITTED; a step's transaction is the engine's (`engine/unit_of_work`), on the
connections that `Database.steps` hands out.
"""

from collections.abc import Callable
from collections.abc import Generator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import suppress

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import exc
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from operon.errors import ConfigurationError
from operon.errors import MisuseError
from operon.store.begin import BEGIN_OPTION
from operon.store.commits import CommitWatch
from operon.store.dialect import backend_of
from operon.store.dialect import driver_of
from operon.store.direct import Direct
from operon.store.kept import KeptConnections

Look = Callable[[Connection], None]
"""Looks into the transaction of a connection; raises if it must not commit."""


class Database:
    """An engine, and how Operon begins transactions on it.

    Attributes:
        engine: The application's engine.
        backend: What is different about this database.
        commits: Sees every COMMIT that is under way.
        steps: The same pool, for steps; listeners on it see steps only.
        look: Looks into a step's transaction before it commits; for tests.
    """

    is_bound = False
    """Whether everything is within one transaction, which somebody else rolls back."""

    def __init__(
        self,
        engine: Engine,
        *,
        commits: CommitWatch,
        manages_sqlite: bool = True,
        look: Look = lambda _: None,
    ) -> None:
        self.backend = backend_of(engine)
        self._kept = KeptConnections(engine, self.backend.isolate)
        self.commits = commits
        self.look = look
        self.engine = engine
        _refuse_unfit(engine)
        if engine.dialect.name == "postgresql" or manages_sqlite:
            self.backend.watch(engine)
        self.steps = engine.execution_options()
        self._own = engine.execution_options(isolation_level=self.backend.own_isolation)
        if engine.dialect.name == "postgresql":
            self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
            self._reading = self._single
        else:
            self._single = self._own
            self._reading = self._own.execution_options(**{BEGIN_OPTION: "DEFERRED"})

    @contextmanager
    def transaction(self) -> Generator[Connection, None, None]:
        """Open a transaction of Operon's own; it commits when the block ends."""
        with self.backend.writing(), self._own.connect() as connection:
            yield connection
            with self.commits.watched(driver_of(connection)):
                connection.commit()

    def step(self) -> AbstractContextManager[Connection]:
        """Open a connection for one attempt of a step."""
        return self.steps.connect()

    @contextmanager
    def single(self) -> Generator[Connection, None, None]:
        """Open a connection for one statement that is a transaction by itself.

        On PostgreSQL that spares the round trips of BEGIN and COMMIT. The statement
        runs at the server's default isolation, so it must be right at each.
        """
        with (
            self.backend.writing(),
            self._single.connect() as connection,
            self.commits.watched(driver_of(connection)),
        ):
            yield connection
            connection.commit()

    @contextmanager
    def direct(self, *, lazily: bool = False) -> Generator[Direct, None, None]:
        """Lend a way for one statement that is a transaction by itself.

        As `single`, for statements made once; *lazily*, SQLite's COMMIT does not
        wait for the disk, as PostgreSQL's does not if the statement says so.
        """
        with (
            self.backend.writing(),
            self._kept.one() as driver,
            self.commits.watched(driver),
        ):
            self.backend.pace(driver, lazily=lazily)
            yield Direct(driver, self.backend.dialect)

    def close(self) -> None:
        """Close what is kept beside the engine's pool."""
        self._kept.close()

    @contextmanager
    def reading(self) -> Generator[Connection, None, None]:
        """Open a connection for reading; on SQLite it waits for no writer.

        On PostgreSQL each statement sees what was committed before it, as in a
        transaction at READ COMMITTED, without the round trips of one.
        """
        with self._reading.connect() as connection:
            yield connection

    def ping(self) -> None:
        """Return if the database answers.

        Raises:
            SQLAlchemyError: It does not.
        """
        with self.reading() as connection:
            connection.execute(select(literal(value=True)))

    def make_durable(self) -> None:
        """Return once whatever this server acknowledged before cannot be lost.

        A synchronous commit of next to nothing, which locks no row: asynchronous
        commits that came before it are on disk, and on the standby, with it.
        """
        if self.backend.name != "postgresql":
            return
        with self.single() as connection:
            note = func.pg_logical_emit_message(literal(value=True), "operon", "")
            connection.execute(select(note))

    def hurry(self, connection: Connection) -> None:
        """Let the COMMIT of *connection*'s transaction wait for no disk or standby.

        Only for what is written again if a crash of the server loses it.
        """
        relaxed = self.backend.lazy_commit()
        if relaxed:
            connection.execute(select(*relaxed))

    def detached(self) -> "Detached":
        """Return a connection of its own, outside the pool."""
        return Detached(self._own.connect())

    def listening(self) -> "Detached":
        """Return one that is never in a transaction, so that notices reach it."""
        return Detached(self._single.connect())

    def joined(self, session: Session) -> Connection:
        """Return the connection of the caller's *session*, on this same database.

        Raises:
            MisuseError: The session works on another database, so what it commits
                could not commit together with Operon's rows.
        """
        connection = session.connection()
        theirs, ours = connection.engine.url, self.engine.url
        if theirs.set(drivername="") != ours.set(drivername=""):
            raise MisuseError(
                "session=",
                f"works on {theirs.render_as_string()!r}, Operon on "
                f"{ours.render_as_string()!r}",
                cure="pass a session that is bound to Operon's database",
            )
        return connection


class Detached:
    """A connection that the pool knows nothing of any more.

    Attributes:
        connection: Begins transactions at the level of Operon's own.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._driver = connection.connection.dbapi_connection
        connection.detach()

    def close(self) -> None:
        """Close it; SQLAlchemy forgets to when a detached connection is lost."""
        try:
            self.connection.close()
        except exc.SQLAlchemyError:
            with suppress(exc.SQLAlchemyError):
                self.connection.invalidate()
        if self._driver is not None:
            self._driver.close()


def _refuse_unfit(engine: Engine) -> None:
    if engine.dialect.name == "sqlite" and _is_in_memory(engine.url):
        raise ConfigurationError(
            "an SQLite database in memory",
            "forgets every run when the process ends",
            cure="give the database a file, such as sqlite:///shop.db",
        )
    # there is no public way to ask an engine for its configured isolation level
    default = engine.get_execution_options().get("isolation_level") or getattr(
        engine.dialect, "_on_connect_isolation_level", None
    )
    if default == "AUTOCOMMIT":
        raise ConfigurationError(
            "an engine with isolation_level='AUTOCOMMIT'",
            "cannot commit a step's rows together with its checkpoint",
            cure="create the engine without isolation_level",
        )


def _is_in_memory(url: URL) -> bool:
    """Tell whether SQLite keeps the database at *url* in memory only."""
    name = url.database or ":memory:"
    return name in {":memory:", "file::memory:"} or url.query.get("mode") == "memory"
