"""Failed attempts of operations that were, or are to be, tried again."""

from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import select

from operon.clock import Clock
from operon.models import Attempt
from operon.store.checkpoints import FENCE
from operon.store.checkpoints import Lease
from operon.store.checkpoints import held
from operon.store.dialect import Backend

ATTEMPTS = cast("Table", Attempt.__table__)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One attempt that failed, and when the next one is due."""

    position: int
    kind: str
    name: str
    error: str
    codec: str | None
    traceback: str | None
    sqlstate: str | None
    started_at: datetime
    next_in: timedelta


def record(
    connection: Connection,
    backend: Backend,
    lease: Lease,
    failure: Failure,
    *,
    clock: Clock,
) -> None:
    """Write *failure* under the next free attempt number, unless *lease* is void.

    Raises:
        IntegrityError: NOT NULL of `epoch`: the fence, as for a checkpoint.
    """
    last = select(func.max(Attempt.attempt)).where(
        Attempt.run_id == lease.run_id, Attempt.position == failure.position
    )
    connection.execute(
        insert(ATTEMPTS).values(
            run_id=lease.run_id,
            position=failure.position,
            attempt=func.coalesce(last.scalar_subquery(), 0) + 1,
            kind=failure.kind,
            name=failure.name,
            error=failure.error,
            codec=failure.codec,
            traceback=failure.traceback,
            sqlstate=failure.sqlstate,
            epoch=FENCE,
            executor=lease.executor,
            started_at=failure.started_at,
            failed_at=backend.now(clock),
            next_at=backend.after(clock, failure.next_in),
        ),
        held(lease),
    )


@dataclass(frozen=True, kw_only=True)
class Past:
    """What earlier attempts of one operation left behind."""

    attempts: int
    errors: tuple[tuple[str, str | None], ...]
    """The recorded errors with the names of their codecs, oldest first."""
    next_at: datetime | None
    """When the next attempt is due."""


def past(connection: Connection, run_id: str, position: int) -> Past:
    """Return the failed attempts of *run_id* at *position*."""
    rows = connection.execute(
        select(Attempt.attempt, Attempt.error, Attempt.codec, Attempt.next_at)
        .where(Attempt.run_id == run_id, Attempt.position == position)
        .order_by(Attempt.attempt)
    ).all()
    return Past(
        attempts=rows[-1].attempt if rows else 0,
        errors=tuple((row.error, row.codec) for row in rows),
        next_at=rows[-1].next_at if rows else None,
    )
