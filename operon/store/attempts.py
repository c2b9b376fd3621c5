"""Failed attempts of operations that were, or are to be, tried again."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import bindparam
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


NO_PAST = Past(attempts=0, errors=(), next_at=None)


def pasts(
    connection: Connection, run_ids: Collection[str]
) -> dict[str, dict[int, Past]]:
    """Return the failed attempts of each of *run_ids*, by position."""
    found: dict[str, dict[int, Past]] = {run_id: {} for run_id in run_ids}
    rows = connection.execute(_PASTS, {"of": list(run_ids)})
    for run_id, position, attempt, error, codec, next_at in rows:
        before = found[run_id].get(position, NO_PAST)
        errors = (*before.errors, (error, codec))
        found[run_id][position] = Past(attempts=attempt, errors=errors, next_at=next_at)
    return found


_PASTS = (
    select(
        Attempt.run_id,
        Attempt.position,
        Attempt.attempt,
        Attempt.error,
        Attempt.codec,
        Attempt.next_at,
    )
    .where(Attempt.run_id.in_(bindparam("of", expanding=True)))
    .order_by(Attempt.run_id, Attempt.position, Attempt.attempt)
)
