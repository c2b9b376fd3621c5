"""How runs start: their rows, written once and whole.

The statements are made once for each shape of a row, since a start is half of what a
short run costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from datetime import datetime
from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import insert as plain_insert
from sqlalchemy import update

from operon.clock import Clock
from operon.status import RunStatus
from operon.store.dialect import Backend
from operon.store.direct import Direct
from operon.store.direct import Statement
from operon.store.present import present
from operon.store.present import present_in
from operon.store.runs import RUNS
from operon.store.runs import status_is
from operon.store.upsert import insert_unless_there


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
    traceparent: str | None = None
    tracestate: str | None = None


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


def insert_new(
    connection: Connection | Direct,
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
    times, values = _values(backend, new, beginning, clock)
    insertion = _insertion(
        backend, times, tuple(values), unless_there=True, lazily=lazily
    )
    written = insertion.rows(connection, values)
    return Written(*written[0][:2]) if written else None


def insert_first(
    connection: Connection | Direct,
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
    times, values = _values(backend, new, beginning, clock)
    insertion = _insertion(backend, times, tuple(values), unless_there=False)
    insertion.rows(connection, values)


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


_Times = tuple[tuple[str, bool], ...]
"""Columns that hold the server's time; whether one is as much later as its name says.

A column `due_at` that is later has the parameter `due_at_in`.
"""


@lru_cache(maxsize=128)
def _insertion(
    backend: Backend,
    times: _Times,
    names: tuple[str, ...],
    *,
    unless_there: bool,
    lazily: bool = False,
) -> Statement:
    """Return the INSERT of a new run from values for *names*, made once for each."""
    kind = insert_unless_there(backend, RUNS) if unless_there else plain_insert(RUNS)
    clause = kind.values({
        name: present_in(f"{name}_in") if later else present(told=False)
        for name, later in times
    }).returning(
        RUNS.c.created_at,
        RUNS.c.deadline_at,
        *(backend.lazy_commit() if lazily else ()),
    )
    return backend.statement(clause, names)


def _values(
    backend: Backend, new: NewRun, beginning: Beginning, clock: Clock
) -> tuple[_Times, dict[str, Any]]:
    """Return the columns left to the server's clock, and the parameters."""
    values = {
        name: value
        for source, names in ((new, _NEW), (beginning, _BEGINNING))
        for name in names
        if (value := getattr(source, name)) is not None
    }
    values["recoveries"] = 0
    offsets = {"created_at": _NOW, "due_at": new.delay}
    if beginning.status is not RunStatus.ENQUEUED:
        offsets["started_at"] = _NOW
        timeout = values.pop("timeout", None)
        if timeout is not None:  # it counts from now, so it is told
            values.pop("deadline_at", None)
            offsets["deadline_at"] = timeout
    if beginning.status.is_final:
        offsets["finished_at"] = _NOW
    now = backend.told(clock)
    if now is not None:
        return (), {**values, **{name: now + offsets[name] for name in offsets}}
    later = {f"{name}_in": offset for name, offset in offsets.items() if offset}
    return tuple((name, bool(offsets[name])) for name in offsets), {**values, **later}


_NOW = timedelta(0)
_NEW = [each.name for each in fields(NewRun) if each.name != "delay"]
_BEGINNING = [each.name for each in fields(Beginning)]
