"""Runs: one row for each durable execution of a workflow."""

from datetime import datetime
from datetime import timedelta
from typing import Any

from sqlalchemy import Enum
from sqlalchemy import Index
from sqlalchemy import Integer
from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy import SmallInteger
from sqlalchemy import text
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import foreign
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import relationship

from operon.models.base import Base
from operon.models.history import Checkpoint
from operon.status import RunStatus


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


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Return an index of the rows for which *where* holds, and of no others."""
    condition = text(where)
    return Index(
        name,
        *columns,
        unique=unique,
        postgresql_where=condition,
        sqlite_where=condition,
    )


_LIVE = "status IN ('enqueued', 'running', 'waiting')"


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
    partition: Mapped[str | None]
    """The part of a partitioned queue whose limits hold for it."""
    deduplication_key: Mapped[str | None]
    """While the run is live, no other of its queue has this key."""
    debounce_key: Mapped[str | None]
    """Until the run begins, starting with this key again replaces its input."""
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
    """The run whose body, step or activity started it."""
    root_id: Mapped[str | None]
    """The first ancestor of a run that has a parent."""
    forked_from: Mapped[str | None]
    """The run whose checkpoints it was given when it was made."""
    chain_id: Mapped[str | None]
    """The first run of its chain, made by `continue_as`; mail is addressed there."""
    continued_as: Mapped[str | None]
    """The run that goes on where this one ended, made by `continue_as`."""
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
    timeout: Mapped[timedelta | None]
    """How long it may take; counted from its first claim if it waited in a queue."""
    deadline_at: Mapped[datetime | None]
    """When it is told to end; its children inherit it."""
    wait_kind: Mapped[str | None]
    """What it waits for: `sleep`, `receive`, `event`, `result` or `retry`."""
    wait_on: Mapped[str | None]
    """Of which run: its own address for a message, else the other run's id."""
    wait_key: Mapped[str | None]
    """Which topic or event."""
    wait_position: Mapped[int | None] = mapped_column(Integer)
    """The position of the operation that waits."""
    wait_until: Mapped[datetime | None]
    """When that operation gives up waiting."""
    wake_at: Mapped[datetime | None]
    """When a waiting run is woken by time: NULL if only by what it waits for."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    """The first claim."""
    finished_at: Mapped[datetime | None]
    """When its status became final."""
    code_version: Mapped[str | None]
    """The application's version in the process that started it."""
    traceparent: Mapped[str | None]
    """In which trace it was started, by W3C Trace Context; so that it is continued."""
    tracestate: Mapped[str | None]

    checkpoints: Mapped[list["Checkpoint"]] = relationship(
        primaryjoin=lambda: WorkflowRun.id == foreign(Checkpoint.run_id),
        order_by=lambda: Checkpoint.position,
        viewonly=True,
    )
    """The run's history, in order of position; read only."""

    __table_args__ = (
        PrimaryKeyConstraint("id"),
        _partial(
            "ix_operon_runs_due",
            "queue",
            "priority",
            "due_at",
            where="status = 'enqueued'",
        ),
        _partial(
            "ix_operon_runs_partition",
            "queue",
            "partition",
            "priority",
            "due_at",
            where="partition IS NOT NULL AND status = 'enqueued'",
        ),
        _partial("ix_operon_runs_running", "executor", where="status = 'running'"),
        _partial("ix_operon_runs_wake", "wake_at", where="status = 'waiting'"),
        _partial(
            "ix_operon_runs_wait",
            "wait_on",
            where="wait_on IS NOT NULL AND status = 'waiting'",
        ),
        _partial(
            "ix_operon_runs_deadline",
            "deadline_at",
            where=f"deadline_at IS NOT NULL AND {_LIVE}",
        ),
        _partial(
            "ix_operon_runs_parent",
            "parent_id",
            where=f"parent_id IS NOT NULL AND {_LIVE}",
        ),
        _partial(
            "ix_operon_runs_chain",
            "chain_id",
            where="chain_id IS NOT NULL AND continued_as IS NULL",
        ),
        _partial(
            "uq_operon_runs_deduplication",
            "queue",
            "deduplication_key",
            where=f"deduplication_key IS NOT NULL AND {_LIVE}",
            unique=True,
        ),
        _partial(
            "uq_operon_runs_debounce",
            "queue",
            "debounce_key",
            where="debounce_key IS NOT NULL AND status = 'enqueued' "
            "AND started_at IS NULL",
            unique=True,
        ),
        Index(
            "ix_operon_runs_principal",
            "principal",
            postgresql_using="gin",
            postgresql_ops={"principal": "jsonb_path_ops"},
            postgresql_where=text("principal IS NOT NULL"),
            sqlite_where=text("principal IS NOT NULL"),
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
