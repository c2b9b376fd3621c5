"""What an operator does to a run: cancel, resume, retry, fork."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Integer
from sqlalchemy import and_
from sqlalchemy import case
from sqlalchemy import delete
from sqlalchemy import exists
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import literal
from sqlalchemy import null
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import update

from operon.clock import Clock
from operon.models import Attempt
from operon.models import Checkpoint
from operon.status import FINAL
from operon.status import LIVE
from operon.status import RunStatus
from operon.store.attempts import ATTEMPTS
from operon.store.checkpoints import CHECKPOINTS
from operon.store.dialect import Backend
from operon.store.runs import RUNS
from operon.store.runs import status_is


@dataclass(frozen=True, kw_only=True)
class Brief:
    """The little that decides whether an operator's wish can be granted."""

    status: RunStatus
    cancel_requested_at: datetime | None
    continued_as: str | None


def live_children(connection: Connection, parents: Collection[str]) -> list[str]:
    """Return the live runs that *parents* have started, or their chains before them."""
    query = select(RUNS.c.id).where(status_is(*LIVE), RUNS.c.parent_id.is_not(None))
    chains = connection.scalars(
        select(RUNS.c.chain_id).where(
            RUNS.c.id.in_(parents), RUNS.c.chain_id.is_not(None)
        )
    ).all()
    of_parents: ColumnElement[bool] = RUNS.c.parent_id.in_(parents)
    if chains:
        earlier = RUNS.alias("earlier")
        of_parents |= exists().where(
            earlier.c.id == RUNS.c.parent_id,
            or_(earlier.c.id.in_(chains), earlier.c.chain_id.in_(chains)),
        )
    found = connection.scalars(query.where(of_parents).order_by(RUNS.c.id))
    return [each for each in found if each not in parents]


def lock(connection: Connection, run_id: str) -> Brief | None:
    """Hold the row of *run_id* until the transaction ends; None if there is none.

    A pending checkpoint of the run is waited for; none can be written meanwhile.
    """
    query = (
        select(RUNS.c.status, RUNS.c.cancel_requested_at, RUNS.c.continued_as)
        .where(RUNS.c.id == run_id)
        .with_for_update(key_share=True)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Brief(**row)


def request_cancel(
    connection: Connection, backend: Backend, run_id: str, *, clock: Clock
) -> None:
    """Ask the body of *run_id* to end; a run that never began ends at once.

    Raising the epoch makes the database refuse what the running body does next,
    so its executor learns of the wish there. Asking again changes nothing.
    """
    now = backend.now(clock)
    never_began = and_(
        RUNS.c.status == RunStatus.ENQUEUED,
        RUNS.c.started_at.is_(None),
        ~exists().where(Checkpoint.run_id == RUNS.c.id),
    )
    connection.execute(
        update(RUNS)
        .where(
            RUNS.c.id == run_id,
            RUNS.c.status.not_in(FINAL),
            RUNS.c.cancel_requested_at.is_(None),
        )
        .values(
            cancel_requested_at=now,
            epoch=RUNS.c.epoch + 1,
            status=case((never_began, RunStatus.CANCELLED), else_=RUNS.c.status),
            finished_at=case((never_began, now), else_=null()),
            due_at=case(
                (RUNS.c.status == RunStatus.ENQUEUED, now), else_=RUNS.c.due_at
            ),
            wake_at=case((RUNS.c.status == RunStatus.WAITING, now), else_=null()),
        )
    )


def force_cancel(
    connection: Connection, backend: Backend, run_id: str, *, clock: Clock
) -> None:
    """End *run_id* at once, without asking its body; a finished run is left alone."""
    now = backend.now(clock)
    connection.execute(
        update(RUNS)
        .where(RUNS.c.id == run_id, RUNS.c.status.not_in(FINAL))
        .values(
            status=RunStatus.CANCELLED,
            epoch=RUNS.c.epoch + 1,
            finished_at=now,
        )
    )


def enqueue_again(
    connection: Connection, backend: Backend, run_id: str, *, clock: Clock
) -> None:
    """Let any executor continue the ended run *run_id* from its history."""
    connection.execute(
        update(RUNS)
        .where(RUNS.c.id == run_id)
        .values(
            status=RunStatus.ENQUEUED,
            executor=null(),
            epoch=RUNS.c.epoch + 1,
            recoveries=0,
            error=null(),
            output=null(),
            outcome_codec=null(),
            cancel_requested_at=null(),
            finished_at=null(),
            due_at=backend.now(clock),
            deduplication_key=null(),  # another run may hold it by now
            timeout=null(),  # whoever wants it to go on wants that
            deadline_at=null(),
        )
    )


def free_position(
    connection: Connection,
    backend: Backend,
    run_id: str,
    position: int,
    *,
    clock: Clock,
) -> None:
    """Move the failed checkpoint at *position* to the attempts; it waits anew.

    Only together with a raised epoch in the same transaction: a holder of the old
    claim must not fill the position again.
    """
    last = select(func.coalesce(func.max(Attempt.attempt), 0)).where(
        Attempt.run_id == run_id, Attempt.position == position
    )
    moved = select(
        CHECKPOINTS.c.run_id,
        CHECKPOINTS.c.position,
        (last.scalar_subquery() + 1).cast(Integer),
        CHECKPOINTS.c.kind,
        CHECKPOINTS.c.name,
        CHECKPOINTS.c.error,
        CHECKPOINTS.c.codec,
        CHECKPOINTS.c.epoch,
        CHECKPOINTS.c.executor,
        CHECKPOINTS.c.started_at,
        backend.now(clock),
    ).where(_at(run_id, position))
    columns = (
        "run_id position attempt kind name error codec epoch executor started_at "
        "failed_at"
    )
    connection.execute(insert(ATTEMPTS).from_select(columns.split(), moved))
    connection.execute(delete(CHECKPOINTS).where(_at(run_id, position)))
    connection.execute(
        update(RUNS).where(RUNS.c.id == run_id).values(wait_position=null())
    )


def copy(
    connection: Connection,
    backend: Backend,
    run_id: str,
    new_id: str,
    *,
    before: int,
    clock: Clock,
) -> None:
    """Make the run *new_id* from *run_id* and its checkpoints *before* a position."""
    now = backend.now(clock)
    fresh: dict[str, Any] = {
        "id": literal(new_id),
        "status": literal(RunStatus.ENQUEUED, RUNS.c.status.type),
        "epoch": literal(0),
        "recoveries": literal(0),
        "forked_from": literal(run_id),
        "due_at": now,
        "created_at": now,
    }
    kept = (
        "workflow version queue priority partition input codec fingerprint principal "
        "attributes timeout parent_id root_id code_version traceparent tracestate"
    )
    values = {**{name: RUNS.c[name] for name in kept.split()}, **fresh}
    connection.execute(
        insert(RUNS).from_select(
            list(values), select(*values.values()).where(RUNS.c.id == run_id)
        )
    )
    row = {column.name: column for column in CHECKPOINTS.columns}
    row |= {"run_id": literal(new_id), "epoch": literal(0)}  # type: ignore[dict-item]  # a literal stands where a column stood
    prefix = select(*row.values()).where(
        CHECKPOINTS.c.run_id == run_id, CHECKPOINTS.c.position < before
    )
    connection.execute(insert(CHECKPOINTS).from_select(list(row), prefix))


def _at(run_id: str, position: int) -> Any:
    return and_(CHECKPOINTS.c.run_id == run_id, CHECKPOINTS.c.position == position)
