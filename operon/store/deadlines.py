"""Deadlines: telling runs to end whose time is over.

A deadline is delivered like a cancel. Which of the two a run was asked for first is
told by the times in its row, so nothing else has to be written.
"""

from collections.abc import Callable
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import and_
from sqlalchemy import select
from sqlalchemy import update

from operon.clock import Clock
from operon.status import LIVE
from operon.status import RunStatus
from operon.store import control
from operon.store.dialect import Backend
from operon.store.runs import RUNS
from operon.store.runs import status_is

Reason = Callable[[str], tuple[str, str | None]]
"""Returns the stored error of a run whose deadline has passed, and its codec."""


def is_overdue(backend: Backend, clock: Clock) -> ColumnElement[bool]:
    """Return the condition that a run has to be told to end."""
    return and_(
        RUNS.c.deadline_at.is_not(None),
        RUNS.c.deadline_at <= backend.now(clock),
        status_is(*LIVE),
        RUNS.c.cancel_requested_at.is_(None),
    )


def by_deadline(
    cancel_requested_at: datetime | None, deadline_at: datetime | None
) -> bool:
    """Tell whether it was the deadline that asked a run to end."""
    if cancel_requested_at is None or deadline_at is None:
        return False
    return cancel_requested_at >= deadline_at


def enforce(
    connection: Connection,
    backend: Backend,
    runs: Collection[str],
    *,
    reason: Reason,
    clock: Clock,
) -> None:
    """Tell those of *runs* to end whose deadline has passed; wait for no lock.

    A run that never began fails at once; a running or waiting one learns of it at
    its next operation, and may compensate.
    """
    chosen = (
        select(RUNS.c.id)
        .where(RUNS.c.id.in_(runs), is_overdue(backend, clock))
        .order_by(RUNS.c.id)
        .with_for_update(key_share=True, skip_locked=True)
    )
    for run_id in connection.scalars(chosen).all():
        control.request_cancel(connection, backend, run_id, clock=clock)
        error, codec = reason(run_id)
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run_id, status_is(RunStatus.CANCELLED))
            .values(status=RunStatus.FAILED, error=error, outcome_codec=codec)
        )
