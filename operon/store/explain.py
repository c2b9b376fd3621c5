"""Reading: the facts that tell why a run is where it is, and its failed attempts."""

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import exists
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import Attempt
from operon.models import Checkpoint
from operon.queue import Queue
from operon.status import RunStatus
from operon.store import queues
from operon.store import runs
from operon.store.attempts import ATTEMPTS
from operon.store.dialect import Backend
from operon.store.executors import EXECUTORS
from operon.store.limited import PARTITIONS
from operon.store.queues import QUEUES
from operon.store.runs import RUNS
from operon.store.runs import status_is
from operon.store.waits import is_over

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
class Awaited:
    """What a waiting run waits for."""

    kind: str
    """`sleep`, `receive`, `event`, `result` or `retry`."""
    on: str | None
    """Whose message, event or end."""
    key: str | None
    """Which topic, or which event."""
    position: int | None
    """Of the operation that waits."""
    until: datetime | None
    """When that operation gives up."""
    is_over: bool
    """Whether it has come, so that the run only has to be woken."""
    status: RunStatus | None
    """Where the run stands whose result is waited for; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The queue, or the partition of it, in which a run waits to be claimed."""

    queue: Queue
    """With its limits of this moment."""
    paused_at: datetime | None
    running: Mapping[str, int]
    """How many of its runs are running, by executor."""
    begun: Sequence[tuple[datetime, int]]
    """Its first claims as far as they are remembered: when, and how many."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the database says of a run; times are the database's own."""

    id: str
    workflow: str
    version: int
    status: RunStatus
    queue: str
    partition: str | None
    executor: str | None
    error: str | None
    """What its body raised, or why it is dead, in words."""
    cancel_requested_at: datetime | None
    due_at: datetime
    deadline_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    continued_as: str | None
    newest: str
    """The run that goes on for it after `continue_as`; else its own id."""
    now: datetime
    history: Sequence[Recorded]
    """In order of position."""
    pending: Pending | None
    awaited: Awaited | None
    """Only of a waiting run."""
    line: Line | None
    """Only of an enqueued run whose queue has a row."""
    executors: Sequence[Seen]


def facts(
    connection: Connection, backend: Backend, run_id: str, *, told: Told, clock: Clock
) -> Facts | None:
    """Return what there is to know about *run_id*, or None if there is no such run."""
    query = select(
        *_COLUMNS,
        *_WAIT,
        is_over(backend, clock).label("is_over"),
        backend.now(clock).label("now"),
    ).where(RUNS.c.id == run_id)
    row = connection.execute(query).one_or_none()
    result = runs.find_result(connection, run_id)
    if row is None or result is None:
        return None
    return Facts(
        **{column.name: getattr(row, column.name) for column in _COLUMNS},
        now=row.now,
        error=None if result.error is None else told(result.error, result.codec),
        newest=runs.newest(connection, run_id),
        history=_history(connection, run_id, told),
        pending=_pending(connection, row, told),
        awaited=_awaited(connection, row),
        line=_line(connection, row),
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
    RUNS.c.partition,
    RUNS.c.executor,
    RUNS.c.cancel_requested_at,
    RUNS.c.due_at,
    RUNS.c.deadline_at,
    RUNS.c.created_at,
    RUNS.c.started_at,
    RUNS.c.finished_at,
    RUNS.c.continued_as,
)
_WAIT = (
    RUNS.c.wait_kind,
    RUNS.c.wait_on,
    RUNS.c.wait_key,
    RUNS.c.wait_position,
    RUNS.c.wait_until,
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


def _pending(connection: Connection, run: Any, told: Told) -> Pending | None:
    """Return the failed attempts at a position that has no checkpoint yet.

    Of several, those of the operation that the *run* waits for, else the first.
    """
    again = ATTEMPTS.alias()
    last = (
        select(func.max(again.c.attempt))
        .where(again.c.run_id == run.id, again.c.position == ATTEMPTS.c.position)
        .scalar_subquery()
    )
    recorded = exists().where(
        Checkpoint.run_id == run.id, Checkpoint.position == ATTEMPTS.c.position
    )
    query = (
        select(ATTEMPTS)
        .where(ATTEMPTS.c.run_id == run.id, ATTEMPTS.c.attempt == last, ~recorded)
        .order_by(ATTEMPTS.c.position != (run.wait_position or 0), ATTEMPTS.c.position)
        .limit(1)
    )
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    return Pending(
        position=found.position,
        kind=found.kind,
        name=found.name,
        failed=found.attempt,
        error=told(found.error, found.codec),
        next_at=found.next_at,
    )


def _awaited(connection: Connection, run: Any) -> Awaited | None:
    """Return what the *run* waits for, if it does."""
    if run.status is not RunStatus.WAITING:
        return None
    other = select(RUNS.c.status).where(RUNS.c.id == run.wait_on)
    is_run = run.wait_kind == "result"
    return Awaited(
        kind=run.wait_kind or "",
        on=run.wait_on,
        key=run.wait_key,
        position=run.wait_position,
        until=run.wait_until,
        is_over=bool(run.is_over),
        status=connection.execute(other).scalar() if is_run else None,
    )


def _line(connection: Connection, run: Any) -> Line | None:
    """Return what holds where the *run* is enqueued, if it is."""
    if run.status is not RunStatus.ENQUEUED:
        return None
    query = (
        select(QUEUES, PARTITIONS.c.recent)
        .outerjoin_from(
            QUEUES,
            PARTITIONS,
            (PARTITIONS.c.queue == QUEUES.c.name)
            & (PARTITIONS.c.partition == (run.partition or "")),
        )
        .where(QUEUES.c.name == run.queue)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Line(
        queue=queues.queue_of(row),
        paused_at=row.paused_at,
        running=_running(connection, run),
        begun=[
            (_at(begun), number) for begun, number in json.loads(row.recent or "[]")
        ],
    )


def _running(connection: Connection, run: Any) -> dict[str, int]:
    """Count what is running of the *run*'s queue and partition, by executor."""
    query = (
        select(RUNS.c.executor, func.count(type_=Integer))
        .where(
            status_is(RunStatus.RUNNING),
            RUNS.c.queue == run.queue,
            func.coalesce(RUNS.c.partition, "") == (run.partition or ""),
        )
        .group_by(RUNS.c.executor)
    )
    return {executor or "": number for executor, number in connection.execute(query)}


def _at(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
