"""Runs as rows: writing new ones and reading them.

Who may work on a run is `claims`; what an operator does to one is `control`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from typing import cast

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Table
from sqlalchemy import Text
from sqlalchemy import and_
from sqlalchemy import cast as cast_sql
from sqlalchemy import exists
from sqlalchemy import func
from sqlalchemy import insert as plain_insert
from sqlalchemy import literal
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.status import RunStatus
from operon.store.dialect import Backend

RUNS = cast("Table", WorkflowRun.__table__)


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """What is known of a run when it is asked for."""

    id: str
    workflow: str
    version: int
    input: str
    fingerprint: str
    codec: str | None = None
    queue: str = "default"
    principal: Mapping[str, Any] | None = None
    attributes: Mapping[str, Any] | None = None
    parent_id: str | None = None
    root_id: str | None = None
    code_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The state in which a new run's row is written.

    One of three: enqueued (an executor will claim it), running (its starter has
    claimed it already), or final (everything happens in one commit).
    """

    status: RunStatus = RunStatus.ENQUEUED
    executor: str | None = None
    epoch: int = 0
    output: str | None = None
    error: str | None = None
    outcome_codec: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run has come to."""

    workflow: str
    version: int
    status: RunStatus
    executor: str | None
    output: str | None
    error: str | None
    codec: str | None


def insert_new(
    connection: Connection,
    backend: Backend,
    new: NewRun,
    beginning: Beginning,
    *,
    clock: Clock,
    lazily: bool = False,
) -> bool:
    """Write the row of *new* unless its id is taken; return whether it was written.

    Args:
        connection: Its transaction is not poisoned by an id that is taken.
        backend: The database's manners.
        new: The run.
        beginning: The state it is written in.
        clock: Tells the time of creation.
        lazily: Let COMMIT return before the row is durable, where the database can;
            the next synchronous commit makes it so. Only for a row that nobody was
            told of, in a transaction of its own.
    """
    insert = postgresql_insert if backend.name == "postgresql" else sqlite_insert
    insertion = (
        insert(RUNS)
        .values(_values(backend, new, beginning, clock))
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(RUNS.c.id, *(backend.lazy_commit() if lazily else ()))
    )
    return connection.execute(insertion).first() is not None


def insert_first(
    connection: Connection,
    backend: Backend,
    new: NewRun,
    beginning: Beginning,
    *,
    clock: Clock,
) -> None:
    """Write the row of *new* as the first statement of a transaction.

    A plain INSERT: a duplicate waits for the transaction that came first, and is
    then refused by the primary key at every isolation level.
    """
    values = _values(backend, new, beginning, clock)
    connection.execute(plain_insert(RUNS).values(values))


def find(session: Session, run_id: str) -> WorkflowRun | None:
    """Return the row of *run_id*, or None."""
    return session.get(WorkflowRun, run_id, populate_existing=True)


def find_result(connection: Connection, run_id: str) -> Result | None:
    """Return what *run_id* has come to, or None if there is no such run.

    A transaction's output is in its only checkpoint, so that one commit holds it
    without a second write of the run's row.
    """
    own = and_(
        Checkpoint.run_id == RUNS.c.id,
        Checkpoint.position == 1,
        Checkpoint.kind == "transaction",
    )
    query = (
        select(
            RUNS.c.workflow,
            RUNS.c.version,
            RUNS.c.status,
            RUNS.c.executor,
            func.coalesce(RUNS.c.output, Checkpoint.output).label("output"),
            func.coalesce(RUNS.c.error, Checkpoint.error).label("error"),
            func.coalesce(RUNS.c.outcome_codec, Checkpoint.codec).label("codec"),
        )
        .select_from(RUNS.outerjoin(cast("Table", Checkpoint.__table__), own))
        .where(RUNS.c.id == run_id)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Result(**row)


Attribute = str | int | float | bool
"""What a run can be found by."""


def list_matching(
    session: Session,
    *,
    statuses: Sequence[RunStatus] = (),
    workflow: str | None = None,
    attributes: Mapping[str, Attribute] | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    limit: int = 100,
) -> list[WorkflowRun]:
    """Return up to *limit* runs that match every condition given, the newest first."""
    conditions: list[ColumnElement[bool]] = []
    if statuses:
        conditions.append(WorkflowRun.status.in_(statuses))
    if workflow is not None:
        conditions.append(WorkflowRun.workflow == workflow)
    if created_after is not None:
        conditions.append(WorkflowRun.created_at >= created_after)
    if created_before is not None:
        conditions.append(WorkflowRun.created_at < created_before)
    conditions.extend(_attribute_conditions(session, attributes or {}))
    query = (
        select(WorkflowRun)
        .where(*conditions)
        .order_by(WorkflowRun.created_at.desc(), WorkflowRun.id.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def _attribute_conditions(
    session: Session, attributes: Mapping[str, Attribute]
) -> list[ColumnElement[bool]]:
    if session.get_bind().dialect.name == "postgresql" and attributes:
        wanted = literal(dict(attributes), JSONB)
        return [WorkflowRun.attributes.op("@>")(wanted)]
    return [_sqlite_condition(key, value) for key, value in attributes.items()]


def _sqlite_condition(key: str, value: Attribute) -> ColumnElement[bool]:
    """Compare as text and by JSON type, since SQLite's true equals its 1."""
    kinds = {str: ["text"], int: ["integer"], float: ["real"], bool: ["true", "false"]}
    member = func.json_each(WorkflowRun.attributes).table_valued("key", "type", "atom")
    wanted = str(value) if not isinstance(value, bool) else str(int(value))
    return exists().where(
        member.c.key == key,
        member.c.type.in_(kinds[type(value)]),
        cast_sql(member.c.atom, Text) == wanted,
    )


def _values(
    backend: Backend, new: NewRun, beginning: Beginning, clock: Clock
) -> dict[str, Any]:
    now = backend.now(clock)
    status = beginning.status
    return {
        **asdict(new),
        **asdict(beginning),
        "recoveries": 0,
        "priority": 0,
        "due_at": now,
        "created_at": now,
        "started_at": null() if status is RunStatus.ENQUEUED else now,
        "finished_at": now if status.is_final else null(),
    }
