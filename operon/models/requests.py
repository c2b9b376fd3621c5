"""What HTTP requests with an idempotency key came to."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy import Integer
from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy import text
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from operon.models.base import JSON_VALUE
from operon.models.base import Base


class WebRequest(Base):
    """A request that is answered once, however often it is sent.

    Its row is written in the transaction that does the work. Some time later the
    answer is pruned; the row stays for longer, as a tombstone that refuses the key.
    """

    __tablename__ = "operon_requests"

    scope: Mapped[str]
    """A hash of who asked; keys of different principals never meet."""
    key: Mapped[str]
    """The caller's idempotency key."""
    fingerprint: Mapped[str]
    """SHA-256 of what was asked, in hexadecimal."""
    run_id: Mapped[str | None]
    """The run that does the work; NULL if it was refused before there was one."""
    status: Mapped[int | None] = mapped_column(Integer)
    """The answer's HTTP status; NULL: the run tells, or the answer was pruned."""
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSON_VALUE)
    """The answer's headers that are repeated."""
    body: Mapped[str | None]
    """The answer's body, exactly as it was sent."""
    received_at: Mapped[datetime]
    pruned_at: Mapped[datetime | None]
    """When the answer was dropped."""

    __table_args__ = (
        PrimaryKeyConstraint("scope", "key"),
        Index(
            "ix_operon_requests_unpruned",
            "received_at",
            postgresql_where=text("pruned_at IS NULL"),
            sqlite_where=text("pruned_at IS NULL"),
        ),
        Index(
            "ix_operon_requests_pruned",
            "received_at",
            postgresql_where=text("pruned_at IS NOT NULL"),
            sqlite_where=text("pruned_at IS NOT NULL"),
        ),
    )
