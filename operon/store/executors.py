"""Executors as rows: announcing oneself, the heartbeat, and watching the others."""

from collections.abc import Collection
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import Table
from sqlalchemy import Text
from sqlalchemy import cast as cast_sql
from sqlalchemy import delete
from sqlalchemy import insert
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy import union_all
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import ExecutorRecord
from operon.status import RunStatus
from operon.store.dialect import Backend
from operon.store.runs import RUNS
from operon.store.runs import status_is

EXECUTORS = cast("Table", ExecutorRecord.__table__)


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What an executor says of itself."""

    id: str
    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    process_started: str | None
    code_version: str | None
    workflows: Sequence[Any]
    queues: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another executor, as it was last seen."""

    id: str
    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    process_started: str | None
    heartbeat_at: datetime


def announce(
    connection: Connection, backend: Backend, presence: Presence, *, clock: Clock
) -> None:
    """Write the row of an executor that has none.

    Like a heartbeat, its COMMIT waits for nothing: a lost row is written again.
    """
    now = backend.now(clock)
    row = {**asdict(presence), "started_at": now, "heartbeat_at": now}
    insertion = insert(EXECUTORS).values(row)
    connection.execute(insertion.returning(EXECUTORS.c.id, *backend.lazy_commit()))


def beat(
    connection: Connection,
    backend: Backend,
    presence: Presence,
    *,
    clock: Clock,
) -> bool:
    """Move the heartbeat of *presence*; return False if its row is gone.

    Its COMMIT does not wait for the disk, nor for a standby that is away.
    """
    statement = (
        update(EXECUTORS)
        .where(EXECUTORS.c.id == presence.id)
        .values(
            heartbeat_at=backend.now(clock),
            workflows=presence.workflows,
            queues=presence.queues,
        )
        .returning(EXECUTORS.c.id, *backend.lazy_commit())
    )
    return connection.execute(statement).first() is not None


def peers(connection: Connection, *, but: str) -> list[Peer]:
    """Return the executors other than *but*."""
    rows = connection.execute(
        select(*(EXECUTORS.c[name] for name in Peer.__dataclass_fields__)).where(
            EXECUTORS.c.id != but
        )
    )
    return [Peer(**row) for row in rows.mappings()]


@dataclass(frozen=True)
class Holdings:
    """Who the database says is running what, as far as it concerns one executor."""

    own: dict[str, int]
    """The runs it holds itself, with their epochs."""
    strangers: set[str]
    """Who holds a running run without having a row of its own."""


def holdings(connection: Connection, executor: str) -> Holdings:
    """Return what *executor* holds, and which holders are unknown; one statement."""
    running = status_is(RunStatus.RUNNING)
    own = select(RUNS.c.id, RUNS.c.epoch, RUNS.c.executor).where(
        running, RUNS.c.executor == executor
    )
    # a stranger may hold very many
    strange = (
        select(cast_sql(null(), Text), cast_sql(null(), Integer), RUNS.c.executor)
        .distinct()
        .where(
            running,
            RUNS.c.executor != executor,
            RUNS.c.executor.not_in(select(EXECUTORS.c.id)),
        )
    )
    rows = connection.execute(union_all(own, strange)).all()
    return Holdings(
        own={row.id: row.epoch for row in rows if row.executor == executor},
        strangers={row.executor for row in rows if row.executor != executor},
    )


def forget(connection: Connection, executor: str) -> None:
    """Remove the row of *executor*."""
    connection.execute(delete(EXECUTORS).where(EXECUTORS.c.id == executor))


def forget_idle(connection: Connection, gone: Collection[str]) -> None:
    """Remove the rows of executors that are *gone* and hold no run any more."""
    holding = select(RUNS.c.executor).where(
        status_is(RunStatus.RUNNING), RUNS.c.executor.in_(gone)
    )
    connection.execute(
        delete(EXECUTORS).where(
            EXECUTORS.c.id.in_(gone), EXECUTORS.c.id.not_in(holding)
        )
    )


def list_all(session: Session) -> list[ExecutorRecord]:
    """Return every executor, the newest heartbeat first."""
    query = select(ExecutorRecord).order_by(ExecutorRecord.heartbeat_at.desc())
    return list(session.scalars(query))
