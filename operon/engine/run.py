"""A run in memory: its history, its claim, and where its body stands."""

import threading
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from datetime import timedelta
from types import TracebackType
from typing import Any
from typing import NoReturn

from sqlalchemy import exc

from operon.context import CurrentRun
from operon.engine.flow import ClaimAgain
from operon.engine.flow import ControlFlow
from operon.engine.flow import LeaseLost
from operon.engine.flow import MustDie
from operon.engine.flow import Stopping
from operon.engine.services import Services
from operon.errors import DecodeError
from operon.registry import Declared
from operon.status import RunStatus
from operon.store import claims
from operon.store.checkpoints import Lease
from operon.store.checkpoints import Record
from operon.store.claims import Finish
from operon.store.runs import NewRun


class ActiveRun:
    """One claim of a run, from its first operation to its end.

    Attributes:
        services: What the engine works with.
        declared: The run's workflow, as this process knows it.
        workflow: The decoded input; the body's `self`.
        lease: The claim; its epoch follows when a cancel raises it.
        principal: Who asked for the run.
        root_id: The first ancestor, if the run has a parent.
        foreground: Whether a caller waits in this thread.
        new: What its row says, if this claim began the run.
        unstarted: Whether its row is still to be written, by the first operation.
        problem: How the run has to end, if it cannot continue with this code.
        recorded: How many operations the history held when the run was claimed.
        position: The position of the last operation the body has called.
        tracebacks: Where errors recorded in this process were raised, by position.
        traceback: Where the error that ended the body was raised.
    """

    def __init__(
        self,
        services: Services,
        declared: Declared,
        workflow: Any,
        lease: Lease,
        *,
        history: Sequence[Record] = (),
        principal: Mapping[str, Any] | None = None,
        root_id: str | None = None,
        foreground: bool = False,
        new: NewRun | None = None,
        cancel_requested: bool = False,
    ) -> None:
        self.services = services
        self.declared = declared
        self.workflow = workflow
        self.lease = lease
        self.principal = None if principal is None else dict(principal)
        self.root_id = root_id
        self.foreground = foreground
        self.new = new
        self.unstarted = new is not None
        self.problem: Finish | None = None
        self.recorded = len(history)
        self.position = 0
        self.tracebacks: dict[int, TracebackType | None] = {}
        self.traceback: TracebackType | None = None
        self._history = {record.position: record for record in history}
        self._cancel_requested = cancel_requested
        self._broken: ControlFlow | None = None
        self._interrupted = threading.Event()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.lease.run_id

    @property
    def was_claimed(self) -> bool:
        """Whether somebody, perhaps this process, may have worked on it before."""
        return self.lease.epoch > 1

    @property
    def cancel_delivered(self) -> bool:
        """Whether the body was told to end."""
        return any(record.kind == "cancel" for record in self._history.values())

    @property
    def cancel_is_due(self) -> bool:
        """Whether the body has to be told to end, and was not yet."""
        return self._cancel_requested and not self.cancel_delivered

    def current(self, **operation: Any) -> CurrentRun:
        """Return what the executing code may know; *operation* fills its fields."""
        return CurrentRun(
            run_id=self.run_id,
            workflow=self.declared.name,
            principal=self.principal,
            root_id=self.root_id,
            **operation,
        )

    def find(self, position: int) -> Record | None:
        """Return what is recorded at *position*, or None."""
        return self._history.get(position)

    def remember(self, record: Record) -> Record:
        """Keep what was just recorded, and return it."""
        self._history[record.position] = record
        return record

    def check(self) -> None:
        """Raise what has ended this claim, if anything has."""
        if self._broken is not None:
            raise self._broken
        if self.services.stopping.is_set():
            self.break_with(Stopping())

    def break_with(self, flow: ControlFlow) -> NoReturn:
        """Unwind the body; from now on every operation raises *flow*."""
        self._broken = flow
        raise flow

    def die_undecodable(self, subject: str, reason: str) -> NoReturn:
        """Stop the run because a stored value does not fit today's types."""
        self.break_with(MustDie(DecodeError(subject, reason)))

    def interrupt(self) -> None:
        """Wake the run if it waits; it then looks at its row."""
        self._interrupted.set()

    def heed(self) -> None:
        """Look at the row if the run was interrupted since it last looked."""
        if self._interrupted.is_set():
            self._interrupted.clear()
            self.look()

    def wait(self, duration: timedelta) -> None:
        """Wait *duration*; when interrupted, look why, and go on unless it matters."""
        clock, left = self.services.clock, duration.total_seconds()
        until = clock.monotonic() + left
        while left > 0 and not self.cancel_is_due:
            if not clock.wait(self._interrupted, left):
                return
            self._interrupted.clear()
            self.check()
            self.look()
            left = until - clock.monotonic()

    def now(self) -> datetime:
        """Return the time as this process tells it."""
        clock = self.services.clock
        return clock.database_time() or clock.now()

    def look(self) -> None:
        """Read who holds the run, after the fence refused something.

        A cancel raises the epoch and leaves the run here: the new epoch is taken
        over. Anything else means that the run is somebody else's, or ended.
        """
        if self.unstarted:
            return
        try:
            with self.services.database.reading() as connection:
                held = claims.holding(connection, self.run_id)
        except exc.SQLAlchemyError:
            return  # whoever asked will try again, and be refused again
        if held is None:  # the server crashed before the start was durable
            self.break_with(ClaimAgain())
        mine = held.executor == self.lease.executor
        if held.status is not RunStatus.RUNNING or not mine:
            self.break_with(LeaseLost())
        self._cancel_requested = held.cancel_requested_at is not None
        if held.epoch == self.lease.epoch:
            return
        if held.epoch > self.lease.epoch + 1 or not self.cancel_is_due:
            self.break_with(LeaseLost())
        self.lease = replace(self.lease, epoch=held.epoch)
