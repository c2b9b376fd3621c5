"""How transactions begin on SQLite: as writers, in WAL mode, whoever asks."""

import random
import sqlite3
import time
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

BEGIN_OPTION = "operon_begin"
"""Execution option of a connection: how SQLite begins, IMMEDIATE unless told."""


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
