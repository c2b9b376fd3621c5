"""The processes that work on runs."""

from datetime import datetime
from typing import Any

from sqlalchemy import Integer
from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from operon.models.base import JSON_VALUE
from operon.models.base import Base


class ExecutorRecord(Base):
    """A process that works on runs, and the heartbeat that proves it."""

    __tablename__ = "operon_executors"

    id: Mapped[str] = mapped_column()
    host: Mapped[str]
    boot_id: Mapped[str | None]
    pid_namespace: Mapped[str | None]
    pid: Mapped[int] = mapped_column(Integer)
    process_started: Mapped[str | None]
    """The process's start time in the kernel's own units; tells reused pids apart."""
    code_version: Mapped[str | None]
    workflows: Mapped[list[Any]] = mapped_column(JSON_VALUE)
    """The `[name, version]` pairs it can run."""
    queues: Mapped[list[Any]] = mapped_column(JSON_VALUE)
    """The queues it serves; none if it only runs what its own callers ask for."""
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    """Moves while the process lives and reaches the database."""

    __table_args__ = (PrimaryKeyConstraint("id"),)
