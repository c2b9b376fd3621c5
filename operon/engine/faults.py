"""What a database error means for the transaction in which it was raised.

The verdicts follow SQLSTATE on PostgreSQL and the extended result code on SQLite,
and never the text of a message, but for the one thing SQLite says nowhere else.

Source:
    PostgreSQL, "PostgreSQL Error Codes"; SQLite, "Result and Error Codes".
"""

import sqlite3
from enum import Enum

from sqlalchemy import exc

from operon.models import Attempt
from operon.models import Checkpoint
from operon.models import StreamItem
from operon.models import WebRequest
from operon.models import WorkflowRun

_SQLITE_BUSY = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"})
_SQLITE_AWAY = frozenset({"SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"})
_FENCED_TABLES = (Checkpoint.__tablename__, Attempt.__tablename__)
_OWN_TABLES = (
    WorkflowRun.__tablename__,
    WebRequest.__tablename__,
    *_FENCED_TABLES,
)
_OFFSETS = f"pk_{StreamItem.__tablename__}"  # two wrote at one offset: try again


class Fault(Enum):
    """What is known after an error."""

    USER = "the code's own error"
    CONFLICT = "rolled back in favour of another transaction"
    BUSY = "rolled back after waiting for a lock"
    AWAY = "rolled back or never begun: the database is away or has no room"
    LOST = "the connection broke; what was sent last may have happened"
    FENCED = "refused: the run is not held under this claim"
    TAKEN = "refused: the position, the run's id or the key is recorded already"
    ABORTED = "refused because of an earlier error in the same transaction"

    @property
    def is_transient(self) -> bool:
        """Whether the same work may succeed when it is tried again."""
        return self in {Fault.CONFLICT, Fault.BUSY, Fault.AWAY, Fault.LOST}


_STATES = {
    **dict.fromkeys(("40003", "57P01", "57P02", "57P03", "25P03"), Fault.LOST),
    **dict.fromkeys(("40001", "40P01"), Fault.CONFLICT),
    **dict.fromkeys(("55P03", "57014"), Fault.BUSY),
    **dict.fromkeys(("53000", "53100", "53200", "53300", "53400"), Fault.AWAY),
    "25006": Fault.AWAY,
    "26000": Fault.CONFLICT,  # a prepared statement was dropped by DISCARD
    "25P02": Fault.ABORTED,
}
"""What an SQLSTATE means; class 08 and constraints aside."""


def classify(error: BaseException) -> Fault:
    """Tell what *error* means, looking through SQLAlchemy's wrapping."""
    match error:
        case exc.PendingRollbackError():
            return Fault.ABORTED
        case exc.TimeoutError():  # the pool has no connection to give
            return Fault.AWAY
        case exc.DBAPIError(connection_invalidated=True):
            return Fault.LOST
        case exc.DBAPIError(orig=BaseException() as origin):
            return _classify_driver(origin)
        case _:
            return _classify_driver(error)


def _classify_driver(error: BaseException) -> Fault:
    if isinstance(error, sqlite3.Error):
        return _classify_sqlite(error)
    if hasattr(error, "sqlstate") and hasattr(error, "diag"):
        return _classify_postgresql(error)
    return Fault.USER


def sqlstate_of(error: BaseException) -> str | None:
    """Return the database's own code for *error*, if it came from there."""
    origin = getattr(error, "orig", None) or error
    return getattr(origin, "sqlstate", None) or getattr(
        origin, "sqlite_errorname", None
    )


def _classify_postgresql(error: BaseException) -> Fault:
    import psycopg  # noqa: PLC0415 - loaded already by whoever raised the error

    state: str | None = getattr(error, "sqlstate", None)
    if state is None:
        broken = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return Fault.LOST if broken else Fault.USER
    if state.startswith("08"):
        return Fault.LOST
    constraint = _classify_constraint(state, getattr(error, "diag", None))
    return _STATES.get(state, constraint)


def _classify_constraint(state: str, diag: object) -> Fault:
    table = getattr(diag, "table_name", None)
    constraint = getattr(diag, "constraint_name", None)
    if state == "23502" and table in _FENCED_TABLES:
        column = getattr(diag, "column_name", None)
        return Fault.FENCED if column == "epoch" else Fault.USER
    if state == "23505" and constraint in {f"pk_{table}" for table in _OWN_TABLES}:
        return Fault.TAKEN
    if state == "23505" and constraint == _OFFSETS:
        return Fault.CONFLICT
    return Fault.USER


def _classify_sqlite(error: sqlite3.Error) -> Fault:
    name: str = getattr(error, "sqlite_errorname", "") or ""
    text = str(error)
    if any(name.startswith(prefix) for prefix in _SQLITE_BUSY):
        return Fault.BUSY
    if any(name.startswith(prefix) for prefix in _SQLITE_AWAY):
        return Fault.AWAY
    # SQLite names the columns of a violated constraint nowhere but in the message
    if name == "SQLITE_CONSTRAINT_NOTNULL":
        fences = tuple(f"{table}.epoch" for table in _FENCED_TABLES)
        return Fault.FENCED if text.endswith(fences) else Fault.USER
    if name == "SQLITE_CONSTRAINT_PRIMARYKEY":
        ours = any(f": {table}." in text for table in _OWN_TABLES)
        return Fault.TAKEN if ours else Fault.USER
    return Fault.USER
