"""Notices between processes: something may have happened; look.

They only make a look come sooner: none is ever needed, so none is ever sent again.
They are sent after the commit they tell of and in a transaction of their own,
because PostgreSQL lets only one transaction that notifies commit at a time.

Source:
    PostgreSQL, "NOTIFY"; psycopg, "Asynchronous notifications".
"""

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import text

from operon.store.dialect import Backend
from operon.store.dialect import driver_of

_CHANNEL = "operon"
_LONGEST = 7_500  # bytes; PostgreSQL takes less than 8000


@dataclass(frozen=True)
class Notice:
    """What one process tells the others."""

    sender: str
    """The executor that tells."""
    on: tuple[str, ...]
    """Addresses and runs at which something happened; empty: look everywhere."""


def can_be_sent(backend: Backend) -> bool:
    """Tell whether processes on this database can tell each other anything."""
    return backend.name == "postgresql"


def send(
    connection: Connection, backend: Backend, sender: str, on: Collection[str]
) -> None:
    """Tell every process that listens; on a connection that commits by itself."""
    payload = json.dumps([sender, *on])
    if len(payload.encode()) > _LONGEST:
        payload = json.dumps([sender])
    notify = func.pg_notify(_CHANNEL, payload)
    connection.execute(select(*backend.lazy_commit(), notify))


def listen(connection: Connection) -> None:
    """Begin to listen on *connection*, which is not used for anything else."""
    connection.execute(text(f"LISTEN {_CHANNEL}"))


def hear(connection: Connection, *, timeout: float) -> list[Notice]:
    """Return what was told, as soon as anything was, or nothing after *timeout* s.

    Raises:
        SQLAlchemyError, psycopg.Error: The connection is lost.
    """
    told = driver_of(connection).notifies(timeout=timeout, stop_after=1)
    return [_parsed(each.payload) for each in told]


def _parsed(payload: str) -> Notice:
    sender, *on = json.loads(payload)
    return Notice(sender, tuple(on))
