"""Requests with an idempotency key: claimed, answered and pruned.

The row is written in the transaction that does the work, so that key and effect are
there together. It is inserted before anything is read: whoever comes second waits for
the first to commit, and is then refused by the primary key at every isolation level.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from typing import cast

from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import literal
from sqlalchemy import select
from sqlalchemy import true
from sqlalchemy import tuple_
from sqlalchemy import update

from operon.clock import Clock
from operon.models import WebRequest
from operon.store.dialect import Backend

REQUESTS = cast("Table", WebRequest.__table__)


@dataclass(frozen=True, kw_only=True)
class RequestKey:
    """By what a request is known, and what it asked for."""

    scope: str
    key: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a request was answered, to be repeated as it was."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """A request that came before."""

    fingerprint: str
    run_id: str | None
    answer: Answer | None
    """None: its run tells, unless it is pruned."""
    is_pruned: bool


def claim(
    connection: Connection,
    backend: Backend,
    asked: RequestKey,
    run_id: str | None,
    *,
    patience: timedelta,
    clock: Clock,
    answer: Answer | None = None,
) -> None:
    """Write the row of *asked*, for the rest of the transaction and for ever.

    Args:
        connection: A transaction that has read nothing of the key.
        backend: The database's manners.
        asked: The request.
        run_id: The run that does its work, if one does.
        patience: How long to wait for another transaction with the same key.
        clock: Tells the time.
        answer: What it is answered, if that is known.

    Raises:
        IntegrityError: The key is taken.
        OperationalError: Whoever takes it has not committed in time.
    """
    values: dict[str, Any] = {
        "scope": asked.scope,
        "key": asked.key,
        "fingerprint": asked.fingerprint,
        "run_id": run_id,
        "received_at": backend.now(clock),
        **_columns(answer),
    }
    if backend.name == "postgresql":
        connection.execute(_within(values, patience))
    else:
        connection.execute(insert(REQUESTS).values(values))


def _within(values: Mapping[str, Any], patience: timedelta) -> Any:
    """Return an INSERT of *values* that waits for locks no longer than *patience*.

    The limit is for this statement alone: what it was before is restored by it.
    """
    limit = literal(str(round(patience.total_seconds() * 1000)))
    before = select(
        func.current_setting("lock_timeout").label("before"),
        func.set_config("lock_timeout", limit, true()).label("now"),
    ).cte("bound")
    bound = before.prefix_with("MATERIALIZED", dialect="postgresql")
    columns = [REQUESTS.c[name] for name in values]
    typed = [
        value if hasattr(value, "label") else literal(value, column.type)
        for value, column in zip(values.values(), columns, strict=True)
    ]
    written = (
        insert(REQUESTS)
        .from_select(list(values), select(*typed).select_from(bound))
        .returning(REQUESTS.c.key)
        .cte("written")
    )
    restored = func.set_config("lock_timeout", bound.c.before, true())
    return select(restored).select_from(bound.join(written, true()))


def answer(
    connection: Connection, asked: RequestKey, given: Answer, run_id: str | None
) -> None:
    """Add what *asked*, claimed in this transaction, is answered."""
    connection.execute(
        update(REQUESTS)
        .where(REQUESTS.c.scope == asked.scope, REQUESTS.c.key == asked.key)
        .values(run_id=run_id, **_columns(given))
    )


def find(connection: Connection, asked: RequestKey) -> Known | None:
    """Return what the key of *asked* was used for before, or None."""
    columns = ("fingerprint", "run_id", "status", "headers", "body", "pruned_at")
    row = (
        connection
        .execute(
            select(*(REQUESTS.c[name] for name in columns)).where(
                REQUESTS.c.scope == asked.scope, REQUESTS.c.key == asked.key
            )
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    given = None
    if row["status"] is not None:
        given = Answer(
            status=row["status"], headers=row["headers"] or {}, body=row["body"] or ""
        )
    return Known(
        fingerprint=row["fingerprint"],
        run_id=row["run_id"],
        answer=given,
        is_pruned=row["pruned_at"] is not None,
    )


def prune(
    connection: Connection,
    backend: Backend,
    *,
    answers: timedelta,
    keys: timedelta,
    most: int,
    clock: Clock,
) -> int:
    """Drop answers older than *answers*, and rows older than *keys*.

    Returns:
        How many rows were changed; if *most*, there may be more.
    """
    stale = _oldest(backend, answers, most, clock, pruned=False)
    emptied = connection.execute(
        update(REQUESTS)
        .where(_is_one_of(stale))
        .values(status=None, headers=None, body=None, pruned_at=backend.now(clock))
    )
    dead = _oldest(backend, keys, most, clock, pruned=True)
    gone = connection.execute(delete(REQUESTS).where(_is_one_of(dead)))
    return emptied.rowcount + gone.rowcount


def _oldest(
    backend: Backend, age: timedelta, most: int, clock: Clock, *, pruned: bool
) -> Any:
    """Select the keys of up to *most* requests that are older than *age*."""
    is_pruned = REQUESTS.c.pruned_at.is_not(None)
    return (
        select(REQUESTS.c.scope, REQUESTS.c.key)
        .where(
            is_pruned if pruned else ~is_pruned,
            REQUESTS.c.received_at < backend.after(clock, -age),
        )
        .order_by(REQUESTS.c.received_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )


def _is_one_of(selected: Any) -> Any:
    return tuple_(REQUESTS.c.scope, REQUESTS.c.key).in_(selected)


def _columns(given: Answer | None) -> dict[str, Any]:
    if given is None:
        return {}
    return {
        "status": given.status,
        "headers": dict(given.headers),
        "body": given.body,
    }
