"""Schedules as rows: what starts when, and how far it has come."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import delete
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import ScheduleRecord
from operon.store.dialect import Backend
from operon.store.upsert import insert_unless_there

SCHEDULES = cast("Table", ScheduleRecord.__table__)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a schedule starts, and when."""

    name: str
    cron: str
    timezone: str
    workflow: str
    version: int
    input: str
    takes_tick: bool
    queue: str
    catch_up: str

    @property
    def as_declared(self) -> dict[str, Any]:
        """What the program says, as plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A schedule's rule, and how far it has come."""

    rule: Rule
    paused_at: datetime | None
    last_tick_at: datetime
    next_at: datetime
    declared: Mapping[str, Any] | None
    now: datetime
    """The present time, by the database's clock."""


def present(connection: Connection, backend: Backend, clock: Clock) -> datetime:
    """Return the time by which ticks are judged."""
    now: datetime = connection.execute(select(backend.now(clock))).scalar_one()
    return now


def insert(
    connection: Connection,
    backend: Backend,
    rule: Rule,
    *,
    next_at: datetime,
    clock: Clock,
) -> None:
    """Write the schedule of *rule* unless there is one of its name."""
    now = backend.now(clock)
    connection.execute(
        insert_unless_there(backend, SCHEDULES).values(
            **rule.as_declared,
            declared=rule.as_declared,
            last_tick_at=now,
            next_at=next_at,
            created_at=now,
            updated_at=now,
        )
    )


def lock(
    connection: Connection,
    backend: Backend,
    name: str,
    *,
    clock: Clock,
    skip_locked: bool = False,
) -> Standing | None:
    """Hold the schedule *name* until the transaction ends; None if there is none.

    With *skip_locked*, also None while somebody else holds it.
    """
    query = (
        select(SCHEDULES, backend.now(clock).label("now"))
        .where(SCHEDULES.c.name == name)
        .with_for_update(key_share=True, skip_locked=skip_locked)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    values = {each: getattr(row, each) for each in Rule.__dataclass_fields__}
    return Standing(
        rule=Rule(**values),
        paused_at=row.paused_at,
        last_tick_at=row.last_tick_at,
        next_at=row.next_at,
        declared=row.declared,
        now=row.now,
    )


def change(
    connection: Connection,
    backend: Backend,
    rule: Rule,
    *,
    last_tick_at: datetime,
    next_at: datetime,
    clock: Clock,
) -> None:
    """Give the schedule of this name what *rule*, the program's, says now."""
    connection.execute(
        update(SCHEDULES)
        .where(SCHEDULES.c.name == rule.name)
        .values(
            **rule.as_declared,
            declared=rule.as_declared,
            last_tick_at=last_tick_at,
            next_at=next_at,
            updated_at=backend.now(clock),
        )
    )


def advance(
    connection: Connection, name: str, *, last_tick_at: datetime, next_at: datetime
) -> None:
    """Note that ticks up to *last_tick_at* have been dealt with."""
    connection.execute(
        update(SCHEDULES)
        .where(SCHEDULES.c.name == name)
        .values(last_tick_at=last_tick_at, next_at=next_at)
    )


def pause(connection: Connection, backend: Backend, name: str, clock: Clock) -> None:
    """Let the schedule *name* start nothing by itself."""
    now = backend.now(clock)
    connection.execute(
        update(SCHEDULES)
        .where(SCHEDULES.c.name == name, SCHEDULES.c.paused_at.is_(None))
        .values(paused_at=now, updated_at=now)
    )


def unpause(
    connection: Connection,
    backend: Backend,
    name: str,
    *,
    next_at: datetime,
    clock: Clock,
) -> None:
    """Let the schedule *name* go on from now; ticks meanwhile were not missed."""
    now = backend.now(clock)
    connection.execute(
        update(SCHEDULES)
        .where(SCHEDULES.c.name == name)
        .values(paused_at=null(), last_tick_at=now, next_at=next_at, updated_at=now)
    )


def remove(connection: Connection, name: str) -> None:
    """Forget the schedule *name*; the runs it started stay."""
    connection.execute(delete(SCHEDULES).where(SCHEDULES.c.name == name))


def names(connection: Connection) -> list[str]:
    """Return the names of every schedule, in order."""
    return list(connection.scalars(select(SCHEDULES.c.name).order_by(SCHEDULES.c.name)))


def list_all(session: Session) -> list[ScheduleRecord]:
    """Return every schedule, in order of name."""
    return list(session.scalars(select(ScheduleRecord).order_by(ScheduleRecord.name)))
