"""Who works on a run: claiming, claiming again, finishing and releasing.

Every change of hands raises the run's epoch, so whatever an earlier holder still
sends is refused by the fence. Rows are locked FOR NO KEY UPDATE, because business
rows with a foreign key onto a run hold KEY SHARE on it.
"""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import Select
from sqlalchemy import Text
from sqlalchemy import Update
from sqlalchemy import case
from sqlalchemy import column
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy import tuple_
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import ARRAY

from operon.clock import Clock
from operon.models import Checkpoint
from operon.status import RunStatus
from operon.store.checkpoints import Lease
from operon.store.dialect import Backend
from operon.store.runs import RUNS


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A run that is this executor's from now on, as its row says."""

    id: str
    workflow: str
    version: int
    input: str
    codec: str | None
    principal: Mapping[str, Any] | None
    root_id: str | None
    executor: str
    epoch: int
    recoveries: int
    cancel_requested_at: datetime | None
    priority: int
    due_at: datetime

    @property
    def lease(self) -> Lease:
        """The claim itself."""
        return Lease(self.id, self.executor, self.epoch)


@dataclass(frozen=True, kw_only=True)
class Holding:
    """Who holds a run, and what is wanted of it."""

    status: RunStatus
    executor: str | None
    epoch: int
    cancel_requested_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Finish:
    """How a run ended, as its holder tells it."""

    lease: Lease
    status: RunStatus
    output: str | None = None
    error: str | None = None
    codec: str | None = None


Key = tuple[str, int]
"""A workflow's name and version."""


def claim_due(
    connection: Connection,
    backend: Backend,
    executor: str,
    *,
    known: Collection[Key],
    queues: Collection[str],
    limit: int,
    clock: Clock,
) -> list[Claimed]:
    """Give *executor* up to *limit* due runs, the most urgent and oldest first.

    Rows that somebody else is claiming are skipped, not waited for. The runs are
    the executor's once the transaction commits, while it keeps its heartbeat.
    """
    due = (
        select(RUNS.c.id)
        .where(
            RUNS.c.status == RunStatus.ENQUEUED,
            RUNS.c.queue.in_(queues),
            RUNS.c.due_at <= backend.now(clock),
            _key().in_(known),
        )
        .order_by(RUNS.c.priority, RUNS.c.due_at)
        .limit(limit)
    )
    return _claim(connection, backend, executor, due, clock=clock)


def claim_orphans(
    connection: Connection,
    backend: Backend,
    executor: str,
    *,
    gone: Collection[str],
    known: Collection[Key],
    limit: int,
    clock: Clock,
) -> list[Claimed]:
    """Give *executor* up to *limit* runs of the executors that are *gone*.

    Each counts one recovery more, or the first if the lost holder had recorded a
    checkpoint: only recoveries without progress bring a run to its limit.
    """
    orphans = (
        select(RUNS.c.id)
        .where(
            RUNS.c.status == RunStatus.RUNNING,
            RUNS.c.executor.in_(gone),
            _key().in_(known),
        )
        .limit(limit)
    )
    return _claim(
        connection, backend, executor, orphans, clock=clock, recoveries=_recoveries()
    )


def claim_one(
    connection: Connection,
    backend: Backend,
    executor: str,
    run_id: str,
    *,
    gone: Collection[str],
    clock: Clock,
) -> Claimed | None:
    """Give *executor* the run *run_id* if it is due or its holder is *gone*.

    Returns:
        The run, or None if somebody else holds it, it waits, or it has ended.
    """
    one = select(RUNS.c.id).where(
        RUNS.c.id == run_id,
        ((RUNS.c.status == RunStatus.ENQUEUED) & (RUNS.c.due_at <= backend.now(clock)))
        | ((RUNS.c.status == RunStatus.RUNNING) & RUNS.c.executor.in_(gone)),
    )
    recoveries = case(
        (RUNS.c.status == RunStatus.RUNNING, _recoveries()), else_=RUNS.c.recoveries
    )
    claimed = _claim(
        connection, backend, executor, one, clock=clock, recoveries=recoveries
    )
    return claimed[0] if claimed else None


def claim_again(
    connection: Connection,
    backend: Backend,
    executor: str,
    run_id: str,
    *,
    clock: Clock,
) -> Claimed | None:
    """Raise the epoch of a run that *executor* already holds.

    It waits for a pending transaction of the old claim to end (the fence holds a
    share lock until COMMIT), so the history read after it is the truth.

    Returns:
        The run, or None if this executor does not hold it.
    """
    statement = _taking(backend, executor, clock, RUNS.c.recoveries).where(
        RUNS.c.id == run_id,
        RUNS.c.status == RunStatus.RUNNING,
        RUNS.c.executor == executor,
    )
    return next(iter(_taken(connection, statement)), None)


def holding(connection: Connection, run_id: str) -> Holding | None:
    """Return who holds *run_id*, or None if there is no such run."""
    query = select(
        RUNS.c.status, RUNS.c.executor, RUNS.c.epoch, RUNS.c.cancel_requested_at
    ).where(RUNS.c.id == run_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Holding(**row)


def held_by(connection: Connection, executor: str) -> dict[str, int]:
    """Return the epochs of the runs that the database says *executor* is running."""
    query = select(RUNS.c.id, RUNS.c.epoch).where(
        RUNS.c.status == RunStatus.RUNNING, RUNS.c.executor == executor
    )
    return {row.id: row.epoch for row in connection.execute(query)}


def release(
    connection: Connection,
    backend: Backend,
    lease: Lease,
    *,
    clock: Clock,
    after: timedelta = timedelta(0),
) -> bool:
    """Give the run of *lease* back to its queue; return whether it was still held.

    Any executor may claim it *after* that time, and continues it from its history.
    """
    now = clock.database_time() or clock.now()
    due = backend.now(clock) if not after else literal(now + after, RUNS.c.due_at.type)
    statement = (
        update(RUNS)
        .where(_still_held(lease))
        .values(
            status=RunStatus.ENQUEUED,
            executor=null(),
            epoch=RUNS.c.epoch + 1,
            due_at=due,
        )
        .returning(RUNS.c.id)
    )
    return connection.execute(statement).scalar() is not None


def finish(
    connection: Connection,
    backend: Backend,
    finishes: Sequence[Finish],
    *,
    clock: Clock,
) -> set[str]:
    """Write how runs ended; return the ids of those whose lease still held.

    On PostgreSQL it is one statement for all, which locks the rows in order of id
    and commits asynchronously: steps are durable already, and a lost finish is
    found and sent again by the executor's heartbeat.
    """
    if backend.name == "postgresql":
        statement = _finish_together(backend, finishes, clock)
        return set(connection.scalars(statement))
    return {
        each.lease.run_id
        for each in finishes
        if connection.scalar(_finish_one(backend, each, clock)) is not None
    }


def _finish_one(backend: Backend, how: Finish, clock: Clock) -> Any:
    return (
        update(RUNS)
        .where(_still_held(how.lease))
        .values(
            status=how.status,
            output=how.output,
            error=how.error,
            outcome_codec=how.codec,
            finished_at=backend.now(clock),
        )
        .returning(RUNS.c.id)
    )


def _finish_together(backend: Backend, finishes: Sequence[Finish], clock: Clock) -> Any:
    columns: dict[str, tuple[Any, list[Any]]] = {
        "id": (Text, [each.lease.run_id for each in finishes]),
        "epoch": (Integer, [each.lease.epoch for each in finishes]),
        "status": (Text, [each.status.value for each in finishes]),
        "output": (Text, [each.output for each in finishes]),
        "error": (Text, [each.error for each in finishes]),
        "codec": (Text, [each.codec for each in finishes]),
    }
    told = (
        func
        .unnest(*(literal(rows, ARRAY(kind)) for kind, rows in columns.values()))
        .table_valued(*(column(name, kind) for name, (kind, _) in columns.items()))
        .render_derived("told")
    )
    held = (
        select(RUNS.c.id, *(told.c[name] for name in list(columns)[2:]))
        .join_from(RUNS, told, RUNS.c.id == told.c.id)
        .where(RUNS.c.epoch == told.c.epoch, RUNS.c.status == RunStatus.RUNNING)
        .order_by(RUNS.c.id)
        .with_for_update(key_share=True, of=RUNS)
        .cte("held")
    )
    return (
        update(RUNS)
        .where(RUNS.c.id == held.c.id)
        .values(
            status=held.c.status,
            output=held.c.output,
            error=held.c.error,
            outcome_codec=held.c.codec,
            finished_at=backend.now(clock),
        )
        .returning(RUNS.c.id, *backend.lazy_commit())
    )


def _still_held(lease: Lease) -> ColumnElement[bool]:
    return (
        (RUNS.c.id == lease.run_id)
        & (RUNS.c.epoch == lease.epoch)
        & (RUNS.c.status == RunStatus.RUNNING)
    )


def _key() -> Any:
    return tuple_(RUNS.c.workflow, RUNS.c.version)


def _recoveries() -> ColumnElement[int]:
    newest = (
        select(Checkpoint.epoch)
        .where(Checkpoint.run_id == RUNS.c.id)
        .order_by(Checkpoint.position.desc())
        .limit(1)
        .scalar_subquery()
    )
    return case((newest == RUNS.c.epoch, 1), else_=RUNS.c.recoveries + 1)


def _claim(
    connection: Connection,
    backend: Backend,
    executor: str,
    wanted: Select[Any],
    *,
    clock: Clock,
    recoveries: ColumnElement[int] = RUNS.c.recoveries,
) -> list[Claimed]:
    """Take the runs *wanted* selects, locking each and skipping what is locked.

    SQLite has one writer at a time, so the same statement is exact without locks.
    """
    chosen = (
        wanted
        .with_for_update(key_share=True, skip_locked=True)
        .cte("chosen")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    statement = _taking(backend, executor, clock, recoveries)
    return _taken(connection, statement.where(RUNS.c.id == chosen.c.id))


def _taking(
    backend: Backend, executor: str, clock: Clock, recoveries: ColumnElement[int]
) -> Update:
    return update(RUNS).values(
        status=RunStatus.RUNNING,
        executor=executor,
        epoch=RUNS.c.epoch + 1,
        recoveries=recoveries,
        started_at=func.coalesce(RUNS.c.started_at, backend.now(clock)),
    )


def _taken(connection: Connection, statement: Update) -> list[Claimed]:
    returning = statement.returning(
        RUNS.c.id,
        RUNS.c.workflow,
        RUNS.c.version,
        RUNS.c.input,
        RUNS.c.codec,
        RUNS.c.principal,
        RUNS.c.root_id,
        RUNS.c.executor,
        RUNS.c.epoch,
        RUNS.c.recoveries,
        RUNS.c.cancel_requested_at,
        RUNS.c.priority,
        RUNS.c.due_at,
    )
    rows = connection.execute(returning).mappings()
    taken = [Claimed(**row) for row in rows]
    return sorted(taken, key=lambda run: (run.priority, run.due_at))
