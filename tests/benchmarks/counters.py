"""What the server itself has counted: write-ahead log, its syncs, and transactions."""

from dataclasses import dataclass
from dataclasses import fields
from typing import Any

import psycopg

from tests.postgres import DatabaseServer

WITH_SYNCS_ELSEWHERE = 180_000
"""From this version on the syncs are counted in `pg_stat_io`."""


@dataclass(frozen=True)
class Counters:
    """Sums since the server was started; of transactions, since the database was."""

    wal_bytes: int
    wal_syncs: int
    commits: int

    def since(self, before: "Counters") -> "Counters":
        """Return what was added after *before*."""
        names = [each.name for each in fields(self)]
        return Counters(**{n: getattr(self, n) - getattr(before, n) for n in names})


def read_counters(server: DatabaseServer, database: str) -> Counters:
    """Return the counters; a backend adds its own at the latest when it ends."""
    with server.connect() as connection:
        wal_bytes, wal_syncs = _wal(connection)
        commits = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = %s", [database]
        ).fetchone()
    assert commits
    return Counters(wal_bytes, wal_syncs, commits[0])


def _wal(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    syncs = "SELECT wal_sync FROM pg_stat_wal"
    if connection.info.server_version >= WITH_SYNCS_ELSEWHERE:
        syncs = "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"
    written = "pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
    query = f"SELECT ({written})::bigint, ({syncs})::bigint"
    row = connection.execute(query.encode()).fetchone()
    assert row
    return row[0], row[1]
