"""Everything that a database holds: read, kept aside, and put back as it was.

For tests that try something from the same beginning again and again. What is put back
are rows; tables stay as they are. Nobody else may use the database meanwhile.
"""

import json
import sqlite3
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from typing import Protocol
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Engine

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""By the name of each table its rows, as the values that the database tells."""

Counters = Mapping[str, int | None]
"""By the quoted name of each sequence its last value; None before its first."""


class Contents(Protocol):
    """What is in the database behind an engine."""

    def rows(self) -> Rows:
        """Return every committed row of every table."""
        ...

    def keep(self) -> None:
        """Keep all of it aside."""
        ...

    def put_back(self) -> None:
        """Make the rows those that were kept."""
        ...

    def counters(self) -> Counters:
        """Return how far the sequences have come, where a rollback leaves them so."""
        ...

    def set_back(self, counters: Counters) -> None:
        """Let the sequences go on from *counters*: nobody got what came after."""
        ...


def contents_of(engine: Engine) -> Contents:
    """Return what tells and keeps the contents of *engine*'s database."""
    kind = InPostgreSQL if engine.dialect.name == "postgresql" else InSQLite
    return kind(engine)


class InSQLite:
    """The contents of a file of SQLite's; a copy is kept in memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._path = str(engine.url.database)
        self._kept = sqlite3.connect(":memory:", check_same_thread=False)

    def rows(self) -> Rows:
        """Read table by table, in one transaction."""
        with closing(self._connect()) as raw:
            raw.row_factory = sqlite3.Row
            raw.execute("BEGIN")
            return {name: self._read(raw, name) for name in self._tables(raw)}

    def keep(self) -> None:
        """Copy page by page."""
        with closing(self._connect()) as raw:
            raw.backup(self._kept)

    def put_back(self) -> None:
        """Write every page of the copy."""
        with closing(self._connect()) as raw:
            self._kept.backup(raw)

    def counters(self) -> Counters:
        """Return nothing: a rollback takes them back."""
        return {}

    def set_back(self, counters: Counters) -> None:
        """Do nothing."""

    def _connect(self) -> sqlite3.Connection:
        raw = sqlite3.connect(self._path, 10.0, isolation_level=None)
        raw.execute("PRAGMA synchronous = OFF")  # only a machine's crash would tell
        return raw

    def _read(self, raw: sqlite3.Connection, name: str) -> list[dict[str, Any]]:
        found = raw.execute(f"SELECT * FROM {_quoted(name)}")  # noqa: S608 - a table's name cannot be a parameter
        return [dict(row) for row in found]

    def _tables(self, raw: sqlite3.Connection) -> list[str]:
        found = raw.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' "
            "AND substr(name, 1, 7) <> 'sqlite_' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        )
        return [row[0] for row in found]


@dataclass(frozen=True)
class _Table:
    """A table of PostgreSQL's.

    Attributes:
        quoted: How statements name it, with its schema.
        name: How it is told; without the schema, if that is the default one.
        columns: Those that can be written, quoted, as a list.
    """

    quoted: str
    name: str
    columns: str


class InPostgreSQL:
    """The contents of all schemas of a database of PostgreSQL's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._tables = self._found()
        self._kept: dict[_Table, bytes] = {}
        self._counters: Counters = {}

    def rows(self) -> Rows:
        """Read all tables in one statement, as JSON."""
        each = (
            f"SELECT {_literal(table.name)}, to_jsonb(t)::text FROM {table.quoted} t"  # noqa: S608 - a table's name cannot be a parameter
            for table in self._tables
        )
        rows: dict[str, list[Mapping[str, Any]]] = {
            table.name: [] for table in self._tables
        }
        with self._single.connect() as connection:
            for name, row in _driver(connection).execute(" UNION ALL ".join(each)):
                rows[name].append(json.loads(row, parse_float=Decimal))
        return rows

    def keep(self) -> None:
        """Copy table by table, and where the sequences are."""
        self._counters = self.counters()
        with self._single.connect() as connection:
            cursor = _driver(connection).cursor()
            copied = {table: _rows_of(table, cursor) for table in self._tables}
        self._kept = {table: rows for table, rows in copied.items() if rows}

    def put_back(self) -> None:
        """Empty every table in one statement, and refill them in another.

        A statement's foreign keys are checked at its end, so that tables may refer to
        each other as they like. COPY fills one table only: hence the temporary ones.
        """
        deletions = (f"DELETE FROM {table.quoted}" for table in self._tables)  # noqa: S608 - as above
        with self._engine.begin() as connection:
            cursor = _driver(connection).cursor()
            cursor.execute(_together(deletions))
            insertions: list[str] = []
            for number, (table, rows) in enumerate(self._kept.items()):
                kept = f"pg_temp.operon_kept_{number}"
                cursor.execute(
                    f"CREATE TEMPORARY TABLE operon_kept_{number} ON COMMIT DROP AS "  # noqa: S608 - as above
                    f"SELECT {table.columns} FROM {table.quoted} WITH NO DATA"
                )
                with cursor.copy(_copy(table, kept, "FROM STDIN")) as copy:
                    copy.write(rows)
                insertions.append(
                    f"INSERT INTO {table.quoted} ({table.columns}) "  # noqa: S608 - as above
                    f"OVERRIDING SYSTEM VALUE SELECT {table.columns} FROM {kept}"
                )
            cursor.execute(_together(insertions))
        self.set_back(self._counters)

    def counters(self) -> Counters:
        """Ask for every sequence of the database."""
        query = (
            "SELECT format('%I.%I', schemaname, sequencename), last_value "
            "FROM pg_sequences"
        )
        with self._single.connect() as connection:
            return dict(_driver(connection).execute(query).fetchall())

    def set_back(self, counters: Counters) -> None:
        """Set those that have gone on."""
        gone_on = {
            name: counters[name]
            for name, value in self.counters().items()
            if name in counters and counters[name] != value
        }
        with self._single.connect() as connection:
            for name, value in gone_on.items():
                if value is None:
                    command = f"ALTER SEQUENCE {name} RESTART"
                    _driver(connection).execute(command)
                else:
                    _driver(connection).execute("SELECT setval(%s, %s)", (name, value))

    def _found(self) -> list[_Table]:
        """Return the tables that hold rows: partitions, and not what they are of."""
        query = (
            "SELECT format('%I.%I', nspname, relname), "
            "CASE nspname WHEN current_schema() THEN '' ELSE nspname || '.' END "
            "|| relname, (SELECT string_agg(format('%I', attname), ', ' "
            "ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid "
            "AND attnum > 0 AND NOT attisdropped AND attgenerated = '') "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE relkind = 'r' AND relpersistence <> 't' "
            "AND nspname <> 'information_schema' AND left(nspname, 3) <> 'pg_' "
            "ORDER BY 2"
        )
        with self._single.connect() as connection:
            rows = _driver(connection).execute(query).fetchall()
        return [_Table(*row) for row in rows if row[2]]  # else it holds nothing


def _copy(table: _Table, name: str, where: str) -> str:
    """Return what copies the rows of *table* from or to a table of this *name*."""
    return f"COPY {name} ({table.columns}) {where} (FORMAT binary)"


def _rows_of(table: _Table, cursor: Any) -> bytes:
    """Return the rows of *table* as COPY tells them; nothing if there are none."""
    with cursor.copy(_copy(table, table.quoted, "TO STDOUT")) as copy:
        rows = b"".join(copy)
    return rows if cursor.rowcount else b""


def _together(statements: Iterable[str]) -> str:
    """Return one statement that does what *statements* do."""
    each = [f"s{number} AS ({text})" for number, text in enumerate(statements)]
    return f"WITH {', '.join(each)} SELECT 1" if each else "SELECT 1"


def _driver(connection: Connection) -> Any:
    """Return psycopg's connection: SQLAlchemy has no words for COPY."""
    return cast("Any", connection.connection.dbapi_connection)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
