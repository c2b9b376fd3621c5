"""A run's history: its checkpoints, and the attempts that failed before them."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy import Integer
from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from operon.models.base import Base


class Checkpoint(Base):
    """The outcome of the operation at one position of a run; written once."""

    __tablename__ = "operon_checkpoints"

    run_id: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    """The ordinal of the operation in the run's history, from 1."""
    kind: Mapped[str]
    """What the operation is: `step`, `activity`, `sleep`, `receive`, `cancel`, …"""
    name: Mapped[str]
    """The operation's declared name."""
    epoch: Mapped[int] = mapped_column(Integer)
    """The claim that wrote it. NOT NULL is the fence: a lost claim selects none."""
    open_from: Mapped[int | None] = mapped_column(Integer)
    """From where on, right below it, the body knew no outcome when this began.

    NULL where operations followed each other. Only such positions may be missing.
    """
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
