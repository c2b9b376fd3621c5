"""Reading: what decides whether Operon can keep its promises on a database.

Every function only reads, in the transaction of the connection it is given.
"""

from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import Integer
from sqlalchemy import Text
from sqlalchemy import column
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import literal_column
from sqlalchemy import select
from sqlalchemy import table
from sqlalchemy import text
from sqlalchemy import union
from sqlalchemy import union_all
from sqlalchemy.orm import Session

from operon.clock import Clock
from operon.models import Base
from operon.models import WorkflowRun
from operon.queue import Queue
from operon.status import FINAL
from operon.status import LIVE
from operon.status import RunStatus
from operon.store import queues
from operon.store.begin import BEGIN_OPTION
from operon.store.dialect import Backend
from operon.store.queues import QUEUES
from operon.store.runs import RUNS
from operon.store.runs import Filter
from operon.store.runs import status_is
from operon.store.schedules import SCHEDULES

_SETTINGS = (
    "default_transaction_isolation",
    "fsync",
    "idle_in_transaction_session_timeout",
    "server_version",
    "server_version_num",
    "synchronous_commit",
    "transaction_read_only",
)
_DML = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs of one workflow and version that stand alike."""

    workflow: str
    version: int
    status: RunStatus
    runs: int


@dataclass(frozen=True, kw_only=True)
class Load:
    """A queue, and how many of its runs have not ended."""

    queue: Queue
    """With its limits of this moment; without any if it has no row."""
    paused_at: datetime | None
    enqueued: int
    running: int
    waiting: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A schedule, and the workflow that it starts."""

    name: str
    workflow: str
    version: int
    paused_at: datetime | None


@contextmanager
def looking(engine: Engine) -> Generator[Connection, None, None]:
    """Yield a connection for reading; on SQLite it waits for no writer."""
    with engine.execution_options(**{BEGIN_OPTION: "DEFERRED"}).connect() as connection:
        yield connection


def now(connection: Connection, backend: Backend, clock: Clock) -> datetime:
    """Return the time that heartbeats are written by."""
    time: datetime = connection.execute(select(backend.now(clock))).scalar_one()
    return time


def postgresql_settings(connection: Connection) -> dict[str, str]:
    """Return the settings that matter, as this role has them in this session."""
    name, setting = column("name", Text), column("setting", Text)
    query = select(name, setting).select_from(table("pg_settings"))
    rows = connection.execute(query.where(name.in_(_SETTINGS)))
    return {row.name: row.setting for row in rows}


def role(connection: Connection) -> str:
    """Return the name under which PostgreSQL knows this session."""
    return str(connection.scalar(select(func.current_user(type_=Text))))


def missing_privileges(connection: Connection, version_table: str) -> list[str]:
    """Return what the role may not do and must, as `INSERT on operon_runs`.

    Tables that do not exist are left out; *version_table* only needs to be read.
    """
    wanted: Mapping[str, Sequence[str]] = {
        **dict.fromkeys(sorted(Base.metadata.tables), _DML),
        version_table: ("SELECT",),
    }
    existing = set(inspect(connection).get_table_names())
    return [
        f"{privilege} on {name}"
        for name, privileges in wanted.items()
        for privilege in privileges
        if name in existing and not _may(connection, name, privilege)
    ]


def sqlite_version(connection: Connection) -> str:
    """Return the version of the SQLite library."""
    return str(connection.scalar(select(func.sqlite_version())))


def sqlite_pragma(connection: Connection, name: str) -> str:
    """Return a PRAGMA of this connection; *name* is never anybody's input."""
    return str(connection.scalar(text(f"PRAGMA {name}")))


def unfinished(connection: Connection) -> list[Group]:
    """Return how many runs are dead or not yet final, by workflow and status."""
    ended_well = FINAL - {RunStatus.DEAD}
    kinds = (RUNS.c.workflow, RUNS.c.version, RUNS.c.status)
    query = (
        select(*kinds, func.count(type_=Integer).label("runs"))
        .where(RUNS.c.status.not_in(ended_well))
        .group_by(*kinds)
        .order_by(*kinds)
    )
    return [Group(**row) for row in connection.execute(query).mappings()]


def loads(connection: Connection) -> list[Load]:
    """Return every queue and how many of its runs stand where, in order of name.

    Also those that have runs and no row, as `default` before the first launch. The
    cost does not depend on how many runs have ended.
    """
    live = union_all(
        *(
            select(
                RUNS.c.queue, literal_column(f"'{each.value}'", Text).label("stands")
            ).where(status_is(each))
            for each in LIVE
        )
    ).cte("live")
    number = func.count(type_=Integer)
    counted = (
        select(
            live.c.queue,
            *(number.filter(live.c.stands == each.value).label(each) for each in LIVE),
        )
        .group_by(live.c.queue)
        .cte("counted")
    )
    known = union(select(QUEUES.c.name), select(counted.c.queue)).subquery("known")
    query = (
        select(known.c.name.label("known"), QUEUES, *(counted.c[each] for each in LIVE))
        .select_from(known)
        .outerjoin(QUEUES, QUEUES.c.name == known.c.name)
        .outerjoin(counted, counted.c.queue == known.c.name)
        .order_by(known.c.name)
    )
    return [
        Load(
            queue=Queue(row.known) if row.name is None else queues.queue_of(row),
            paused_at=row.paused_at,
            enqueued=row.enqueued or 0,
            running=row.running or 0,
            waiting=row.waiting or 0,
        )
        for row in connection.execute(query)
    ]


def held(connection: Connection) -> dict[str, int]:
    """Return how many runs each executor is running."""
    query = (
        select(RUNS.c.executor, func.count(type_=Integer).label("runs"))
        .where(status_is(RunStatus.RUNNING), RUNS.c.executor.is_not(None))
        .group_by(RUNS.c.executor)
    )
    return {row.executor: row.runs for row in connection.execute(query)}


def plans(connection: Connection) -> list[Plan]:
    """Return every schedule, in order of name."""
    columns = (SCHEDULES.c[name] for name in Plan.__dataclass_fields__)
    rows = connection.execute(select(*columns).order_by(SCHEDULES.c.name))
    return [Plan(**row) for row in rows.mappings()]


def matching(session: Session, wanted: Filter) -> int:
    """Return how many runs are *wanted*."""
    query = select(func.count(type_=Integer)).select_from(WorkflowRun)
    return session.scalars(query.where(*wanted.conditions(session))).one()


def _may(connection: Connection, name: str, privilege: str) -> bool:
    return bool(connection.scalar(select(func.has_table_privilege(name, privilege))))
