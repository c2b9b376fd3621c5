"""Runs as rows, to be read.

New ones are written by `starts`, their ends by `finishes`. Who may work on a run is
`claims`; what an operator does to one is `control`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
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
from sqlalchemy import literal
from sqlalchemy import literal_column
from sqlalchemy import select
from sqlalchemy import tuple_
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm import Session

from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.status import LIVE
from operon.status import RunStatus

RUNS = cast("Table", WorkflowRun.__table__)


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
    continued_as: str | None = None
    wait_kind: str | None = None
    wait_on: str | None = None


def status_is(*statuses: RunStatus) -> ColumnElement[bool]:
    """Return the condition that a run stands in one of *statuses*.

    They are spelled out rather than bound, so that planners recognise the
    predicates of partial indexes.
    """
    words: list[ColumnElement[str]] = [
        literal_column(f"'{status.value}'") for status in statuses
    ]
    return RUNS.c.status == words[0] if len(words) == 1 else RUNS.c.status.in_(words)


def find(session: Session, run_id: str) -> WorkflowRun | None:
    """Return the row of *run_id*, or None."""
    return session.get(WorkflowRun, run_id, populate_existing=True)


def find_holder(connection: Connection, queue: str, key: str) -> str | None:
    """Return the live run that holds the deduplication *key* of *queue*, or None."""
    query = select(RUNS.c.id).where(
        RUNS.c.queue == queue, RUNS.c.deduplication_key == key, status_is(*LIVE)
    )
    found: str | None = connection.scalar(query)
    return found


def annotate(
    connection: Connection, run_id: str, attributes: Mapping[str, Any]
) -> None:
    """Add *attributes* to those of a run that nobody else writes to."""
    query = select(RUNS.c.attributes).where(RUNS.c.id == run_id)
    before: dict[str, Any] = connection.scalar(query) or {}
    connection.execute(
        update(RUNS)
        .where(RUNS.c.id == run_id)
        .values(attributes={**before, **attributes})
    )


def inheritance(connection: Connection, run_id: str) -> dict[str, Any]:
    """Return what *run_id* hands on to the run that continues it, by column."""
    names = (
        "queue priority partition deduplication_key principal attributes parent_id "
        "root_id"
    )
    columns = (RUNS.c[name] for name in names.split())
    query = select(*columns).where(RUNS.c.id == run_id)
    return dict(connection.execute(query).mappings().one())


def newest(connection: Connection, run_id: str) -> str:
    """Return the run that goes on for *run_id* after `continue_as`, or *run_id*."""
    query = select(RUNS.c.continued_as, RUNS.c.chain_id).where(RUNS.c.id == run_id)
    row = connection.execute(query).one_or_none()
    if row is None or row.continued_as is None:
        return run_id
    last = select(RUNS.c.id).where(
        RUNS.c.chain_id == (row.chain_id or run_id), RUNS.c.continued_as.is_(None)
    )
    found: str | None = connection.scalar(last)
    goes_on: str = row.continued_as if found is None else found
    return goes_on


def address(connection: Connection, run_id: str) -> str | None:
    """Return where the mail of *run_id* is, or None if there is no such run."""
    found: str | None = connection.scalar(
        select(func.coalesce(RUNS.c.chain_id, RUNS.c.id)).where(RUNS.c.id == run_id)
    )
    return found


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
            RUNS.c.continued_as,
            RUNS.c.wait_kind,
            RUNS.c.wait_on,
        )
        .select_from(RUNS.outerjoin(cast("Table", Checkpoint.__table__), own))
        .where(RUNS.c.id == run_id)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Result(**row)


Attribute = str | int | float | bool
"""What a run can be found by."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which runs are meant; every condition that is given must hold."""

    statuses: Sequence[RunStatus] = ()
    workflow: str | None = None
    queue: str | None = None
    attributes: Mapping[str, Attribute] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    principal: Mapping[str, str | None] | None = None
    """What their principal has to say, such as the tenant."""
    older_than: tuple[datetime, str] | None = None
    """Creation and id of a run: only those that come after it, the newest first."""

    def conditions(self, session: Session) -> list[ColumnElement[bool]]:
        """Return what has to hold, as the database of *session* says it."""
        found = _json_conditions(session, WorkflowRun.attributes, self.attributes)
        found += _json_conditions(session, WorkflowRun.principal, self.principal)
        if self.statuses:
            found.append(WorkflowRun.status.in_(self.statuses))
        if self.workflow is not None:
            found.append(WorkflowRun.workflow == self.workflow)
        if self.queue is not None:
            found.append(WorkflowRun.queue == self.queue)
        if self.created_after is not None:
            found.append(WorkflowRun.created_at >= self.created_after)
        if self.created_before is not None:
            found.append(WorkflowRun.created_at < self.created_before)
        if self.older_than is not None:
            place = tuple_(WorkflowRun.created_at, WorkflowRun.id)
            found.append(place < tuple_(*self.older_than))
        return found


def list_matching(
    session: Session, wanted: Filter, *, limit: int = 100
) -> list[WorkflowRun]:
    """Return up to *limit* runs that are *wanted*, the newest first."""
    query = (
        select(WorkflowRun)
        .where(*wanted.conditions(session))
        .order_by(WorkflowRun.created_at.desc(), WorkflowRun.id.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def ids_matching(
    session: Session, wanted: Filter, *, after: str, limit: int
) -> list[str]:
    """Return up to *limit* ids of runs that are *wanted*, in order, from *after* on."""
    query = (
        select(WorkflowRun.id)
        .where(WorkflowRun.id > after, *wanted.conditions(session))
        .order_by(WorkflowRun.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def _json_conditions(
    session: Session,
    column: InstrumentedAttribute[Any],
    members: Mapping[str, Attribute | None] | None,
) -> list[ColumnElement[bool]]:
    """Return what has to hold for the object in *column* to have *members*."""
    if not members:
        return []
    if session.get_bind().dialect.name == "postgresql":
        return [column.op("@>")(literal(dict(members), JSONB))]
    return [_sqlite_condition(column, key, value) for key, value in members.items()]


_KINDS: Mapping[type, Sequence[str]] = {
    str: ["text"],
    int: ["integer"],
    float: ["real"],
    bool: ["true", "false"],
    type(None): ["null"],
}


def _sqlite_condition(
    column: InstrumentedAttribute[Any], key: str, value: Attribute | None
) -> ColumnElement[bool]:
    """Compare as text and by JSON type, since SQLite's true equals its 1."""
    member = func.json_each(column).table_valued("key", "type", "atom")
    is_there = exists().where(
        member.c.key == key, member.c.type.in_(_KINDS[type(value)])
    )
    if value is None:
        return is_there
    wanted = str(value) if not isinstance(value, bool) else str(int(value))
    return is_there.where(cast_sql(member.c.atom, Text) == wanted)
