"""An executor in a process of its own, which can be told to freeze at a point.

    python -m tests.acceptance.worker URL LEASE HEARTBEAT [POINT]

LEASE and HEARTBEAT are seconds. At the first POINT it reaches it stops itself by
SIGSTOP, heartbeat and all; SIGTERM shuts it down in order.
"""

import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue

from sqlalchemy import Engine
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column

from operon import Operon
from operon import Retry
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.models import WorkflowRun
from operon.points import Point
from tests import shop

GATE = "OPERON_TEST_GATE"
"""Environment variable: the file that lets `Waiting`, `Poison` and others go on."""

PATIENCE = 60.0  # seconds for a gate to open


class Note(shop.Base):
    """A business row with a foreign key onto the run: it holds KEY SHARE on it."""

    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey(WorkflowRun.id))
    what: Mapped[str]


class Noting(Workflow):
    """Locks a product, writes notes that refer to the run, tells the world."""

    sku: str

    @step
    def begin(self, session: Session) -> None:
        session.get_one(shop.Product, self.sku, with_for_update=True).stock -= 1
        session.add(Note(run_id=current().run_id, what="begin"))
        session.flush()

    @activity
    def tell(self) -> str:
        return shop.happen(current().idempotency_key)

    @step
    def end(self, session: Session) -> None:
        session.add(Note(run_id=current().run_id, what="end"))

    def run(self) -> str:
        self.begin()
        told = self.tell()
        self.end()
        return told


class Waiting(Workflow):
    """An activity that lasts until the gate opens, then a step."""

    sku: str

    @activity
    def wait(self) -> None:
        shop.happen(current().run_id)
        _await_gate()

    @step
    def take(self, session: Session) -> None:
        session.add(shop.Order(sku=self.sku, quantity=1, run_id=current().run_id))

    def run(self) -> None:
        self.wait()
        self.take()


class Slow(Workflow):
    """A step that holds its transaction open for some seconds."""

    seconds: float

    @step
    def dawdle(self, session: Session) -> None:
        session.add(shop.Order(sku="book", quantity=1, run_id=current().run_id))
        session.flush()
        shop.happen(current().run_id)
        time.sleep(self.seconds)

    def run(self) -> None:
        self.dawdle()


class Poison(Workflow, max_recoveries=2):
    """Kills whoever runs it, until the gate opens."""

    @step
    def kill(self, session: Session) -> str:
        session.add(shop.Order(sku="book", quantity=1, run_id=current().run_id))
        session.flush()
        if not Path(os.environ[GATE]).exists():
            shop.happen("killed")
            os.kill(os.getpid(), signal.SIGKILL)
        return "cured"

    def run(self) -> str:
        return self.kill()


class Progressing(Workflow, max_recoveries=1):
    """Kills its executor once after each step; so it makes progress every time."""

    steps: int

    @step
    def advance(self, session: Session, number: int) -> None:
        session.add(shop.Order(sku="book", quantity=number, run_id=current().run_id))

    def run(self) -> None:
        ledger = Path(os.environ[shop.LEDGER])
        for number in range(self.steps):
            self.advance(number)
            if f"died {number}" not in shop.happened(ledger):
                shop.happen(f"died {number}")
                os.kill(os.getpid(), signal.SIGKILL)


class Retrying(Workflow):
    """An activity that fails until the gate opens, and is tried again much later."""

    @activity(retry=Retry(attempts=9, delay=timedelta(hours=1), cap=timedelta(hours=1)))
    def attempt(self) -> str:
        shop.happen(f"attempt {current().attempt}")
        raise ConnectionError("not now")

    def run(self) -> str:
        return self.attempt()


def create_tables(engine: Engine) -> None:
    """Create the shop's tables and the notes."""
    shop.create_shop(engine, "book")


def _await_gate() -> None:
    gate, deadline = Path(os.environ[GATE]), time.monotonic() + PATIENCE
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


class Freezer:
    """Stops the process at the first *point*."""

    def __init__(self, point: str | None) -> None:
        self._point = point

    def __call__(self, point: Point, run_id: str) -> None:
        del run_id
        if point == self._point:
            self._point = None
            # to this thread: another one might let this go on for a moment
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def main() -> None:
    url, lease, heartbeat, *point = sys.argv[1:]
    told: SimpleQueue[int] = SimpleQueue()
    signal.signal(signal.SIGTERM, lambda number, _: told.put(number))
    operon = Operon(
        url,
        migrate="never",
        lease=timedelta(seconds=float(lease)),
        heartbeat=timedelta(seconds=float(heartbeat)),
        probe=Freezer(point[0] if point else None),
    )
    operon.launch()
    print("launched", flush=True)
    told.get()
    operon.shutdown(timedelta(seconds=20))
    print("shut down", flush=True)


if __name__ == "__main__":
    main()
