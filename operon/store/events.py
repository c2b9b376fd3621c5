"""Events: the last value that was published under each key of an address."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import select

from operon.clock import Clock
from operon.models import Event
from operon.store.dialect import Backend
from operon.store.upsert import insert_or_replace

EVENTS = cast("Table", Event.__table__)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A value as it is stored."""

    value: str
    codec: str | None


def publish(
    connection: Connection,
    backend: Backend,
    address: str,
    key: str,
    stored: Stored,
    *,
    clock: Clock,
) -> None:
    """Make *stored* the value under *key*, in place of the one before."""
    values = {
        "run_id": address,
        "key": key,
        "value": stored.value,
        "codec": stored.codec,
        "published_at": backend.now(clock),
    }
    connection.execute(
        insert_or_replace(backend, EVENTS, values, key=("run_id", "key"))
    )


def find(connection: Connection, address: str, key: str) -> Stored | None:
    """Return the value under *key*, or None if none was published."""
    row = (
        connection
        .execute(
            select(EVENTS.c.value, EVENTS.c.codec).where(
                EVENTS.c.run_id == address, EVENTS.c.key == key
            )
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else Stored(**row)


def all_of(connection: Connection, address: str) -> dict[str, Stored]:
    """Return every value published under *address*, by key."""
    rows = connection.execute(
        select(EVENTS.c.key, EVENTS.c.value, EVENTS.c.codec)
        .where(EVENTS.c.run_id == address)
        .order_by(EVENTS.c.key)
    )
    return {row.key: Stored(value=row.value, codec=row.codec) for row in rows}
