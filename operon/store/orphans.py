"""Runs whose executor is gone: taking them over."""

from collections.abc import Collection
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import Update
from sqlalchemy import bindparam
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy import update

from operon.clock import Clock
from operon.status import RunStatus
from operon.store.claims import Claimed
from operon.store.claims import Key
from operon.store.claims import claiming
from operon.store.claims import key
from operon.store.claims import taken
from operon.store.claims import takeovers
from operon.store.dialect import Backend
from operon.store.dialect import times
from operon.store.queues import limits_each_executor
from operon.store.runs import RUNS
from operon.store.runs import status_is


def claim_orphans(
    connection: Connection,
    backend: Backend,
    executor: str,
    *,
    gone: Collection[str],
    known: Collection[Key],
    limit: int,
    clock: Clock,
) -> list[Claimed]:
    """Give *executor* up to *limit* runs of the executors that are *gone*.

    Each counts one recovery more, or the first if the lost holder had recorded a
    checkpoint: only recoveries without progress bring a run to its limit.
    """
    now = times(backend, clock)
    lost = tuple(gone), tuple(known)
    connection.execute(_giving_back(backend, clock, *lost), now)
    statement = _claiming_orphans(backend, clock, executor, *lost)
    return taken(connection, statement, {"most": limit, **now})


@lru_cache(maxsize=32)
def _claiming_orphans(
    backend: Backend,
    clock: Clock,
    executor: str,
    gone: tuple[str, ...],
    known: tuple[Key, ...],
) -> Any:
    """Return the statement that takes over runs; there may be many to take."""
    orphans = select(RUNS.c.id).where(*_lost(gone, known))
    return claiming(
        backend,
        executor,
        orphans.limit(bindparam("most", type_=Integer)),
        clock,
        recoveries=takeovers(),
        lazily=True,
    )


def _lost(
    gone: tuple[str, ...], known: tuple[Key, ...]
) -> Sequence[ColumnElement[bool]]:
    return (
        status_is(RunStatus.RUNNING),
        RUNS.c.executor.in_(gone),
        key().in_(known),
    )


@lru_cache(maxsize=32)
def _giving_back(
    backend: Backend, clock: Clock, gone: tuple[str, ...], known: tuple[Key, ...]
) -> Update:
    """Return what enqueues lost runs of queues that limit each executor by itself.

    They are claimed as that limit allows, by whoever has room for them.
    """
    chosen = (
        select(RUNS.c.id)
        .where(*_lost(gone, known), limits_each_executor(RUNS.c.queue))
        .with_for_update(key_share=True, skip_locked=True)
        .cte("chosen")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return (
        update(RUNS)
        .where(RUNS.c.id == chosen.c.id)
        .values(
            status=RunStatus.ENQUEUED,
            executor=null(),
            epoch=RUNS.c.epoch + 1,
            recoveries=takeovers(),
            due_at=backend.now(clock),
        )
    )
