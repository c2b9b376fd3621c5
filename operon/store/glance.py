"""One look at everything an executor may have to do: a single statement that reads.

An idle executor sends nothing else between two heartbeats, and takes no lock.
"""

from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import field
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import Text
from sqlalchemy import cast
from sqlalchemy import exists
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy import tuple_
from sqlalchemy import union_all

from operon.clock import Clock
from operon.models import ScheduleRecord
from operon.store import waits
from operon.store.claims import Key
from operon.store.claims import is_due
from operon.store.deadlines import is_overdue
from operon.store.dialect import Backend
from operon.store.dialect import times
from operon.store.limited import Place
from operon.store.queues import QUEUES
from operon.store.queues import is_limited
from operon.store.queues import is_restricted
from operon.store.runs import RUNS

_MOST = 500  # of each kind, at one look


@dataclass(frozen=True)
class ToDo:
    """What there is to do at this moment."""

    due: list[str] = field(default_factory=list[str])
    """Queues without limits where a run is due."""
    places: list[Place] = field(default_factory=list[Place])
    """Queues and partitions with limits where a run is due."""
    over: list[str] = field(default_factory=list[str])
    """Waiting runs whose wait is over."""
    overdue: list[str] = field(default_factory=list[str])
    """Runs whose deadline has passed."""
    schedules: list[str] = field(default_factory=list[str])
    """Schedules with a tick that has come."""


def glance(
    connection: Connection,
    backend: Backend,
    *,
    known: Collection[Key],
    queues: Collection[str],
    clock: Clock,
    thoroughly: bool = True,
) -> ToDo:
    """Return what an executor that knows these workflows, and queues, could do.

    Args:
        connection: Nothing is locked.
        backend: The database's manners.
        known: The workflows and versions it knows.
        queues: Those it serves.
        clock: Tells the time; the database's unless turned.
        thoroughly: Also look at every run that waits for a message, an event or a
            child, of which there may be many.
    """
    look = _look(backend, clock, tuple(known), tuple(queues), thoroughly=thoroughly)
    found: dict[str, list[tuple[str, str | None]]] = {}
    for row in connection.execute(look, times(backend, clock)):
        found.setdefault(row.kind, []).append((row.name, row.part))

    def names(kind: str) -> list[str]:
        return [name for name, _ in found.get(kind, ())]

    return ToDo(
        due=names("due"),
        places=[Place(name, part or "") for name, part in found.get("place", ())],
        over=names("over"),
        overdue=names("overdue"),
        schedules=names("schedule"),
    )


@lru_cache(maxsize=32)
def _look(
    backend: Backend,
    clock: Clock,
    known: tuple[Key, ...],
    queues: tuple[str, ...],
    *,
    thoroughly: bool,
) -> Any:
    """Return the query of a glance, made once for its executor."""
    looks = (
        *(_due(backend, known, queue, clock) for queue in queues),
        _limited_queues(backend, known, queues, clock),
        _partitions(backend, known, queues, clock),
        _first(RUNS.c.id, "over").where(waits.is_due(backend, clock)),
        *([_first(RUNS.c.id, "over").where(waits.is_answered())] if thoroughly else []),
        _first(RUNS.c.id, "overdue").where(is_overdue(backend, clock)),
        _schedules(backend, known, clock),
    )
    # SQLite takes a LIMIT within a UNION only in a sub-select
    parts = [select(look.subquery(f"look{n}")) for n, look in enumerate(looks)]
    return union_all(*parts)


def _first(name: Any, kind: str, partition: Any = None) -> Any:
    """Select *name* as something of *kind* to do."""
    part = cast(null(), Text) if partition is None else partition
    columns = (literal(kind).label("kind"), name.label("name"), part.label("part"))
    return select(*columns).limit(_MOST)


def _due(backend: Backend, known: Collection[Key], queue: str, clock: Clock) -> Any:
    due = exists().where(
        is_due(backend, known, clock),
        RUNS.c.queue == queue,
        ~is_restricted(literal(queue)),
    )
    return _first(literal(queue), "due").where(due)


def _limited_queues(
    backend: Backend, known: Collection[Key], queues: Collection[str], clock: Clock
) -> Any:
    due = exists().where(
        is_due(backend, known, clock),
        RUNS.c.queue == QUEUES.c.name,
        RUNS.c.partition.is_(None),
    )
    return _first(QUEUES.c.name, "place").where(
        QUEUES.c.name.in_(queues),
        QUEUES.c.paused_at.is_(None),
        is_limited(),
        due,
    )


def _partitions(
    backend: Backend, known: Collection[Key], queues: Collection[str], clock: Clock
) -> Any:
    """Select the partitions of limited queues where a run is due, in no order.

    There may be more than one look takes; a random start lets none starve.
    """
    return (
        _first(RUNS.c.queue, "place", RUNS.c.partition)
        .join_from(RUNS, QUEUES, QUEUES.c.name == RUNS.c.queue)
        .where(
            is_due(backend, known, clock),
            RUNS.c.partition.is_not(None),
            RUNS.c.queue.in_(queues),
            QUEUES.c.paused_at.is_(None),
            is_limited(),
        )
        .group_by(RUNS.c.queue, RUNS.c.partition)
        .order_by(func.random())
    )


def _schedules(backend: Backend, known: Collection[Key], clock: Clock) -> Any:
    key = tuple_(ScheduleRecord.workflow, ScheduleRecord.version)
    return _first(ScheduleRecord.name, "schedule").where(
        key.in_(known),
        ScheduleRecord.paused_at.is_(None),
        ScheduleRecord.next_at <= backend.now(clock),
    )
