"""Queues as rows: what they are limited to, whether they are paused."""

from collections.abc import Collection
from collections.abc import Iterable
from typing import Any
from typing import cast

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import exists
from sqlalchemy import func
from sqlalchemy import null
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import QueueRecord
from operon.queue import Queue
from operon.queue import Rate
from operon.store.dialect import Backend
from operon.store.upsert import insert_unless_there

QUEUES = cast("Table", QueueRecord.__table__)


def is_limited() -> ColumnElement[bool]:
    """Return the condition that a queue's row has any limit."""
    return or_(
        QUEUES.c.concurrency.is_not(None),
        QUEUES.c.per_executor.is_not(None),
        QUEUES.c.rate_limit.is_not(None),
    )


def is_restricted(name: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that the queue *name* is paused or has any limit.

    A queue without a row is neither.
    """
    restricted = or_(QUEUES.c.paused_at.is_not(None), is_limited())
    return exists().where(QUEUES.c.name == name, restricted)


def limits_each_executor(name: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that the queue *name* has a limit per executor."""
    return exists().where(QUEUES.c.name == name, QUEUES.c.per_executor.is_not(None))


def declare(
    connection: Connection,
    backend: Backend,
    queues: Iterable[Queue],
    *,
    spoken: Collection[str],
    clock: Clock,
) -> None:
    """Store *queues*; of those *spoken* of, what the program says, if that is new.

    What was edited since stays; what the program changes wins. Of the others it
    knows no more than the name, and other programs may say more.
    """
    now = backend.now(clock)
    for queue in sorted(queues, key=lambda each: each.name):  # one order: no deadlock
        says = queue.as_declared if queue.name in spoken else None
        row = {**_limits(queue), "declared": says, "updated_at": now}
        insertion = insert_unless_there(backend, QUEUES)
        connection.execute(insertion.values(name=queue.name, created_at=now, **row))
        query = select(QUEUES.c.declared).where(QUEUES.c.name == queue.name)
        if says is not None and connection.execute(query).scalar_one() != says:
            connection.execute(
                update(QUEUES).where(QUEUES.c.name == queue.name).values(row)
            )


def find(connection: Connection, name: str) -> Queue | None:
    """Return the queue *name* with its limits of this moment, or None."""
    row = connection.execute(select(QUEUES).where(QUEUES.c.name == name)).one_or_none()
    return None if row is None else queue_of(row)


def queue_of(row: Any) -> Queue:
    """Return the queue that *row* describes."""
    rate = row.rate_limit and Rate(row.rate_limit, row.rate_period)
    return Queue(row.name, row.concurrency, row.per_executor, rate, row.partitioned)


def names(connection: Connection) -> list[str]:
    """Return the names of every queue, in order."""
    return list(connection.scalars(select(QUEUES.c.name).order_by(QUEUES.c.name)))


def list_all(session: Session) -> list[QueueRecord]:
    """Return every queue, in order of name."""
    return list(session.scalars(select(QueueRecord).order_by(QueueRecord.name)))


def change(
    connection: Connection, backend: Backend, queue: Queue, *, clock: Clock
) -> bool:
    """Give the queue of this name the limits of *queue*; False if there is none."""
    return _update(connection, backend, queue.name, _limits(queue), clock)


def pause(connection: Connection, backend: Backend, name: str, *, clock: Clock) -> bool:
    """Let nothing be claimed from *name* any more; False if there is no such queue."""
    since = func.coalesce(QUEUES.c.paused_at, backend.now(clock))
    return _update(connection, backend, name, {"paused_at": since}, clock)


def unpause(
    connection: Connection, backend: Backend, name: str, *, clock: Clock
) -> bool:
    """Let runs be claimed from *name* again; False if there is no such queue."""
    return _update(connection, backend, name, {"paused_at": null()}, clock)


def _update(
    connection: Connection,
    backend: Backend,
    name: str,
    values: dict[str, Any],
    clock: Clock,
) -> bool:
    statement = (
        update(QUEUES)
        .where(QUEUES.c.name == name)
        .values(**values, updated_at=backend.now(clock))
        .returning(QUEUES.c.name)
    )
    return connection.execute(statement).scalar() is not None


def _limits(queue: Queue) -> dict[str, Any]:
    rate = queue.rate
    return {
        "concurrency": queue.concurrency,
        "per_executor": queue.per_executor,
        "rate_limit": None if rate is None else rate.limit,
        "rate_period": None if rate is None else rate.period,
        "partitioned": queue.partitioned,
    }
