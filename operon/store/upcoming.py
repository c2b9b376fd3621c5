"""What is to come: when there will be something to do by time alone."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import tuple_
from sqlalchemy import union_all

from operon.models import ScheduleRecord
from operon.status import LIVE
from operon.status import RunStatus
from operon.store.claims import Key
from operon.store.runs import RUNS
from operon.store.runs import status_is


def upcoming(
    connection: Connection, *, known: Collection[Key], after: datetime
) -> datetime | None:
    """Return the first moment after *after* at which a run or a schedule is due.

    Args:
        connection: Only reads.
        known: The workflows and versions whose schedules count.
        after: By the clock of whoever asks; taken before a look for what is due.
    """
    key = tuple_(ScheduleRecord.workflow, ScheduleRecord.version)
    moments = (
        select(RUNS.c.due_at.label("at")).where(status_is(RunStatus.ENQUEUED)),
        select(RUNS.c.wake_at).where(status_is(RunStatus.WAITING)),
        select(RUNS.c.deadline_at).where(
            status_is(*LIVE), RUNS.c.cancel_requested_at.is_(None)
        ),
        select(ScheduleRecord.next_at).where(
            key.in_(known), ScheduleRecord.paused_at.is_(None)
        ),
    )
    each = union_all(*moments).subquery()
    first = select(func.min(each.c.at)).where(each.c.at > after)
    found: datetime | None = connection.scalar(first)
    return found
