"""Messages: sent to an address, read once, in order."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import literal
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy import update

from operon.clock import Clock
from operon.models import Message
from operon.store.dialect import Backend
from operon.store.upsert import insert_unless_there

MESSAGES = cast("Table", Message.__table__)


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A message that is to be sent."""

    topic: str
    message: str
    codec: str | None = None
    idempotency_key: str | None = None
    sender: str | None = None


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A message that waits to be read."""

    id: int
    message: str
    codec: str | None


def send(
    connection: Connection,
    backend: Backend,
    address: str,
    letter: Letter,
    *,
    clock: Clock,
) -> None:
    """Write *letter* to *address*, unless one with its idempotency key is there."""
    connection.execute(
        insert_unless_there(backend, MESSAGES).values(
            run_id=address,
            topic=letter.topic,
            message=letter.message,
            codec=letter.codec,
            idempotency_key=letter.idempotency_key,
            sender=letter.sender,
            sent_at=backend.now(clock),
        )
    )


def first_unread(connection: Connection, address: str, topic: str) -> Unread | None:
    """Return the message that is read next, or None."""
    query = (
        select(MESSAGES.c.id, MESSAGES.c.message, MESSAGES.c.codec)
        .where(
            MESSAGES.c.run_id == address,
            MESSAGES.c.topic == topic,
            MESSAGES.c.received_by.is_(None),
        )
        .order_by(MESSAGES.c.id)
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Unread(**row)


def mark_read(
    connection: Connection, message: Unread, run_id: str, position: int
) -> None:
    """Note that *run_id* has read *message* at *position*; it is never read again."""
    connection.execute(
        update(MESSAGES)
        .where(MESSAGES.c.id == message.id)
        .values(received_by=run_id, position=position)
    )


def mark_unread(connection: Connection, run_id: str, position: int) -> None:
    """Let what *run_id* has read at *position* be read again: it is redone."""
    connection.execute(
        update(MESSAGES)
        .where(
            MESSAGES.c.received_by == literal(run_id),
            MESSAGES.c.position == position,
        )
        .values(received_by=null(), position=null())
    )
