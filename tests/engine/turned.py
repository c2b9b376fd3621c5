"""What tests of time share beside the kit's `TurnedClock`."""

import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

from operon import Operon
from operon.points import Point
from operon.status import RunStatus
from operon.store import claims
from operon.store import finishes
from operon.store.finishes import Finish
from tests.engine.facts import status
from tests.processes import eventually

SOON = timedelta(seconds=20)
HOUR = timedelta(hours=1)


def turn(operon: Operon, by: timedelta) -> None:
    """Let *by* pass by the clock of *operon*, and let its keeper notice."""
    clock: Any = operon.settings.clock
    clock.turn(by)
    operon._process.made().executor.wake()


def await_status(operon: Operon, run_id: str, *wanted: RunStatus | str) -> None:
    """Wait until *run_id* stands in one of *wanted*."""
    eventually(
        lambda: status(operon, run_id) in wanted,
        saying=f"{run_id} is not {' or '.join(wanted)}",
    )


def end_elsewhere(operon: Operon, run_id: str) -> None:
    """Let another executor claim *run_id* from its holder and end it with -1."""
    services = operon._process.made().services
    backend, clock = services.database.backend, services.clock
    holder = str(operon.get_run(run_id).executor)
    with services.database.transaction() as connection:
        claimed = claims.claim_one(
            connection, backend, "thief", run_id, gone=[holder], clock=clock
        )
        assert claimed is not None
        how = Finish(lease=claimed.lease, status=RunStatus.SUCCEEDED, output="-1")
        finishes.finish(connection, backend, [how], clock=clock)


class Crash(BaseException):
    """The process dies here; nobody cleans up."""


class Crasher:
    """A probe at which the process dies, once, the *nth* time it comes to *point*."""

    def __init__(self, point: Point | None = None, nth: int = 1) -> None:
        self.point = point
        self.left = nth

    def __call__(self, point: Point, run_id: str) -> None:
        """Die if it is time."""
        if point is not self.point:
            return
        self.left -= 1
        if self.left == 0:
            raise Crash(f"{run_id} at {point}")


class Gate:
    """Something that is closed until a test opens it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        """Let everybody pass."""
        self._event.set()

    def wait(self) -> None:
        """Wait until it is open."""
        assert self._event.wait(15), "nobody opened the gate"


def crashed(call: Any) -> None:
    """Make *call*, which dies, or is told to."""
    with suppress(Crash, KeyboardInterrupt):
        call()
