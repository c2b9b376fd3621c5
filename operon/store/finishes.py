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
from operon.store.checkpoints import IS_HELD
from operon.store.checkpoints import Lease
from operon.store.checkpoints import held
from operon.store.checkpoints import still_held
from operon.store.dialect import Backend
from operon.store.direct import Direct
from operon.store.direct import Statement
from operon.store.present import present
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
    connection: Connection | Direct,
    backend: Backend,
    finishes: Sequence[Finish],
    *,
    clock: Clock,
) -> set[str]:
    """Write how runs ended; return the ids of those whose lease still held.

    Several are one statement on PostgreSQL, which locks the rows in order of id. It
    commits asynchronously: steps are durable already, and a lost finish is found and
    sent again by the executor's heartbeat.
    """
    now = backend.told(clock)
    told = {} if now is None else {"now": now}
    if backend.name == "postgresql" and len(finishes) > 1:
        values = {**_listed(finishes), **told}
        rows = _together(backend, tuple(values)).rows(connection, values)
        return {run_id for run_id, *_ in rows}
    written: set[str] = set()
    for each in finishes:
        values = {**_named(each), **told}
        rows = _alone(backend, tuple(values)).rows(connection, values)
        written.update(run_id for run_id, *_ in rows)
    return written


def _named(how: Finish) -> dict[str, Any]:
    """Return the parameters of a statement for one finish."""
    return {
        **held(how.lease),
        "ended_as": how.status,
        "its_output": how.output,
        "its_error": how.error,
        "its_codec": how.codec,
    }


def _listed(finishes: Sequence[Finish]) -> dict[str, Any]:
    """Return the parameters of a statement for many."""
    return {
        "ids": [each.lease.run_id for each in finishes],
        "executors": [each.lease.executor for each in finishes],
        "epochs": [each.lease.epoch for each in finishes],
        "statuses": [each.status.value for each in finishes],
        "outputs": [each.output for each in finishes],
        "errors": [each.error for each in finishes],
        "codecs": [each.codec for each in finishes],
    }


@lru_cache(maxsize=64)
def _alone(backend: Backend, names: tuple[str, ...]) -> Statement:
    """Return the statement that writes one finish."""
    written = (
        update(RUNS)
        .where(IS_HELD)
        .values(
            status=bindparam("ended_as", type_=RUNS.c.status.type),
            output=bindparam("its_output", type_=Text),
            error=bindparam("its_error", type_=Text),
            outcome_codec=bindparam("its_codec", type_=Text),
            finished_at=present(told="now" in names),
        )
        .returning(RUNS.c.id, *backend.lazy_commit())
    )
    return backend.statement(written, names)


@lru_cache(maxsize=64)
def _together(backend: Backend, names: tuple[str, ...]) -> Statement:
    """Return the statement that writes many finishes."""
    kinds: dict[str, Any] = {
        "id": ("ids", Text),
        "executor": ("executors", Text),
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
    live = (
        select(RUNS.c.id, *(finished.c[name] for name in list(kinds)[3:]))
        .join_from(RUNS, finished, RUNS.c.id == finished.c.id)
        .where(
            RUNS.c.executor == finished.c.executor,
            RUNS.c.epoch == finished.c.epoch,
            RUNS.c.status == RunStatus.RUNNING,
        )
        .order_by(RUNS.c.id)
        .with_for_update(key_share=True, of=RUNS)
        .cte("live")
    )
    written = (
        update(RUNS)
        .where(RUNS.c.id == live.c.id)
        .values(
            status=live.c.status,
            output=live.c.output,
            error=live.c.error,
            outcome_codec=live.c.codec,
            finished_at=present(told="now" in names),
        )
        .returning(RUNS.c.id, *backend.lazy_commit())
    )
    return backend.statement(written, names)


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
