"""How runs end: their outcomes, written only while the claim is the newest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import Text
from sqlalchemy import bindparam
from sqlalchemy import column
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import ARRAY

from operon.clock import Clock
from operon.status import RunStatus
from operon.store.checkpoints import Lease
from operon.store.checkpoints import still_held
from operon.store.dialect import Backend
from operon.store.dialect import present
from operon.store.runs import RUNS


@dataclass(frozen=True, kw_only=True)
class Finish:
    """How a run ended, as its holder tells it."""

    lease: Lease
    status: RunStatus
    output: str | None = None
    error: str | None = None
    codec: str | None = None


def finish(
    connection: Connection,
    backend: Backend,
    finishes: Sequence[Finish],
    *,
    clock: Clock,
) -> set[str]:
    """Write how runs ended; return the ids of those whose lease still held.

    On PostgreSQL it is one statement for all, which locks the rows in order of id
    and commits asynchronously: steps are durable already, and a lost finish is
    found and sent again by the executor's heartbeat.
    """
    if backend.name == "postgresql":
        now = backend.told(clock)
        told: dict[str, Any] = {
            "ids": [each.lease.run_id for each in finishes],
            "epochs": [each.lease.epoch for each in finishes],
            "statuses": [each.status.value for each in finishes],
            "outputs": [each.output for each in finishes],
            "errors": [each.error for each in finishes],
            "codecs": [each.codec for each in finishes],
            **({} if now is None else {"now": now}),
        }
        statement = _together(backend, told=now is not None)
        return set(connection.scalars(statement, told))
    return {
        each.lease.run_id
        for each in finishes
        if connection.scalar(_finish_one(backend, each, clock)) is not None
    }


def _finish_one(backend: Backend, how: Finish, clock: Clock) -> Any:
    return (
        update(RUNS)
        .where(still_held(how.lease))
        .values(
            status=how.status,
            output=how.output,
            error=how.error,
            outcome_codec=how.codec,
            finished_at=backend.now(clock),
        )
        .returning(RUNS.c.id)
    )


@lru_cache(maxsize=32)
def _together(backend: Backend, *, told: bool) -> Any:
    """Return the statement that writes many finishes, made once: it is hot."""
    kinds: dict[str, Any] = {
        "id": ("ids", Text),
        "epoch": ("epochs", Integer),
        "status": ("statuses", Text),
        "output": ("outputs", Text),
        "error": ("errors", Text),
        "codec": ("codecs", Text),
    }
    finished = (
        func
        .unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in kinds.values()))
        .table_valued(*(column(name, kind) for name, (_, kind) in kinds.items()))
        .render_derived("finished")
    )
    held = (
        select(RUNS.c.id, *(finished.c[name] for name in list(kinds)[2:]))
        .join_from(RUNS, finished, RUNS.c.id == finished.c.id)
        .where(RUNS.c.epoch == finished.c.epoch, RUNS.c.status == RunStatus.RUNNING)
        .order_by(RUNS.c.id)
        .with_for_update(key_share=True, of=RUNS)
        .cte("held")
    )
    return (
        update(RUNS)
        .where(RUNS.c.id == held.c.id)
        .values(
            status=held.c.status,
            output=held.c.output,
            error=held.c.error,
            outcome_codec=held.c.codec,
            finished_at=present(told=told),
        )
        .returning(RUNS.c.id, *backend.lazy_commit())
    )


def continue_as(
    connection: Connection,
    backend: Backend,
    lease: Lease,
    next_id: str,
    *,
    clock: Clock,
) -> bool:
    """End the run of *lease* in favour of *next_id*, whose row is written as well.

    Returns:
        Whether the lease still held; if not, nothing of the transaction may stay.
    """
    statement = (
        update(RUNS)
        .where(still_held(lease))
        .values(
            status=RunStatus.SUCCEEDED,
            continued_as=next_id,
            finished_at=backend.now(clock),
        )
        .returning(RUNS.c.id)
    )
    return connection.execute(statement).scalar() is not None
