"""The backlog: what there is to do in each queue now, for whoever watches."""

from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy import func
from sqlalchemy import select

from operon.clock import Clock
from operon.hooks import QueueState
from operon.status import RunStatus
from operon.store.dialect import Backend
from operon.store.queues import QUEUES
from operon.store.runs import RUNS
from operon.store.runs import status_is


def backlog(
    connection: Connection, backend: Backend, *, clock: Clock
) -> list[QueueState]:
    """Return what is due in each queue that has a row or something due."""
    now = backend.now(clock)
    due = {
        name: (count, oldest, present)
        for name, count, oldest, present in connection.execute(
            select(
                RUNS.c.queue, func.count(), func.min(RUNS.c.due_at), now.label("now")
            )
            .where(status_is(RunStatus.ENQUEUED), RUNS.c.due_at <= now)
            .group_by(RUNS.c.queue)
        )
    }
    names = {*connection.scalars(select(QUEUES.c.name)), *due}
    return [_state(name, due.get(name)) for name in sorted(names)]


def _state(name: str, found: tuple[int, datetime, datetime] | None) -> QueueState:
    if found is None:
        return QueueState(name, 0, 0.0)
    count, oldest, present = found
    return QueueState(name, count, max(0.0, (present - oldest).total_seconds()))
