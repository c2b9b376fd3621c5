"""Reading: the facts that tell why a run is where it is, and its failed attempts."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import Attempt
from operon.models import Checkpoint
from operon.status import RunStatus
from operon.store import runs
from operon.store.attempts import ATTEMPTS
from operon.store.dialect import Backend
from operon.store.executors import EXECUTORS
from operon.store.runs import RUNS

Told = Callable[[str, str | None], str]
"""Turns a stored error and the name of its codec into words."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An executor, as its row says."""

    id: str
    host: str
    pid: int
    workflows: Sequence[Any]
    """The `[name, version]` pairs it can run."""
    queues: Sequence[str]
    """Empty for a process that only runs its own callers' runs."""
    heartbeat_at: datetime

    def knows(self, workflow: str, version: int) -> bool:
        """Tell whether it can run *workflow* in this *version*."""
        return [workflow, version] in [list(pair) for pair in self.workflows]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A checkpoint, without its output."""

    position: int
    kind: str
    name: str
    error: str | None
    """What it raised, in words."""
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class Pending:
    """The attempts that failed at a position that has no checkpoint yet."""

    position: int
    kind: str
    name: str
    failed: int
    """How many."""
    error: str
    """What the last one raised, in words."""
    next_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the database says of a run; times are the database's own."""

    id: str
    workflow: str
    version: int
    status: RunStatus
    queue: str
    executor: str | None
    error: str | None
    """What its body raised, or why it is dead, in words."""
    cancel_requested_at: datetime | None
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    now: datetime
    history: Sequence[Recorded]
    """In order of position."""
    pending: Pending | None
    executors: Sequence[Seen]


def facts(
    connection: Connection, backend: Backend, run_id: str, *, told: Told, clock: Clock
) -> Facts | None:
    """Return what there is to know about *run_id*, or None if there is no such run."""
    query = select(*_COLUMNS, backend.now(clock).label("now")).where(
        RUNS.c.id == run_id
    )
    row = connection.execute(query).mappings().one_or_none()
    result = runs.find_result(connection, run_id)
    if row is None or result is None:
        return None
    history = _history(connection, run_id, told)
    error = None if result.error is None else told(result.error, result.codec)
    return Facts(
        **row,
        error=error,
        history=history,
        pending=_pending(connection, run_id, len(history) + 1, told),
        executors=executors(connection),
    )


def executors(connection: Connection) -> list[Seen]:
    """Return every executor that has a row, in order of id."""
    columns = (EXECUTORS.c[name] for name in Seen.__dataclass_fields__)
    rows = connection.execute(select(*columns).order_by(EXECUTORS.c.id))
    return [Seen(**row) for row in rows.mappings()]


def list_attempts(session: Session, run_id: str) -> list[Attempt]:
    """Return the failed attempts of *run_id*, in order of position and attempt."""
    query = select(Attempt).where(Attempt.run_id == run_id)
    return list(session.scalars(query.order_by(Attempt.position, Attempt.attempt)))


_COLUMNS = (
    RUNS.c.id,
    RUNS.c.workflow,
    RUNS.c.version,
    RUNS.c.status,
    RUNS.c.queue,
    RUNS.c.executor,
    RUNS.c.cancel_requested_at,
    RUNS.c.due_at,
    RUNS.c.created_at,
    RUNS.c.started_at,
    RUNS.c.finished_at,
)


def _history(connection: Connection, run_id: str, told: Told) -> list[Recorded]:
    query = select(
        Checkpoint.position,
        Checkpoint.kind,
        Checkpoint.name,
        Checkpoint.error,
        Checkpoint.codec,
        Checkpoint.finished_at,
    ).where(Checkpoint.run_id == run_id)
    return [
        Recorded(
            position=row.position,
            kind=row.kind,
            name=row.name,
            error=None if row.error is None else told(row.error, row.codec),
            finished_at=row.finished_at,
        )
        for row in connection.execute(query.order_by(Checkpoint.position))
    ]


def _pending(
    connection: Connection, run_id: str, position: int, told: Told
) -> Pending | None:
    """Return the failed attempts at the first *position* without a checkpoint."""
    query = (
        select(ATTEMPTS)
        .where(ATTEMPTS.c.run_id == run_id, ATTEMPTS.c.position == position)
        .order_by(ATTEMPTS.c.attempt.desc())
        .limit(1)
    )
    last = connection.execute(query).one_or_none()
    if last is None:
        return None
    return Pending(
        position=position,
        kind=last.kind,
        name=last.name,
        failed=last.attempt,
        error=told(last.error, last.codec),
        next_at=last.next_at,
    )
