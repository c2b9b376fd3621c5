"""Runs as rows: writing new ones and reading them.

Who may work on a run is `claims`; what an operator does to one is `control`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
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
from sqlalchemy import literal_column
from sqlalchemy import null
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.status import LIVE
from operon.status import RunStatus
from operon.store.dialect import Backend
from operon.store.dialect import insert_unless_there

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
    priority: int = 0
    partition: str | None = None
    deduplication_key: str | None = None
    debounce_key: str | None = None
    delay: timedelta = timedelta(0)
    """How long it may not be claimed."""
    timeout: timedelta | None = None
    """How long it may take, from its first claim, or from now if it begins at once."""
    deadline_at: datetime | None = None
    """When its parent has to end, and it with it."""
    principal: Mapping[str, Any] | None = None
    attributes: Mapping[str, Any] | None = None
    parent_id: str | None = None
    root_id: str | None = None
    chain_id: str | None = None
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


@dataclass(frozen=True)
class Written:
    """What the database made of a new run's times."""

    created_at: datetime
    deadline_at: datetime | None


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


def insert_new(
    connection: Connection,
    backend: Backend,
    new: NewRun,
    beginning: Beginning,
    *,
    clock: Clock,
    lazily: bool = False,
) -> Written | None:
    """Write the row of *new* unless its id, or a key that it holds alone, is taken.

    Args:
        connection: Its transaction is not poisoned by an id that is taken.
        backend: The database's manners.
        new: The run.
        beginning: The state it is written in.
        clock: Tells the time of creation.
        lazily: Let COMMIT return before the row is durable, where the database can;
            the next synchronous commit makes it so. Only for a row that nobody was
            told of, in a transaction of its own.

    Returns:
        What the database made of it, or None if nothing was written.
    """
    insertion = (
        insert_unless_there(backend, RUNS)
        .values(_values(backend, new, beginning, clock))
        .returning(
            RUNS.c.created_at,
            RUNS.c.deadline_at,
            *(backend.lazy_commit() if lazily else ()),
        )
    )
    row = connection.execute(insertion).one_or_none()
    return None if row is None else Written(row.created_at, row.deadline_at)


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


def find_holder(connection: Connection, queue: str, key: str) -> str | None:
    """Return the live run that holds the deduplication *key* of *queue*, or None."""
    query = select(RUNS.c.id).where(
        RUNS.c.queue == queue, RUNS.c.deduplication_key == key, status_is(*LIVE)
    )
    found: str | None = connection.scalar(query)
    return found


def debounce(
    connection: Connection, backend: Backend, new: NewRun, *, clock: Clock
) -> str | None:
    """Give the run that holds the debounce key of *new* its input, and more time.

    Returns:
        The id of that run, or None if none is still waiting to begin.
    """
    statement = (
        update(RUNS)
        .where(
            RUNS.c.queue == new.queue,
            RUNS.c.debounce_key == new.debounce_key,
            status_is(RunStatus.ENQUEUED),
            RUNS.c.started_at.is_(None),
        )
        .values(
            workflow=new.workflow,
            version=new.version,
            input=new.input,
            codec=new.codec,
            fingerprint=new.fingerprint,
            due_at=backend.after(clock, new.delay),
        )
        .returning(RUNS.c.id)
    )
    found: str | None = connection.scalar(statement)
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

    def conditions(self, session: Session) -> list[ColumnElement[bool]]:
        """Return what has to hold, as the database of *session* says it."""
        found = _attribute_conditions(session, self.attributes or {})
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
    waits = beginning.status is RunStatus.ENQUEUED
    begins: dict[str, Any] = {"started_at": null() if waits else now}
    if new.timeout is not None and not waits:  # it counts from now, so it is told
        begins["timeout"] = null()
        begins["deadline_at"] = backend.after(clock, new.timeout)
    given = {name: value for name, value in asdict(new).items() if name != "delay"}
    return {
        **given,
        **asdict(beginning),
        **begins,
        "recoveries": 0,
        "due_at": backend.after(clock, new.delay) if new.delay else now,
        "created_at": now,
        "finished_at": now if beginning.status.is_final else null(),
    }
