"""What decides when runs begin: queues with their limits, and schedules."""

from datetime import datetime
from datetime import timedelta
from typing import Any

from sqlalchemy import Boolean
from sqlalchemy import Integer
from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from operon.models.base import Base


class QueueRecord(Base):
    """A queue that some executor serves or has served; its limits can be edited."""

    __tablename__ = "operon_queues"

    name: Mapped[str]
    concurrency: Mapped[int | None] = mapped_column(Integer)
    """How many of its runs execute at once; NULL is without limit."""
    per_executor: Mapped[int | None] = mapped_column(Integer)
    """How many of them on one executor; NULL is without limit."""
    rate_limit: Mapped[int | None] = mapped_column(Integer)
    """How many begin within any `rate_period`; NULL is without limit."""
    rate_period: Mapped[timedelta | None]
    partitioned: Mapped[bool] = mapped_column(Boolean)
    """Whether the limits hold for each partition by itself."""
    paused_at: Mapped[datetime | None]
    """Since when nothing is claimed from it; NULL while it is not paused."""
    declared: Mapped[dict[str, Any] | None]
    """What the program said last; only when it says something else do edits go."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (PrimaryKeyConstraint("name"),)


class QueuePartition(Base):
    """What is locked to claim from a queue with limits, and its recent first claims."""

    __tablename__ = "operon_partitions"

    queue: Mapped[str]
    partition: Mapped[str]
    """Empty for a queue that is not partitioned."""
    recent: Mapped[str | None]
    """First claims within the rate's period: JSON pairs of time and count."""

    __table_args__ = (PrimaryKeyConstraint("queue", "partition"),)


class ScheduleRecord(Base):
    """A rule that starts runs of a workflow at the ticks of a cron line."""

    __tablename__ = "operon_schedules"

    name: Mapped[str]
    cron: Mapped[str]
    timezone: Mapped[str]
    """The IANA name of the zone whose clock the cron line means."""
    workflow: Mapped[str]
    version: Mapped[int] = mapped_column(Integer)
    input: Mapped[str]
    """What every run gets: a JSON object, without the tick."""
    takes_tick: Mapped[bool] = mapped_column(Boolean)
    """Whether each run also gets its tick, as the input's member `tick`."""
    queue: Mapped[str]
    catch_up: Mapped[str]
    """What becomes of missed ticks: `skip`, `one` (the last) or `all`."""
    paused_at: Mapped[datetime | None]
    """Since when it starts nothing; NULL while it is not paused."""
    last_tick_at: Mapped[datetime]
    """Ticks up to here have been dealt with, whatever is purged since."""
    next_at: Mapped[datetime]
    """The first tick after that."""
    declared: Mapped[dict[str, Any] | None]
    """What the program said last; only when it says something else do edits go."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (PrimaryKeyConstraint("name"),)
