"""Who works on a run: claiming, claiming again and releasing.

Every change of hands raises the run's epoch, so whatever an earlier holder still
sends is refused by the fence. Rows are locked FOR NO KEY UPDATE, because business
rows with a foreign key onto a run hold KEY SHARE on it.
"""

from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import Select
from sqlalchemy import Update
from sqlalchemy import and_
from sqlalchemy import bindparam
from sqlalchemy import case
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy import tuple_
from sqlalchemy import update

from operon.clock import Clock
from operon.models import Checkpoint
from operon.status import RunStatus
from operon.store.checkpoints import Lease
from operon.store.checkpoints import still_held
from operon.store.dialect import Backend
from operon.store.dialect import times
from operon.store.queues import is_restricted
from operon.store.runs import RUNS
from operon.store.runs import status_is


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
    forked_from: str | None
    executor: str
    epoch: int
    recoveries: int
    cancel_requested_at: datetime | None
    priority: int
    due_at: datetime
    created_at: datetime
    started_at: datetime
    timeout: timedelta | None
    deadline_at: datetime | None
    chain_id: str | None
    wait_position: int | None
    wait_until: datetime | None
    queue: str
    traceparent: str | None
    tracestate: str | None
    claimed_at: datetime
    """The present time, by the database's clock."""

    @property
    def is_new(self) -> bool:
        """Whether nobody can have recorded anything of it before this claim."""
        return self.epoch == 1 and self.forked_from is None

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
    created_at: datetime
    deadline_at: datetime | None


_NOTHING: Mapping[str, Any] = {}

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
    """Give *executor* up to *limit* due runs; of each queue the most urgent first.

    Of equally urgent ones the oldest; only of queues that are neither paused nor
    limited at this moment. Rows that somebody else is claiming are skipped, not
    waited for. The runs are the executor's once the transaction commits, while it
    keeps its heartbeat.
    """
    claimed: list[Claimed] = []
    for queue in queues:  # one by one: an index has each in the order of claiming
        statement = _claiming_due(backend, clock, executor, tuple(known), queue)
        values = {"most": limit - len(claimed), **times(backend, clock)}
        claimed += taken(connection, statement, values)
        if len(claimed) == limit:
            break
    return claimed


@lru_cache(maxsize=256)
def _claiming_due(
    backend: Backend, clock: Clock, executor: str, known: tuple[Key, ...], queue: str
) -> Any:
    """Return the statement that claims from *queue*, made once for its poller."""
    due = due_runs(backend, known, clock).where(
        RUNS.c.queue == queue, ~is_restricted(literal(queue))
    )
    few = due.limit(bindparam("most", type_=Integer))
    return claiming(backend, executor, few, clock, lazily=True)


def due_runs(
    backend: Backend, known: Collection[Key], clock: Clock
) -> Select[tuple[str]]:
    """Select the ids of enqueued runs that are due, in the order of claiming."""
    return (
        select(RUNS.c.id)
        .where(is_due(backend, known, clock))
        .order_by(RUNS.c.priority, RUNS.c.due_at)
    )


def is_due(
    backend: Backend, known: Collection[Key], clock: Clock
) -> ColumnElement[bool]:
    """Return the condition that an executor which knows these workflows may claim."""
    return and_(
        status_is(RunStatus.ENQUEUED),
        RUNS.c.due_at <= backend.now(clock),
        key().in_(known),
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
        The run, or None if somebody else holds it, it waits, it has ended, or its
        queue is paused or limited.
    """
    free = (
        status_is(RunStatus.ENQUEUED)
        & (RUNS.c.due_at <= backend.now(clock))
        & ~is_restricted(RUNS.c.queue)
    )
    one = select(RUNS.c.id).where(
        RUNS.c.id == run_id,
        free | (status_is(RunStatus.RUNNING) & RUNS.c.executor.in_(gone)),
    )
    recoveries = case(
        (status_is(RunStatus.RUNNING), takeovers()), else_=RUNS.c.recoveries
    )
    claimed = claim(
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
    taking = _taking(backend, executor, clock, RUNS.c.recoveries).where(
        RUNS.c.id == run_id,
        status_is(RunStatus.RUNNING),
        RUNS.c.executor == executor,
    )
    return next(iter(taken(connection, _telling(backend, taking, clock))), None)


def holding(connection: Connection, run_id: str) -> Holding | None:
    """Return who holds *run_id*, or None if there is no such run."""
    columns = (RUNS.c[name] for name in Holding.__dataclass_fields__)
    query = select(*columns).where(RUNS.c.id == run_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Holding(**row)


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
    due = backend.after(clock, after)
    statement = (
        update(RUNS)
        .where(still_held(lease))
        .values(
            status=RunStatus.ENQUEUED,
            executor=null(),
            epoch=RUNS.c.epoch + 1,
            due_at=due,
        )
        .returning(RUNS.c.id)
    )
    return connection.execute(statement).scalar() is not None


def key() -> Any:
    """Return what a run's workflow is known by."""
    return tuple_(RUNS.c.workflow, RUNS.c.version)


def takeovers() -> ColumnElement[int]:
    """Return the count of takeovers without progress after one more."""
    newest = (
        select(Checkpoint.epoch)
        .where(Checkpoint.run_id == RUNS.c.id)
        .order_by(Checkpoint.position.desc())
        .limit(1)
        .scalar_subquery()
    )
    return case((newest == RUNS.c.epoch, 1), else_=RUNS.c.recoveries + 1)


def claim(
    connection: Connection,
    backend: Backend,
    executor: str,
    wanted: Select[Any],
    *,
    clock: Clock,
    recoveries: ColumnElement[int] = RUNS.c.recoveries,
) -> list[Claimed]:
    """Take the runs that *wanted* selects, but for those that somebody else claims."""
    statement = claiming(backend, executor, wanted, clock, recoveries=recoveries)
    return taken(connection, statement)


def claiming(
    backend: Backend,
    executor: str,
    wanted: Select[Any],
    clock: Clock,
    *,
    recoveries: ColumnElement[int] = RUNS.c.recoveries,
    lazily: bool = False,
) -> Any:
    """Return what takes the runs *wanted* selects, skipping what is locked.

    SQLite has one writer at a time, so the same statement is exact without locks.

    Args:
        backend: The database's manners.
        executor: Who claims.
        wanted: Selects the ids of runs.
        clock: Tells the time; the database's unless turned.
        recoveries: What to count; nothing unless told.
        lazily: COMMIT waits for nothing. If a crash of the server loses the claim,
            the fence refuses whatever was done under it, and the run is claimed anew.
    """
    chosen = (
        wanted
        .with_for_update(key_share=True, skip_locked=True)
        .cte("chosen")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    taking = _taking(backend, executor, clock, recoveries)
    statement = _telling(backend, taking.where(RUNS.c.id == chosen.c.id), clock)
    return statement.returning(*backend.lazy_commit()) if lazily else statement


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


def _telling(backend: Backend, taking: Update, clock: Clock) -> Any:
    """Return *taking*, which tells what a claimed run needs."""
    names = [name for name in Claimed.__dataclass_fields__ if name != "claimed_at"]
    return taking.returning(
        *(RUNS.c[name] for name in names), backend.now(clock).label("claimed_at")
    )


def taken(
    connection: Connection, statement: Any, values: Mapping[str, Any] = _NOTHING
) -> list[Claimed]:
    """Execute *statement* with *values*; return what it has claimed."""
    rows = connection.execute(statement, values).all()
    names = Claimed.__dataclass_fields__  # in the order of the columns
    taken = [
        _with_deadline(connection, Claimed(**dict(zip(names, row, strict=False))))
        for row in rows
    ]
    return sorted(taken, key=lambda run: (run.priority, run.due_at))


def _with_deadline(connection: Connection, claimed: Claimed) -> Claimed:
    """Begin the timeout of a run that waited in a queue, at its first claim."""
    if claimed.timeout is None:
        return claimed
    deadline = claimed.started_at + claimed.timeout
    if claimed.deadline_at is not None and claimed.deadline_at <= deadline:
        return claimed
    connection.execute(
        update(RUNS).where(RUNS.c.id == claimed.id).values(deadline_at=deadline)
    )
    return replace(claimed, deadline_at=deadline)
