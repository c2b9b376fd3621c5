"""What runs tell each other and the world: messages, events and streams.

All three are addressed to a run, or to the first of the chain it belongs to, so
that nothing has to move when a run continues as another.
"""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy import Identity
from sqlalchemy import Index
from sqlalchemy import Integer
from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy import text
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from operon.models.base import Base


class Message(Base):
    """A value sent to a run, read by it once."""

    __tablename__ = "operon_messages"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), Identity(), autoincrement=True
    )
    """Grows with each message of one sender, so a topic is read in this order."""
    run_id: Mapped[str]
    """The address: a run, or the first run of its chain."""
    topic: Mapped[str]
    message: Mapped[str]
    """The value, as JSON."""
    codec: Mapped[str | None]
    """The name of the payload codec that wrapped the value, if one did."""
    idempotency_key: Mapped[str | None]
    """The same key is written once to one address; NULL for no such promise."""
    sender: Mapped[str | None]
    """The run that sent it; NULL from outside."""
    sent_at: Mapped[datetime]
    received_by: Mapped[str | None]
    """The run that read it; NULL while it is unread."""
    position: Mapped[int | None] = mapped_column(Integer)
    """Where in that run's history."""

    __table_args__ = (
        PrimaryKeyConstraint("id"),
        Index(
            "ix_operon_messages_unread",
            "run_id",
            "topic",
            "id",
            postgresql_where=text("received_by IS NULL"),
            sqlite_where=text("received_by IS NULL"),
        ),
        Index("uq_operon_messages_key", "run_id", "idempotency_key", unique=True),
        {"sqlite_autoincrement": True},  # an id is never used again after a purge
    )


class Event(Base):
    """The last value a run has published under a key."""

    __tablename__ = "operon_events"

    run_id: Mapped[str]
    key: Mapped[str]
    value: Mapped[str]
    """As JSON."""
    codec: Mapped[str | None]
    """The name of the payload codec that wrapped the value, if one did."""
    published_at: Mapped[datetime]

    __table_args__ = (PrimaryKeyConstraint("run_id", "key"),)


class StreamItem(Base):
    """One value of a stream; written once, never changed."""

    __tablename__ = "operon_streams"

    run_id: Mapped[str]
    stream: Mapped[str]
    offset: Mapped[int] = mapped_column(Integer)
    """Its place in the stream, from 0, without gaps."""
    value: Mapped[str]
    """As JSON."""
    codec: Mapped[str | None]
    """The name of the payload codec that wrapped the value, if one did."""
    written_at: Mapped[datetime]

    __table_args__ = (PrimaryKeyConstraint("run_id", "stream", "offset"),)
