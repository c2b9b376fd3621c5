"""Purging: removing ended runs with all that belongs to them, batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnClause
from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import and_
from sqlalchemy import column
from sqlalchemy import delete
from sqlalchemy import exc
from sqlalchemy import exists
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import table

from operon.models import Attempt
from operon.models import Checkpoint
from operon.models import Event
from operon.models import Message
from operon.models import StreamItem
from operon.status import FINAL
from operon.status import LIVE
from operon.store.runs import RUNS
from operon.store.runs import status_is

_BELONGINGS = (Checkpoint, Attempt, Message, Event, StreamItem)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one transaction of a purge did."""

    removed: int
    referenced: int
    """How many stay because rows of the application refer to them."""
    last: str | None
    """The id it came to; None if there is nothing left."""


def count(connection: Connection, before: datetime) -> int:
    """Return how many runs a purge of what ended *before* would look at."""
    found: int = connection.execute(
        select(func.count()).select_from(RUNS).where(_is_old(before))
    ).scalar_one()
    return found


def remove(
    connection: Connection, before: datetime, *, after: str | None, limit: int
) -> Batch:
    """Remove up to *limit* runs that ended *before*, and all that belongs to them.

    The rows of the runs go first, in the order of their ids and skipping those that
    somebody has locked, so that nobody finds a run whose history is half gone.

    Args:
        connection: Its transaction is the batch.
        before: A run's end (aware).
        after: The id to begin after; None for the beginning.
        limit: At most so many runs.
    """
    query = select(RUNS.c.id).where(_is_old(before))
    if after is not None:
        query = query.where(RUNS.c.id > after)
    locking = query.order_by(RUNS.c.id).limit(limit).with_for_update(skip_locked=True)
    ids = list(connection.scalars(locking))
    if not ids:
        return Batch(removed=0, referenced=0, last=None)
    referenced = _referenced(connection, ids)
    removed = _remove_runs(connection, [each for each in ids if each not in referenced])
    for model in _BELONGINGS:
        connection.execute(delete(model).where(model.run_id.in_(removed)))
    return Batch(removed=len(removed), referenced=len(ids) - len(removed), last=ids[-1])


def _is_old(before: datetime) -> ColumnElement[bool]:
    """Return the condition that a run has ended, and nobody live depends on it.

    Kept are the children of live runs, and the first run of a chain until its last
    can go: its id is the address of the chain.
    """
    ancestor, successor = RUNS.alias("ancestor"), RUNS.alias("successor")
    has_live_ancestor = exists().where(
        ancestor.c.id.in_([RUNS.c.parent_id, RUNS.c.root_id]),
        ancestor.c.status.in_(LIVE),
    )
    is_needed_by_its_chain = exists().where(
        successor.c.chain_id == RUNS.c.id,
        successor.c.continued_as.is_(None),
        or_(successor.c.status.in_(LIVE), successor.c.finished_at >= before),
    )
    return and_(
        status_is(*sorted(FINAL)),
        RUNS.c.finished_at < before,
        ~has_live_ancestor,
        ~is_needed_by_its_chain,
    )


def _referenced(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of *ids* rows of the application refer to, where nobody checks.

    SQLite enforces foreign keys only on connections that ask for it; PostgreSQL
    always does, and refuses the deletion itself.
    """
    if connection.dialect.name != "sqlite":
        return set()
    found: set[str] = set()
    for (_, name), keys in inspect(connection).get_multi_foreign_keys().items():
        for key in keys:
            if key["referred_table"] == RUNS.name:
                referring: ColumnClause[str] = column(key["constrained_columns"][0])
                query = select(referring).select_from(table(name))
                found.update(connection.scalars(query.where(referring.in_(ids))))
    return found


def _remove_runs(connection: Connection, ids: Sequence[str]) -> Sequence[str]:
    """Remove the rows of *ids*, but for those that rows of the application refer to."""
    if not ids:
        return ids
    try:
        with connection.begin_nested():
            connection.execute(delete(RUNS).where(RUNS.c.id.in_(ids)))
    except exc.IntegrityError:
        if len(ids) == 1:
            return []
        half = len(ids) // 2
        first = _remove_runs(connection, ids[:half])
        return [*first, *_remove_runs(connection, ids[half:])]
    return ids
