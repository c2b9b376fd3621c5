"""Operon's tables as ORM classes, on a MetaData of their own.

They are public: query them, join them, point foreign keys and relationships at
them (`ForeignKey(WorkflowRun.id)`). Payload columns hold JSON text exactly as it
was encoded. Writing to them is Operon's business; nothing here sends a statement.

No foreign keys join Operon's own tables: each would lock the run's row at every
step. Every index that running work uses is partial on live rows, so the cost of a
step does not grow with the number of finished runs.
"""

from datetime import UTC
from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlalchemy import BigInteger
from sqlalchemy import DateTime
from sqlalchemy import Dialect
from sqlalchemy import Enum
from sqlalchemy import Index
from sqlalchemy import Integer
from sqlalchemy import MetaData
from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy import SmallInteger
from sqlalchemy import Text
from sqlalchemy import TypeDecorator
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import foreign
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import relationship

from operon.status import RunStatus


class UTCDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite, which has no zones, holds it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Turn an aware time into what the database stores."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Turn what the database stores into an aware time in UTC."""
        del dialect
        if value is None:
            return None
        return (
            value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        )


def _values(statuses: type[RunStatus]) -> list[str]:
    """Return what the database holds for *statuses*: their values, not their names."""
    return [status.value for status in statuses]


_STATUS = Enum(
    RunStatus,
    native_enum=False,
    create_constraint=False,
    length=16,
    values_callable=_values,
)
_JSON = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Base(DeclarativeBase):
    """The declarative base of Operon's tables."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {str: Text, datetime: UTCDateTime, dict[str, Any]: _JSON}  # noqa: RUF012 - SQLAlchemy reads a plain class attribute


class WorkflowRun(Base):
    """One durable execution of a workflow."""

    __tablename__ = "operon_runs"

    id: Mapped[str] = mapped_column()
    """The run's idempotency key: the caller's, or a UUIDv7."""
    workflow: Mapped[str]
    """The workflow's declared name."""
    version: Mapped[int] = mapped_column(Integer)
    """The workflow's declared version."""
    status: Mapped[RunStatus] = mapped_column(_STATUS)
    queue: Mapped[str] = mapped_column(default="default")
    """Where it waited, or waits, to be claimed."""
    priority: Mapped[int] = mapped_column(SmallInteger, default=0)
    """The smaller, the sooner."""
    input: Mapped[str]
    """The workflow's fields or the transaction's arguments: a JSON object."""
    output: Mapped[str | None]
    """What the body returned, as JSON. A transaction's is in its only checkpoint."""
    error: Mapped[str | None]
    """What the body raised, or why the run is dead, as JSON."""
    codec: Mapped[str | None]
    """The name of the payload codec that wrapped the input, if one did."""
    outcome_codec: Mapped[str | None]
    """The name of the payload codec that wrapped output or error, if one did."""
    fingerprint: Mapped[str]
    """SHA-256 of the encoded input, in hexadecimal; written once."""
    principal: Mapped[dict[str, Any] | None]
    """Who asked for the run; never a token."""
    attributes: Mapped[dict[str, Any] | None]
    """What its starter attached for finding it again."""
    parent_id: Mapped[str | None]
    """The run whose step or activity started it."""
    root_id: Mapped[str | None]
    """The first ancestor of a run that has a parent."""
    forked_from: Mapped[str | None]
    """The run whose checkpoints it was given when it was made."""
    executor: Mapped[str | None]
    """Who holds it, or held it last."""
    epoch: Mapped[int] = mapped_column(Integer, default=0)
    """The fence: grows with every claim, cancel and release, and never shrinks."""
    recoveries: Mapped[int] = mapped_column(Integer, default=0)
    """Takeovers since the last new checkpoint."""
    cancel_requested_at: Mapped[datetime | None]
    """When somebody asked to cancel it; its body learns of it at the next operation."""
    due_at: Mapped[datetime]
    """Not claimed before."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    """The first claim."""
    finished_at: Mapped[datetime | None]
    """When its status became final."""
    code_version: Mapped[str | None]
    """The application's version in the process that started it."""

    checkpoints: Mapped[list["Checkpoint"]] = relationship(
        primaryjoin=lambda: WorkflowRun.id == foreign(Checkpoint.run_id),
        order_by=lambda: Checkpoint.position,
        viewonly=True,
    )
    """The run's history, in order of position; read only."""

    __table_args__ = (
        PrimaryKeyConstraint("id"),
        Index(
            "ix_operon_runs_due",
            "queue",
            "priority",
            "due_at",
            postgresql_where=text("status = 'enqueued'"),
            sqlite_where=text("status = 'enqueued'"),
        ),
        Index(
            "ix_operon_runs_running",
            "executor",
            postgresql_where=text("status = 'running'"),
            sqlite_where=text("status = 'running'"),
        ),
        Index(
            "ix_operon_runs_attributes",
            "attributes",
            postgresql_using="gin",
            postgresql_ops={"attributes": "jsonb_path_ops"},
            postgresql_where=text("attributes IS NOT NULL"),
            sqlite_where=text("attributes IS NOT NULL"),
        ),
    )


class Checkpoint(Base):
    """The outcome of the operation at one position of a run; written once."""

    __tablename__ = "operon_checkpoints"

    run_id: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    """The ordinal of the operation in the run's history, from 1."""
    kind: Mapped[str]
    """What the operation is: `step`, `activity`, `transaction` or `cancel`."""
    name: Mapped[str]
    """The operation's declared name."""
    epoch: Mapped[int] = mapped_column(Integer)
    """The claim that wrote it. NOT NULL is the fence: a lost claim selects none."""
    output: Mapped[str | None]
    """What it returned, as JSON; NULL if it raised."""
    error: Mapped[str | None]
    """What it raised, as JSON; NULL if it returned."""
    codec: Mapped[str | None]
    """The name of the payload codec that wrapped output or error, if one did."""
    attempts: Mapped[int] = mapped_column(Integer)
    """How many attempts it took, this one included."""
    isolation: Mapped[str | None]
    """The isolation level of a step's transaction."""
    executor: Mapped[str]
    """Who wrote it."""
    started_at: Mapped[datetime]
    """When the recorded attempt began."""
    finished_at: Mapped[datetime]
    """When the record was sent, just before its COMMIT."""
    transaction_id: Mapped[int | None] = mapped_column(BigInteger)
    """PostgreSQL: `pg_current_xact_id()` of the commit; SQLite: a commit counter."""
    snapshot: Mapped[str | None]
    """PostgreSQL: `pg_current_snapshot()` of the transaction that wrote the rows."""

    __table_args__ = (PrimaryKeyConstraint("run_id", "position"),)


class Attempt(Base):
    """A failed attempt of an operation that was, or is to be, tried again."""

    __tablename__ = "operon_attempts"

    run_id: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    """From 1, counted over all executors that tried."""
    kind: Mapped[str]
    name: Mapped[str]
    epoch: Mapped[int] = mapped_column(Integer)
    """The claim that wrote it; the same fence as a checkpoint's."""
    error: Mapped[str]
    """What the attempt raised, as JSON."""
    codec: Mapped[str | None]
    """The name of the payload codec that wrapped the error, if one did."""
    traceback: Mapped[str | None]
    sqlstate: Mapped[str | None]
    """The database's own code, if the error came from it."""
    executor: Mapped[str]
    started_at: Mapped[datetime]
    failed_at: Mapped[datetime]
    next_at: Mapped[datetime | None]
    """When the next attempt is due; NULL if an operator asked for it."""

    __table_args__ = (PrimaryKeyConstraint("run_id", "position", "attempt"),)


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
    workflows: Mapped[list[Any]] = mapped_column(_JSON)
    """The `[name, version]` pairs it can run."""
    queues: Mapped[list[Any]] = mapped_column(_JSON)
    """The queues it serves; none if it only runs what its own callers ask for."""
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    """Moves while the process lives and reaches the database."""

    __table_args__ = (PrimaryKeyConstraint("id"),)
