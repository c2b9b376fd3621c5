"""Streams: values in order, at offsets without gaps."""

from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import select

from operon.clock import Clock
from operon.models import StreamItem
from operon.store.dialect import Backend
from operon.store.events import Stored

STREAMS = cast("Table", StreamItem.__table__)

_PAGE = 500  # values read at once


def append(
    connection: Connection,
    backend: Backend,
    address: str,
    stream: str,
    stored: Stored,
    *,
    clock: Clock,
) -> int:
    """Write *stored* at the next offset of *stream*; return the offset.

    Raises:
        IntegrityError: The primary key: somebody else wrote there meanwhile; the
            transaction is to be tried again.
    """
    last = select(func.coalesce(func.max(STREAMS.c.offset), -1)).where(
        STREAMS.c.run_id == address, STREAMS.c.stream == stream
    )
    insertion = insert(STREAMS).values(
        run_id=address,
        stream=stream,
        offset=last.scalar_subquery() + 1,
        value=stored.value,
        codec=stored.codec,
        written_at=backend.now(clock),
    )
    offset: int = connection.execute(insertion.returning(STREAMS.c.offset)).scalar_one()
    return offset


def read(
    connection: Connection, address: str, stream: str, *, offset: int
) -> list[Stored]:
    """Return what follows in *stream* from *offset*, up to the first gap."""
    rows = connection.execute(
        select(STREAMS.c.offset, STREAMS.c.value, STREAMS.c.codec)
        .where(
            STREAMS.c.run_id == address,
            STREAMS.c.stream == stream,
            STREAMS.c.offset >= offset,
        )
        .order_by(STREAMS.c.offset)
        .limit(_PAGE)
    ).all()
    return [
        Stored(value=row.value, codec=row.codec)
        for place, row in enumerate(rows, start=offset)
        if row.offset == place
    ]
