"""How runs end: their outcomes, written only while the claim is the newest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import Text
from sqlalchemy import column
from sqlalchemy import func
from sqlalchemy import literal
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import ARRAY

from operon.clock import Clock
from operon.status import RunStatus
from operon.store.checkpoints import Lease
from operon.store.checkpoints import still_held
from operon.store.dialect import Backend
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
        statement = _finish_together(backend, finishes, clock)
        return set(connection.scalars(statement))
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


def _finish_together(backend: Backend, finishes: Sequence[Finish], clock: Clock) -> Any:
    columns: dict[str, tuple[Any, list[Any]]] = {
        "id": (Text, [each.lease.run_id for each in finishes]),
        "epoch": (Integer, [each.lease.epoch for each in finishes]),
        "status": (Text, [each.status.value for each in finishes]),
        "output": (Text, [each.output for each in finishes]),
        "error": (Text, [each.error for each in finishes]),
        "codec": (Text, [each.codec for each in finishes]),
    }
    told = (
        func
        .unnest(*(literal(rows, ARRAY(kind)) for kind, rows in columns.values()))
        .table_valued(*(column(name, kind) for name, (kind, _) in columns.items()))
        .render_derived("told")
    )
    held = (
        select(RUNS.c.id, *(told.c[name] for name in list(columns)[2:]))
        .join_from(RUNS, told, RUNS.c.id == told.c.id)
        .where(RUNS.c.epoch == told.c.epoch, RUNS.c.status == RunStatus.RUNNING)
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
            finished_at=backend.now(clock),
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
