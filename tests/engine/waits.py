"""What the tests of waiting share: Operons that suspend at once, and looks at rows."""

import threading
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon.models import Message
from operon.models import StreamItem
from operon.models import WorkflowRun
from operon.points import Point
from operon.status import RunStatus
from operon.store import checkpoints
from operon.store import claims
from operon.store import finishes
from operon.store import waits
from operon.store.checkpoints import Lease
from operon.store.checkpoints import Record
from operon.store.finishes import Finish
from operon.store.waits import Wait
from tests.processes import eventually
from tests.shop import create_shop

SOON = timedelta(seconds=20)
"""How long a test is ready to wait for what has to happen."""

AT_ONCE: dict[str, Any] = {"inline_wait": timedelta(0)}
"""Options of an Operon whose runs never wait in a thread."""


class Crash(BaseException):
    """Ends the thread of a run as a crash of its process would: nothing cleans up."""


THIEF = "thief"
"""An executor that takes runs over and is no process."""


class MarkerRun(Workflow):
    """A run that is claimed and finished only after the keeper has looked around."""

    def run(self) -> int:
        return 1


def let_look(operon: Operon) -> None:
    """Return once a keeper has looked what there is to do, after this call."""
    assert operon.start(MarkerRun()).result(SOON) == 1


def stocked(operon: Operon) -> Operon:
    """Return *operon* with the shop's tables in its database."""
    create_shop(operon.engine, "book")
    return operon


def row(operon: Operon, run_id: str) -> WorkflowRun:
    """Return the row of *run_id*."""
    return operon.get_run(run_id)


def await_waiting(operon: Operon, run_id: str, position: int = 1) -> WorkflowRun:
    """Return the row of *run_id* once it waits at *position* without a thread."""

    def waits_there() -> WorkflowRun | None:
        found = operon.find_run(run_id)
        if found is None or found.status is not RunStatus.WAITING:
            return None
        return found if found.wait_position == position else None

    return eventually(waits_there, saying=f"{run_id!r} waits at {position}")


def threads_of(run_id: str) -> list[str]:
    """Return the names of the threads that execute *run_id*."""
    return [
        each.name
        for each in threading.enumerate()
        if each.name == f"operon-run-{run_id}"
    ]


@contextmanager
def _looking(operon: Operon) -> Generator[Session, None, None]:
    """Open a session that only reads, so that on SQLite it waits for no writer."""
    database = operon._process.made().services.database
    with database.reading() as connection, Session(bind=connection) as session:
        yield session
        session.expunge_all()


def mail(operon: Operon, run_id: str) -> list[Message]:
    """Return every message at *run_id*, read or not, in order."""
    query = select(Message).where(Message.run_id == run_id).order_by(Message.id)
    with _looking(operon) as session:
        return list(session.scalars(query))


def unread(operon: Operon, run_id: str) -> int:
    """Return how many messages at *run_id* are still to be read."""
    return sum(each.received_by is None for each in mail(operon, run_id))


def offsets(operon: Operon, run_id: str, stream: str = "log") -> list[int]:
    """Return the offsets of *stream*, in the order in which they are read."""
    query = select(StreamItem.offset).where(
        StreamItem.run_id == run_id, StreamItem.stream == stream
    )
    with _looking(operon) as session:
        return list(session.scalars(query.order_by(StreamItem.offset)))


def crash_once(at: Point, run_id: str, *, nth: int = 1) -> Callable[[Point, str], None]:
    """Return a probe that ends *run_id*'s thread at the *nth* time it is *at* there."""
    left = [nth]

    def probe(point: Point, reached: str) -> None:
        if point is at and reached == run_id:
            left[0] -= 1
            if left[0] == 0:
                raise Crash

    return probe


def steal(operon: Operon, run_id: str, wait: Wait, connection: Connection) -> Lease:
    """Suspend *run_id* behind its holder's back, wake it and let `THIEF` claim it.

    That is what becomes of a run whose holder is frozen: its lease ends, another
    executor takes it, suspends it, and a third claims it when it wakes.
    """
    services = operon._process.made().services
    backend, clock = services.database.backend, services.clock
    held = claims.holding(connection, run_id)
    assert held is not None
    lease = Lease(run_id, str(held.executor), held.epoch)
    assert waits.suspend(connection, backend, lease, wait)
    assert list(waits.wake(connection, backend, clock=clock, runs=[run_id])) == [run_id]
    claimed = claims.claim_one(connection, backend, THIEF, run_id, gone=[], clock=clock)
    assert claimed is not None
    return claimed.lease


def record_and_end(
    operon: Operon, lease: Lease, record: Record, connection: Connection
) -> None:
    """Record one operation under *lease*, and end its run with -1."""
    services = operon._process.made().services
    backend, clock = services.database.backend, services.clock
    checkpoints.record(
        connection, backend, lease, record, clock=clock, started_at=clock.now()
    )
    how = Finish(lease=lease, status=RunStatus.SUCCEEDED, output="-1")
    assert finishes.finish(connection, backend, [how], clock=clock)
