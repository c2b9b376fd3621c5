"""Waiting runs: suspending them, and waking those whose wait is over.

Waking is level-triggered: it looks at committed rows, and whoever sends, publishes
or finishes never touches the row of the run that waits. So no wake-up can be lost,
whatever order commits land in; a notification only makes it come sooner.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import Text
from sqlalchemy import and_
from sqlalchemy import bindparam
from sqlalchemy import case
from sqlalchemy import exists
from sqlalchemy import false
from sqlalchemy import null
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update

from operon.clock import Clock
from operon.models import Checkpoint
from operon.models import Event
from operon.models import Message
from operon.status import FINAL
from operon.status import RunStatus
from operon.store.checkpoints import IS_HELD
from operon.store.checkpoints import Lease
from operon.store.checkpoints import held
from operon.store.dialect import Backend
from operon.store.dialect import times
from operon.store.runs import RUNS
from operon.store.runs import status_is


@dataclass(frozen=True, kw_only=True)
class Wait:
    """What a run waits for, and how long at most."""

    kind: str
    """The operation that waits: `sleep`, `receive`, `event`, `result` or `retry`."""
    position: int
    on: str | None = None
    """Whose message, event or end: an address or a run's id."""
    key: str | None = None
    """Which topic, or which event."""
    until: datetime | None = None
    """When the operation gives up; None: never."""
    wake_at: datetime | None = None
    """When the run is woken by time, which may be earlier; None: not by time."""


def suspend(connection: Connection, backend: Backend, lease: Lease, wait: Wait) -> bool:
    """Let the run of *lease* hold nothing until *wait* is over.

    Returns:
        Whether it waits now: False if the lease is void, or what it waits for is
        recorded already. Its COMMIT waits for nothing: a lost suspension leaves a
        run that its executor seems to hold, and the heartbeat finds it.
    """
    told = {
        **held(lease),
        "at_position": wait.position,
        "wait_kind": wait.kind,
        "wait_on": wait.on,
        "wait_key": wait.key,
        "wait_position": wait.position,
        "wait_until": wait.until,
        "wake_at": wait.wake_at,
    }
    return connection.execute(_suspension(backend), told).first() is not None


@lru_cache(maxsize=16)
def _suspension(backend: Backend) -> Any:
    """Return the statement that suspends a run, made once: many may wait."""
    recorded = exists().where(
        Checkpoint.run_id == RUNS.c.id,
        Checkpoint.position == bindparam("at_position", type_=Integer),
    )
    return (
        update(RUNS)
        .where(
            IS_HELD,
            ~recorded,
        )
        .values(
            status=RunStatus.WAITING,
            executor=null(),
            epoch=RUNS.c.epoch + 1,
        )
        .returning(RUNS.c.id, *backend.lazy_commit())
    )


def is_over(backend: Backend, clock: Clock) -> ColumnElement[bool]:
    """Return the condition that a waiting run's wait is over."""
    return or_(is_due(backend, clock), is_answered())


def is_due(backend: Backend, clock: Clock) -> ColumnElement[bool]:
    """Return the condition that a waiting run is to be woken by time."""
    return and_(status_is(RunStatus.WAITING), RUNS.c.wake_at <= backend.now(clock))


def is_answered() -> ColumnElement[bool]:
    """Return the condition that what a waiting run waits for is there."""
    other = RUNS.alias("other")
    unread = exists().where(
        Message.run_id == RUNS.c.wait_on,
        Message.topic == RUNS.c.wait_key,
        Message.received_by.is_(None),
    )
    published = exists().where(
        Event.run_id == RUNS.c.wait_on, Event.key == RUNS.c.wait_key
    )
    ended = exists().where(other.c.id == RUNS.c.wait_on, other.c.status.in_(FINAL))
    return and_(
        status_is(RunStatus.WAITING),
        RUNS.c.wait_on.is_not(None),
        case(
            (RUNS.c.wait_kind == "receive", unread),
            (RUNS.c.wait_kind == "event", published),
            (RUNS.c.wait_kind == "result", ended),
            else_=false(),
        ),
    )


def any_over(
    connection: Connection, backend: Backend, runs: Collection[str], *, clock: Clock
) -> bool:
    """Tell whether the wait of any of *runs* is over; takes no lock."""
    over = exists().where(RUNS.c.id.in_(runs), is_over(backend, clock))
    return bool(connection.scalar(select(over)))


def wake(
    connection: Connection,
    backend: Backend,
    *,
    clock: Clock,
    runs: Collection[str] = (),
    on: Collection[str] = (),
) -> dict[str, str]:
    """Put waiting runs back into their queues, if their waits are over.

    Args:
        connection: The runs are enqueued once its transaction commits.
        backend: The database's manners.
        clock: Tells the time; the database's unless turned.
        runs: Which runs may be over.
        on: Addresses and runs at which something happened that others may wait for.

    Returns:
        Those that were woken, and the queues in which they are now.
    """
    values = {"those": list(runs), "there": list(on), **times(backend, clock)}
    rows = connection.execute(_waking(backend, clock), values)
    return {row.id: row.queue for row in rows}


@lru_cache(maxsize=16)
def _waking(backend: Backend, clock: Clock) -> Any:
    """Return the statement that wakes runs, made once: many may be due at once."""
    those = bindparam("those", expanding=True, type_=Text)
    there = bindparam("there", expanding=True, type_=Text)
    chosen = (
        select(RUNS.c.id)
        .where(
            or_(RUNS.c.id.in_(those), RUNS.c.wait_on.in_(there)),
            is_over(backend, clock),
        )
        .with_for_update(key_share=True, skip_locked=True, of=RUNS)
        .cte("chosen")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return (
        update(RUNS)
        .where(RUNS.c.id == chosen.c.id)
        .values(status=RunStatus.ENQUEUED, due_at=backend.now(clock))
        .returning(RUNS.c.id, RUNS.c.queue)
    )


def earliest(*times: datetime | None) -> datetime | None:
    """Return the earliest of *times*, any of which may be missing."""
    return min((at for at in times if at is not None), default=None)
