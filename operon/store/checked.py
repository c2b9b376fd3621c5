"""A database where somebody looks into every transaction before it commits.

For tests. Each statement that elsewhere is a transaction by itself gets one around it,
so there are as many COMMITs as elsewhere, and something to look into.
"""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy import Text
from sqlalchemy import cast
from sqlalchemy import func
from sqlalchemy import select

from operon.store.database import Database
from operon.store.dialect import driver_of
from operon.store.direct import Direct


class CheckedDatabase(Database):
    """An engine's database, each of whose transactions is looked into."""

    @contextmanager
    def transaction(self) -> Generator[Connection, None, None]:
        """Open a transaction, and look into it before it commits.

        One that has written nothing is rolled back: its COMMIT would change nothing.
        """
        with self.backend.writing(), self._own.connect() as connection:
            before = _mark(connection)
            yield connection
            self.look(connection)
            if _mark(connection) != before:
                with self.commits.watched(driver_of(connection)):
                    connection.commit()

    @contextmanager
    def single(self) -> Generator[Connection, None, None]:
        """Open a transaction, as for more than one statement."""
        with self.transaction() as connection:
            yield connection

    @contextmanager
    def direct(self, *, lazily: bool = False) -> Generator[Direct, None, None]:
        """Lend the driver's connection, in such a transaction."""
        del lazily
        with self.transaction() as connection:
            if not connection.in_transaction():
                connection.begin()  # the driver alone would not tell SQLAlchemy
            yield Direct(driver_of(connection), self.backend.dialect)


def _mark(connection: Connection) -> object:
    """Return what is another once the transaction has written anything."""
    if connection.dialect.name == "sqlite":
        return driver_of(connection).total_changes
    number = func.pg_current_xact_id_if_assigned()
    return connection.scalar(select(cast(number, Text)))
