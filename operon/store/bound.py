"""A database within one transaction of somebody else's, who rolls it back in the end.

Every transaction of Operon's, and of every step, is a savepoint on one connection. So
they are still all or nothing, and nobody else ever sees them. That is for tests: what
depends on real commits, such as two processes, is not there.

Source:
    SQLAlchemy, "Joining a Session into an External Transaction".
"""

import threading
from collections.abc import Generator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import text
from sqlalchemy.orm import Session

from operon.store.checked import CheckedDatabase
from operon.store.commits import CommitWatch
from operon.store.database import Look
from operon.store.dialect import Backend
from operon.store.dialect import PostgreSQL
from operon.store.dialect import SQLite
from operon.store.dialect import backend_of
from operon.store.dialect import refusing_writes
from operon.store.direct import Direct


class BoundDatabase(CheckedDatabase):
    """Operon's transactions, as savepoints in the transaction of *session*.

    Before each, what the session has not flushed yet is; after it, the session forgets
    what it has read. So either sees what the other has written.

    Attributes:
        connection: The session's.
    """

    is_bound = True

    def __init__(self, session: Session, *, commits: CommitWatch, look: Look) -> None:
        self.connection = session.connection()
        self.engine = self.connection.engine
        self.commits = commits
        self.backend = _bound(backend_of(self.engine))
        self.look = look
        self._session = session
        self._depth = 0

    @contextmanager
    def transaction(self) -> Generator[Connection, None, None]:
        """Lend the connection in a savepoint, which is kept if the block ends well."""
        with self.reading() as connection:
            yield connection
            self.look(connection)

    @contextmanager
    def _shared(self) -> Generator[None, None, None]:
        """Let the session and Operon see what the other has written."""
        if not self._depth:
            self._session.flush()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._session.expire_all()

    @contextmanager
    def reading(self) -> Generator[Connection, None, None]:
        """Lend it in a savepoint: an error must not end what is around."""
        with self.backend.writing(), self._shared(), self.connection.begin_nested():
            yield self.connection

    @contextmanager
    def step(self) -> Generator[Connection, None, None]:
        """Lend it in a savepoint; the step's session has one more within."""
        with self.reading() as connection:
            yield connection

    def close(self) -> None:
        """Keep everything open: it is not Operon's."""

    def make_durable(self) -> None:
        """Do nothing: nothing here is durable."""

    def hurry(self, connection: Connection) -> None:
        """Do nothing: there is no COMMIT."""


class _Within:
    """Manners within a transaction that has begun, and that another one ends."""

    commits_with_last = False
    begins_with_start = False
    dialect: Any

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect
        self._mutex = threading.RLock()

    def writing(self) -> AbstractContextManager[Any]:
        """Hold the connection: it is one for all threads."""
        return self._mutex

    def opening(
        self, driver: Any, level: str, *, read_only: bool, ahead: bool
    ) -> Direct:
        """Begin nothing: the level is that of the transaction around."""
        del level, read_only, ahead
        return Direct(driver, self.dialect)

    @contextmanager
    def committing(self, driver: Any) -> Generator[Direct, None, None]:
        """Lend a way for the last statement before a savepoint is released."""
        yield Direct(driver, self.dialect)

    def lazy_commit(self) -> list[ColumnElement[Any]]:
        """Return nothing: there is no COMMIT."""
        return []


class _BoundPostgreSQL(_Within, PostgreSQL):
    """PostgreSQL, within a transaction."""

    @contextmanager
    def reading_only(self, connection: Connection) -> Generator[None, None, None]:
        """Refuse writes up to a savepoint, with which the setting goes."""
        savepoint = connection.begin_nested()
        try:
            connection.execute(text("SET LOCAL transaction_read_only = on"))
            yield
        finally:
            savepoint.rollback()


class _BoundSQLite(_Within, SQLite):
    """SQLite, within a transaction."""

    @contextmanager
    def reading_only(self, connection: Connection) -> Generator[None, None, None]:
        """Refuse writes; how the transaction began is not Operon's to say."""
        with refusing_writes(connection):
            yield


def _bound(backend: Backend) -> Backend:
    kind = _BoundSQLite if backend.name == "sqlite" else _BoundPostgreSQL
    return kind(backend.dialect)
