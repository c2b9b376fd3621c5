"""A run with its whole history, as its rows say at one moment; to be exported."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import select

from operon.store.attempts import ATTEMPTS
from operon.store.checkpoints import CHECKPOINTS
from operon.store.runs import RUNS

Row = Mapping[str, Any]
"""A row by the names of its columns."""


@dataclass(frozen=True)
class Whole:
    """A run, its checkpoints in order of position, and its failed attempts in order."""

    run: Row
    checkpoints: Sequence[Row]
    attempts: Sequence[Row]


def read(connection: Connection, run_id: str) -> Whole | None:
    """Return the whole of *run_id*, or None if there is no such run.

    No lock is held, and each statement may see a newer state than the one before. So
    it is read again until the run's row was the same before and after its history: a
    run that waits, or has ended, has no checkpoint that its row does not know of.
    """
    row = _row(connection, run_id)
    while row is not None:
        checkpoints = _ordered(connection, CHECKPOINTS, run_id, "position")
        attempts = _ordered(connection, ATTEMPTS, run_id, "position", "attempt")
        before, row = row, _row(connection, run_id)
        if row == before:
            return Whole(before, checkpoints, attempts)
    return None


def _row(connection: Connection, run_id: str) -> Row | None:
    query = select(RUNS).where(RUNS.c.id == run_id)
    found = connection.execute(query).mappings().one_or_none()
    return None if found is None else dict(found)


def _ordered(
    connection: Connection, table: Any, run_id: str, *order: str
) -> Sequence[Row]:
    query = select(table).where(table.c.run_id == run_id)
    ordered = query.order_by(*(table.c[name] for name in order))
    return [dict(row) for row in connection.execute(ordered).mappings()]
