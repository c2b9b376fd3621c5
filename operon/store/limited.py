"""Claiming from queues that have limits: exactly, whoever claims at the same time.

Each queue, or each partition of one, has a row that is locked first. Only then, in a
second statement with a snapshot of its own, are the running runs counted and others
claimed: in one statement the count would be older than the lock.

Source:
    PostgreSQL, "Transaction Isolation: Read Committed Isolation Level".
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import Select
from sqlalchemy import Table
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import update

from operon.clock import Clock
from operon.models import QueuePartition
from operon.queue import Queue
from operon.status import RunStatus
from operon.store import queues
from operon.store.claims import Claimed
from operon.store.claims import Key
from operon.store.claims import claim
from operon.store.claims import due_runs
from operon.store.dialect import Backend
from operon.store.queues import QUEUES
from operon.store.runs import RUNS
from operon.store.runs import status_is
from operon.store.upsert import insert_unless_there

PARTITIONS = cast("Table", QueuePartition.__table__)

_MOST_ENTRIES = 200  # of a rate's memory; beyond, neighbours become one

Recent = list[tuple[int, int]]
"""First claims: when (microseconds since 1970) and how many, oldest first."""


@dataclass(frozen=True)
class Place:
    """A queue with limits, or one partition of it."""

    queue: str
    partition: str = ""
    """Empty for a queue that is not partitioned."""


def claim_limited(
    connection: Connection,
    backend: Backend,
    executor: str,
    place: Place,
    *,
    known: Collection[Key],
    limit: int,
    clock: Clock,
    only: str | None = None,
) -> list[Claimed]:
    """Give *executor* up to *limit* due runs of *place*, as far as its limits allow.

    Nothing is claimed, and nothing waited for, while somebody else claims there.

    Args:
        connection: A transaction at READ COMMITTED; the lock is held until it ends.
        backend: The database's manners.
        executor: Who claims.
        place: Where.
        known: The workflows and versions that it knows.
        limit: At most so many.
        clock: Tells the time; the database's unless turned.
        only: The id of the one run that is wanted.
    """
    recent = _lock(connection, backend, place)
    if recent is None:
        return []
    found = connection.execute(_state(backend, executor, place, clock)).one_or_none()
    if found is None or found.paused_at is not None:
        return []
    queue = queues.queue_of(found)
    free = min(limit, _free(queue, found.running, found.mine))
    due = _due(backend, place, known, clock, only)
    if queue.rate is None:
        return _claim(connection, backend, executor, due, free, clock)
    # who began before goes on without counting; the others begin as the rate allows
    again = due.where(RUNS.c.started_at.is_not(None))
    taken = _claim(connection, backend, executor, again, free, clock)
    recent = _within(recent, queue.rate.period, found.now)
    left = queue.rate.limit - sum(count for _, count in recent)
    first = due.where(RUNS.c.started_at.is_(None))
    free = min(free - len(taken), left)
    begun = _claim(connection, backend, executor, first, free, clock)
    if begun:
        # by the claim's own time, which is later than the look before it
        at = max(_microseconds(run.claimed_at) for run in begun)
        _remember(connection, place, [*recent, (at, len(begun))])
    return taken + begun


def place_of(connection: Connection, run_id: str) -> Place | None:
    """Return where the enqueued run *run_id* waits, if that place has limits."""
    query = (
        select(RUNS.c.queue, RUNS.c.partition)
        .join_from(RUNS, QUEUES, QUEUES.c.name == RUNS.c.queue)
        .where(RUNS.c.id == run_id, status_is(RunStatus.ENQUEUED), queues.is_limited())
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Place(row.queue, row.partition or "")


def _lock(connection: Connection, backend: Backend, place: Place) -> Recent | None:
    """Lock the row of *place*; return its recent claims, or None if it is locked."""
    here = (
        PARTITIONS.c.queue == place.queue,
        PARTITIONS.c.partition == place.partition,
    )
    query = select(PARTITIONS.c.recent).where(*here)
    locking = query.with_for_update(key_share=True, skip_locked=True)
    row = connection.execute(locking).one_or_none()
    if row is None:
        if connection.execute(query).one_or_none() is not None:
            return None
        insertion = insert_unless_there(backend, PARTITIONS)
        connection.execute(
            insertion.values(queue=place.queue, partition=place.partition)
        )
        row = connection.execute(locking).one_or_none()
    if row is None:
        return None
    return [tuple(each) for each in json.loads(row.recent or "[]")]


def _state(
    backend: Backend, executor: str, place: Place, clock: Clock
) -> Select[tuple[object, ...]]:
    """Select the limits of *place*, and how many of its runs are running."""
    running = (
        status_is(RunStatus.RUNNING),
        RUNS.c.queue == place.queue,
        func.coalesce(RUNS.c.partition, "") == place.partition,
    )
    number = select(func.count(type_=Integer)).select_from(RUNS).where(*running)
    mine = number.where(RUNS.c.executor == executor)
    return select(
        QUEUES,
        number.scalar_subquery().label("running"),
        mine.scalar_subquery().label("mine"),
        backend.now(clock).label("now"),
    ).where(QUEUES.c.name == place.queue)


def _free(queue: Queue, running: int, mine: int) -> int:
    """Return how many more runs of *queue* may execute here."""
    everywhere = running + 1_000_000 if queue.concurrency is None else queue.concurrency
    here = mine + 1_000_000 if queue.per_executor is None else queue.per_executor
    return max(0, min(everywhere - running, here - mine))


def _due(
    backend: Backend,
    place: Place,
    known: Collection[Key],
    clock: Clock,
    only: str | None,
) -> Select[tuple[str]]:
    due = due_runs(backend, known, clock).where(
        RUNS.c.queue == place.queue,
        RUNS.c.partition == place.partition
        if place.partition
        else RUNS.c.partition.is_(None),
    )
    return due if only is None else due.where(RUNS.c.id == only)


def _claim(  # noqa: PLR0917 - as claim_limited, which alone calls it
    connection: Connection,
    backend: Backend,
    executor: str,
    due: Select[tuple[str]],
    limit: int,
    clock: Clock,
) -> list[Claimed]:
    if limit <= 0:
        return []
    return claim(connection, backend, executor, due.limit(limit), clock=clock)


def _within(recent: Recent, period: timedelta, now: datetime) -> Recent:
    """Return the first claims that still count."""
    oldest = _microseconds(now - period)
    return [(at, count) for at, count in recent if at > oldest]


def _remember(connection: Connection, place: Place, recent: Recent) -> None:
    connection.execute(
        update(PARTITIONS)
        .where(
            PARTITIONS.c.queue == place.queue,
            PARTITIONS.c.partition == place.partition,
        )
        .values(recent=json.dumps(_condensed(recent)))
    )


def _condensed(recent: Recent) -> Recent:
    """Return *recent* in fewer entries, if it has many, erring on the late side.

    Two neighbours become one at the later time: a claim counts a little longer than
    it must, never shorter.
    """
    if len(recent) <= _MOST_ENTRIES:
        return recent
    pairs = zip(recent[::2], recent[1::2], strict=False)
    halved = [(later, first + second) for (_, first), (later, second) in pairs]
    return halved + ([recent[-1]] if len(recent) % 2 else [])


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)
