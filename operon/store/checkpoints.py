"""Checkpoints: the outcome of each operation, written once, under the fence."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from typing import cast

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import bindparam
from sqlalchemy import insert
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import Checkpoint
from operon.status import RunStatus
from operon.store.dialect import Backend
from operon.store.direct import Direct
from operon.store.direct import Statement
from operon.store.present import present
from operon.store.runs import RUNS

CHECKPOINTS = cast("Table", Checkpoint.__table__)

_OUTCOME = (
    "position", "kind", "name", "output", "error", "codec", "attempts", "open_from"
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a checkpoint says of its operation: its output, or else its error."""

    position: int
    kind: str
    name: str
    output: str | None = None
    error: str | None = None
    codec: str | None = None
    attempts: int = 1
    open_from: int | None = None
    """From where on operations below were open when this began; None if none was."""
    finished_at: datetime | None = None
    """When it was recorded, by the database's clock; None before that."""


@dataclass(frozen=True)
class Lease:
    """The claim under which an executor writes: it is void once the epoch moved on."""

    run_id: str
    executor: str
    epoch: int


def still_held(lease: Lease) -> ColumnElement[bool]:
    """Return the condition that *lease* is the newest claim of a running run."""
    return (
        (RUNS.c.id == lease.run_id)
        & (RUNS.c.executor == lease.executor)
        & (RUNS.c.epoch == lease.epoch)
        & (RUNS.c.status == RunStatus.RUNNING)
    )


IS_HELD = (
    (RUNS.c.id == bindparam("held_id"))
    & (RUNS.c.executor == bindparam("held_by"))
    & (RUNS.c.epoch == bindparam("held_epoch"))
    & (RUNS.c.status == RunStatus.RUNNING)
)
"""The condition that a lease is the newest claim of a running run; see `held`.

Two claims can have one epoch if a crash of the server lost the first, whose commit is
not waited for; then the executors tell them apart.
"""

FENCE = select(RUNS.c.epoch).where(IS_HELD).with_for_update(read=True).scalar_subquery()
"""The epoch of a lease while it is the newest claim of a running run.

Otherwise NULL, which the NOT NULL column it is written to refuses. FOR SHARE reads
the newest committed row even in an old snapshot, and makes a claim that comes later
wait for this transaction's COMMIT. Its parameters are those of `held`.

Source:
    Fencing tokens: Kleppmann, "How to do distributed locking" (2016).
    PostgreSQL, "Explicit Locking: Row-Level Locks".
"""


def held(lease: Lease) -> dict[str, Any]:
    """Return the parameters by which `IS_HELD` and `FENCE` know *lease*."""
    return {
        "held_id": lease.run_id,
        "held_by": lease.executor,
        "held_epoch": lease.epoch,
    }


def record(
    connection: Connection | Direct,
    backend: Backend,
    lease: Lease,
    outcome: Record,
    *,
    clock: Clock,
    started_at: datetime,
    isolation: str | None = None,
    fenced: bool = True,
) -> datetime:
    """Write the checkpoint of *outcome*, unless *lease* is void or the position taken.

    Args:
        connection: The transaction that holds the operation's rows, if it has any;
            the checkpoint shares its fate.
        backend: The database's manners.
        lease: Under which claim.
        outcome: What happened.
        clock: Tells the time; the database's unless turned.
        started_at: When the attempt began (aware, UTC).
        isolation: The isolation level of the transaction, if it is a step's.
        fenced: False where the run's row is written by the same transaction, so
            that nobody else can hold the run.

    Returns:
        When it was recorded: its `finished_at`.

    Raises:
        IntegrityError: NOT NULL of `epoch` (the fence), or the primary key.
        OperationalError: At REPEATABLE READ and above a void lease is reported as a
            serialization failure.
    """
    now = backend.told(clock)
    values = {
        **{name: getattr(outcome, name) for name in _OUTCOME},
        **(held(lease) if fenced else {"epoch": lease.epoch}),
        **({} if now is None else {"now": now}),
        "run_id": lease.run_id,
        "executor": lease.executor,
        "isolation": isolation,
        "started_at": started_at,
    }
    statement = _insertion(backend, tuple(values), fenced=fenced)
    [(recorded,)] = statement.rows(connection, values)
    return cast("datetime", recorded)


@lru_cache(maxsize=64)
def _insertion(backend: Backend, names: tuple[str, ...], *, fenced: bool) -> Statement:
    """Return the statement that writes a checkpoint from values for *names*."""
    written = insert(CHECKPOINTS).values(
        finished_at=present(told="now" in names),
        transaction_id=backend.transaction_id(),
        snapshot=backend.snapshot(),
    )
    if fenced:
        written = written.values(epoch=FENCE)
    return backend.statement(written.returning(CHECKPOINTS.c.finished_at), names)


def history(connection: Connection, run_id: str) -> list[Record]:
    """Return everything recorded of *run_id*, in order of position."""
    return histories(connection, [run_id])[run_id]


def histories(
    connection: Connection, run_ids: Collection[str]
) -> dict[str, list[Record]]:
    """Return everything recorded of each of *run_ids*, in order of position."""
    recorded: dict[str, list[Record]] = {run_id: [] for run_id in run_ids}
    for run_id, *fields in connection.execute(_HISTORIES, {"of": list(run_ids)}):
        recorded[run_id].append(Record(**dict(zip(_FIELDS, fields, strict=True))))
    return recorded


def find(connection: Connection, run_id: str, position: int) -> Record | None:
    """Return what is recorded of *run_id* at *position*, or None."""
    query = _RECORDS.where(Checkpoint.run_id == run_id, Checkpoint.position == position)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Record(**row)


def list_of(session: Session, run_id: str) -> list[Checkpoint]:
    """Return the checkpoints of *run_id* as rows, in order of position."""
    query = select(Checkpoint).where(Checkpoint.run_id == run_id)
    return list(session.scalars(query.order_by(Checkpoint.position)))


_FIELDS = (*_OUTCOME, "finished_at")
_RECORDS = select(*(CHECKPOINTS.c[name] for name in _FIELDS))
_HISTORIES = (
    _RECORDS
    .with_only_columns(CHECKPOINTS.c.run_id, *_RECORDS.selected_columns)
    .where(CHECKPOINTS.c.run_id.in_(bindparam("of", expanding=True)))
    .order_by(CHECKPOINTS.c.run_id, CHECKPOINTS.c.position)
)
