"""Operon's tables in a database: upgrade, downgrade, verify, and keep them apart.

The migrations are Alembic's and have a version table of their own, so they never
meet the application's history. Every migration is one transaction under a lock. To
verify needs no Alembic, so a launch does not import it. This file knows the tables'
names and columns, and nothing of what Operon keeps in them.
"""

import sqlite3
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextlib import ExitStack
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any
from typing import Final
from typing import cast

from sqlalchemy import ColumnClause
from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import column
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import select
from sqlalchemy import table

from operon.errors import ConfigurationError
from operon.errors import SchemaError
from operon.models import Base
from operon.store.begin import BEGIN_OPTION

REVISIONS: Final = ("operon_0001", "operon_0002", "operon_0003", "operon_0004")
"""Every revision this code knows, the oldest first; one per file of `locations()`."""
HEAD: Final = REVISIONS[-1]
"""The revision this code needs."""
VERSION_TABLE: Final = "operon_alembic_version"
"""Where Alembic keeps the revision of Operon's tables."""

_PATIENCE = 60_000  # milliseconds that SQLite waits for another process's migration
_POSTGRESQL_LOCK = int.from_bytes(b"operon", "big")  # one advisory lock per database
_TABLES = frozenset(Base.metadata.tables)
_ALEMBIC = Lock()  # Alembic's context is one per process

_DANGLING = """
SELECT DISTINCT child.name
  FROM sqlite_master AS child
 CROSS JOIN pragma_foreign_key_list(child.name) AS reference
 CROSS JOIN pragma_foreign_key_check(child.name) AS broken
 WHERE child.type = 'table'
   AND reference."table" = ?
   AND reference."table" = broken.parent
"""


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the tables of *engine*'s database to *revision*.

    All migrations up to it are one transaction: a crash or an error leaves tables
    and version as they were, and the call can be repeated. Several processes may
    call at once; one migrates, the others wait and find nothing to do. Nothing is
    written, and no Alembic imported, when the tables already fit.

    Args:
        engine: Its role must own the tables, or be allowed to create them.
        revision: `head`, or one of `REVISIONS`.

    Raises:
        SchemaError: The database is ahead of this code, holds Operon's tables of
            another Alembic environment, or there is no such revision.

    Source:
        PostgreSQL, "Advisory Locks": transaction-level locks end with their
        transaction. SQLite, "Transactions": BEGIN IMMEDIATE takes the write lock.
    """
    if revision == "head" and _find_engine_problem(engine) is None:
        return
    _migrate(engine, "upgrade", revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables of *engine*'s database back to *revision*.

    What the revisions after it added is dropped, with its rows, in one transaction.

    Args:
        engine: Its role must own the tables.
        revision: One of `REVISIONS`, or `base` to drop all of Operon's tables.

    Raises:
        SchemaError: As `upgrade` does; or, on SQLite, rows of the application still
            refer to rows that would be gone (PostgreSQL itself refuses that).
    """
    _migrate(engine, "downgrade", revision)


def verify(database: Engine | Connection) -> None:
    """Make sure that the tables in *database* are those this code needs.

    Only reads: two statements as a rule, no DDL, no Alembic. A connection is left in
    the transaction it was in, or in none. Tables whose revision is not recorded
    (they belong to the application's own Alembic environment) are compared by
    table and column.

    Raises:
        SchemaError: Tables are missing, behind or ahead of this code.
    """
    if isinstance(database, Engine):
        problem = _find_engine_problem(database)
    elif database.in_transaction():
        problem = _find_problem(database)
    else:
        with database.begin():
            problem = _find_problem(database)
    if problem is not None:
        raise problem


def include_name(
    name: str | None, type_: str, parent_names: Mapping[Any, str | None]
) -> bool:
    """Tell the application's Alembic whether *name* is the application's.

    Pass it to `context.configure(include_name=…)` in the application's `env.py`;
    otherwise autogenerate proposes to drop Operon's tables.
    """
    del parent_names
    return type_ != "table" or (name not in _TABLES and name != VERSION_TABLE)


def locations() -> str:
    """Return the folder of Operon's revisions, for Alembic's `version_locations`.

    An application that lists it there migrates Operon's tables, the branch
    `operon`, in its own environment (`alembic upgrade heads`) instead of by
    `operon migrate`.
    """
    return str(_get_scripts() / "versions")


@contextmanager
def exclusive(engine: Engine) -> Generator[Connection, None, None]:
    """Yield a connection in the one transaction that may migrate *engine*'s database.

    It commits at the end, or rolls back on an error, DDL included. Until then any
    other caller, in whatever process, waits; on SQLite every other writer does.

    Raises:
        ConfigurationError: The database is neither PostgreSQL nor SQLite.
    """
    begin = _TRANSACTIONS.get(engine.dialect.name)
    if begin is None:
        raise ConfigurationError(
            "the database URL",
            f"names {engine.dialect.name!r}, where Operon has no tables",
            cure="use PostgreSQL or SQLite",
        )
    with _connect(engine) as connection, begin(connection):
        yield connection


@contextmanager
def _connect(engine: Engine) -> Generator[Connection, None, None]:
    """Yield a connection that waits while another process migrates SQLite's file."""
    with engine.connect() as connection, ExitStack() as stack:
        if engine.dialect.name == "sqlite":
            raw = _get_raw(connection)
            stack.enter_context(_pragma(raw, "busy_timeout", _PATIENCE))
        yield connection


def _get_raw(connection: Connection) -> sqlite3.Connection:
    """Return the driver's own connection, which no listener of the engine sees."""
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)


@contextmanager
def _postgresql_transaction(connection: Connection) -> Generator[None, None, None]:
    """Hold the advisory lock; what is read after the wait must be what holds now."""
    connection.execution_options(isolation_level="READ COMMITTED")
    with connection.begin():
        connection.execute(select(func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
        yield


@contextmanager
def _sqlite_transaction(connection: Connection) -> Generator[None, None, None]:
    """Hold the write lock from before the first read, whoever manages BEGIN.

    Foreign keys rest meanwhile: rebuilding a table, SQLite's way to alter it, would
    delete the rows that refer to it. They are checked before the commit instead.
    """
    raw = _get_raw(connection)
    with (
        _sql_transactions(raw),
        _pragma(raw, "foreign_keys", 0) as enforced,
        connection.begin(),
    ):
        if raw.in_transaction:  # a listener's BEGIN, perhaps not an immediate one
            raw.execute("ROLLBACK")
        raw.execute("BEGIN IMMEDIATE")
        yield
        if enforced:
            _refuse_dangling(raw)


@contextmanager
def _sql_transactions(raw: Any) -> Generator[None, None, None]:
    """Let SQL alone begin and end *raw*'s transactions, whatever its `autocommit`."""
    mode = getattr(raw, "autocommit", None)  # Python 3.12 and later have it
    if mode is None:
        yield
        return
    raw.autocommit = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL, the only mode of 3.11
    raw.rollback()  # the transaction that `autocommit=False` always holds
    try:
        yield
    finally:
        raw.autocommit = mode


@contextmanager
def _pragma(
    raw: sqlite3.Connection, name: str, value: int
) -> Generator[int, None, None]:
    """Set a PRAGMA of *raw* for a while, and yield what it was before."""
    before: int = raw.execute(f"PRAGMA {name}").fetchone()[0]
    raw.execute(f"PRAGMA {name} = {value}").fetchall()
    try:
        yield before
    finally:
        raw.execute(f"PRAGMA {name} = {before}").fetchall()


def _refuse_dangling(raw: sqlite3.Connection) -> None:
    """Refuse to commit while the application's rows refer to rows that are gone."""
    names = {name for parent in _TABLES for (name,) in raw.execute(_DANGLING, [parent])}
    if names:
        raise SchemaError(
            f"rows of {', '.join(sorted(names))} refer to Operon's rows that this "
            "migration removes",
            cure="delete them, or drop their foreign keys, first",
        )


_TRANSACTIONS: Mapping[str, Callable[[Connection], AbstractContextManager[None]]] = {
    "postgresql": _postgresql_transaction,
    "sqlite": _sqlite_transaction,
}


def _migrate(engine: Engine, command: str, revision: str) -> None:
    """Run Alembic's *command* on *engine*'s database, under the lock."""
    with _ALEMBIC, exclusive(engine) as connection:
        _refuse_foreign(connection)
        _run_alembic(connection, command, revision)


def _run_alembic(connection: Connection, command: str, revision: str) -> None:
    """Run Alembic's *command* in *connection*'s transaction."""
    from alembic import command as commands  # noqa: PLC0415 - a launch must not import it
    from alembic.config import Config  # noqa: PLC0415 - a launch must not import it
    from alembic.util import CommandError  # noqa: PLC0415 - a launch must not import it

    config = Config()
    config.set_main_option("script_location", str(_get_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        getattr(commands, command)(config, revision)
    except CommandError as error:
        raise SchemaError(
            f"{command} to {revision!r} cannot be done: {error}",
            cure=f"the revisions are base, {', '.join(REVISIONS)}",
        ) from error


def _get_scripts() -> Path:
    """Return the folder that holds `env.py`."""
    spec = find_spec("operon.migrations")
    folders = [] if spec is None else spec.submodule_search_locations or []
    sources = Path(__file__).parents[1] / "migrations"  # imported from a checkout
    for folder in (*map(Path, folders), sources):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigurationError(
        "the installation of operon",
        "lacks operon.migrations",
        cure="install the package instead of importing it from its sources",
    )


def _find_engine_problem(engine: Engine) -> SchemaError | None:
    """Return what is the matter with the tables in *engine*'s database, if anything."""
    reading = engine.execution_options(**{BEGIN_OPTION: "DEFERRED"})
    with _connect(reading) as connection:  # it waits for no writer, its caller least
        return _find_problem(connection)


def _find_problem(connection: Connection) -> SchemaError | None:
    """Return what is the matter with the tables that *connection* sees, if anything."""
    recorded = _read_revisions(connection)
    if not recorded:
        return _compare(connection)
    if not recorded.issubset(REVISIONS):
        return _ahead(recorded)
    if HEAD in recorded:
        return None
    return SchemaError(
        f"Operon's tables are at revision {min(recorded)}, this code needs {HEAD}",
        cure="run `operon migrate`",
    )


def _refuse_foreign(connection: Connection) -> None:
    """Refuse to migrate tables that are newer than this code, or not recorded."""
    recorded = _read_revisions(connection)
    if not recorded.issubset(REVISIONS):
        raise _ahead(recorded)
    if not recorded and _read_columns(connection):
        raise SchemaError(
            f"Operon's tables exist, but {VERSION_TABLE} does not say their revision",
            cure="upgrade them in the Alembic environment that made them, or record "
            "their revision with `alembic stamp` in Operon's",
        )


def _ahead(recorded: frozenset[str]) -> SchemaError:
    """Say that the database has been migrated by a newer Operon."""
    unknown = ", ".join(sorted(recorded.difference(REVISIONS)))
    return SchemaError(
        f"Operon's tables are at revision {unknown}, this code knows none after {HEAD}",
        cure="this code is older than the database; upgrade operon",
    )


def _compare(connection: Connection) -> SchemaError | None:
    """Compare tables of no recorded revision with the mappings, by name and column."""
    found = _read_columns(connection)
    missing = [
        f"{mapped.name}.{attribute.name}" if mapped.name in found else mapped.name
        for mapped in Base.metadata.sorted_tables
        for attribute in mapped.columns
        if attribute.name not in found.get(mapped.name, ())
    ]
    if not missing:
        return None
    names = ", ".join(dict.fromkeys(missing))
    return SchemaError(
        f"the database lacks Operon's {names}", cure="run `operon migrate`"
    )


def _read_revisions(connection: Connection) -> frozenset[str]:
    """Return the revisions recorded for Operon's tables: one, or none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return frozenset()
    version: ColumnClause[str] = column("version_num")
    rows = connection.scalars(select(version).select_from(table(VERSION_TABLE)))
    return frozenset(rows)


def _read_columns(connection: Connection) -> dict[str, set[str]]:
    """Return the columns of those of Operon's tables that exist, by table."""
    found = inspect(connection).get_multi_columns(filter_names=sorted(_TABLES))
    return {
        name: {attribute["name"] for attribute in columns}
        for (_, name), columns in found.items()
    }
