"""A run in memory: its history, its claim, and where its body stands."""

import logging
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from datetime import timedelta
from types import TracebackType
from typing import Any
from typing import NoReturn
from typing import Protocol

from sqlalchemy import exc

from operon import hooks
from operon.context import CurrentRun
from operon.engine.flow import ClaimAgain
from operon.engine.flow import ControlFlow
from operon.engine.flow import LeaseLost
from operon.engine.flow import MustDie
from operon.engine.flow import Stopping
from operon.engine.flow import Suspended
from operon.engine.services import Services
from operon.engine.timeline import Timeline
from operon.errors import DecodeError
from operon.registry import Declared
from operon.status import RunStatus
from operon.store import claims
from operon.store import deadlines
from operon.store.attempts import Past
from operon.store.checkpoints import Lease
from operon.store.checkpoints import Record
from operon.store.finishes import Finish
from operon.store.starts import NewRun
from operon.store.waits import earliest

_logger = logging.getLogger("operon.run")


_NO_PASTS: Mapping[int, Past] = {}


class Crew(Protocol):
    """The spawned operations of a run."""

    def join(self) -> datetime | None:
        """Wait until none executes; return when the first of those parked is due."""
        ...


class ActiveRun:
    """One claim of a run, from its first operation to its end.

    Attributes:
        services: What the engine works with.
        declared: The run's workflow, as this process knows it.
        workflow: The decoded input; the body's `self`.
        lease: The claim; its epoch follows when a cancel raises it.
        principal: Who asked for the run.
        root_id: The first ancestor, if the run has a parent.
        chain_id: The first run of its chain, if `continue_as` made it.
        foreground: Whether a caller waits in this thread.
        new: What its row says, if this claim began the run.
        unstarted: Whether its row is still to be written, by the first operation.
        in_doubt: Whether it may have been written, the reply lost.
        problem: How the run has to end, if it cannot continue with this code.
        recorded: The last position the history held when the run was claimed.
        position: The position of the last operation the body has called.
        time: What the database's clock says, and what the body knows of it.
        deadline_at: When the run is told to end.
        crew: The operations the body has spawned, if it has.
        untold: The positions of those whose outcome the body was not given yet.
        may_suspend: Whether its waits may unwind the body.
        pasts: The failed attempts of operations without an outcome, by position.
        tracebacks: Where errors recorded in this process were raised, by position.
        traceback: Where the error that ended the body was raised.
        claimed: What its row said when it was claimed, unless it began here.
        ended_by: The class of the error that ends it.
    """

    problem: Finish | None = None
    crew: Crew | None = None
    deadline_at: datetime | None = None
    may_suspend = True
    in_doubt = False
    traceback: TracebackType | None = None
    claimed: claims.Claimed | None = None
    ended_by: str | None = None

    def __init__(
        self,
        services: Services,
        declared: Declared,
        workflow: Any,
        lease: Lease,
        *,
        history: Sequence[Record] = (),
        pasts: Mapping[int, Past] = _NO_PASTS,
        principal: Mapping[str, Any] | None = None,
        root_id: str | None = None,
        chain_id: str | None = None,
        foreground: bool = False,
        new: NewRun | None = None,
    ) -> None:
        self.services = services
        self.declared = declared
        self.workflow = workflow
        self.lease = lease
        self.principal = None if principal is None else dict(principal)
        self.root_id = root_id
        self.chain_id = chain_id
        self.foreground = foreground
        self.new = new
        self.unstarted = new is not None
        self.recorded = history[-1].position if history else 0
        self.position = 0
        self.time = Timeline(services.clock)
        self.tracebacks: dict[int, TracebackType | None] = {}
        self.pasts = dict(pasts)
        self._history = {record.position: record for record in history}
        self.untold: set[int] = set()
        self._open_from: dict[int, int | None] = {}
        self._waited: tuple[int | None, datetime | None] = (None, None)
        self._cancel_requested_at: datetime | None = None
        self._thread = threading.get_ident()
        self._delivering = threading.Lock()
        self._broken: ControlFlow | None = None
        self._interrupted = threading.Event()
        self._nudged = threading.Event()

    def begin(self, created_at: datetime, deadline_at: datetime | None) -> None:
        """Take over what the database made of the row that was just written."""
        self.time.begin(created_at, now=created_at)
        self.deadline_at = deadline_at

    def recall(self, claimed: claims.Claimed, *, since: float | None = None) -> None:
        """Take over what the row said when the run was claimed, *since* or just now."""
        self.claimed = claimed
        self.time.begin(claimed.created_at, now=claimed.claimed_at, since=since)
        self.deadline_at = claimed.deadline_at
        self._cancel_requested_at = claimed.cancel_requested_at
        self._waited = (claimed.wait_position, claimed.wait_until)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.lease.run_id

    @property
    def facts(self) -> hooks.Run:
        """Which run it is, as hooks are told."""
        declared = self.declared
        return hooks.Run(self.run_id, declared.name, declared.version, self.lease.epoch)

    @property
    def address(self) -> str:
        """Where its messages, events and streams are."""
        return self.chain_id or self.run_id

    @property
    def is_in_body(self) -> bool:
        """Whether the thread that asks is the one in which the body is played."""
        return threading.get_ident() == self._thread

    @property
    def cancel_delivered(self) -> Record | None:
        """The operation in whose place the body was told to end, if it was."""
        for record in list(self._history.values()):
            if record.kind == "cancel":
                return record
        return None

    @property
    def cancel_is_due(self) -> bool:
        """Whether the body has to be told to end, and was not yet."""
        return self._cancel_requested_at is not None and self.cancel_delivered is None

    @property
    def is_timed_out(self) -> bool:
        """Whether it is the deadline that asks the body to end."""
        return deadlines.by_deadline(self._cancel_requested_at, self.deadline_at)

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed and nobody has asked the run to end."""
        return (
            self.deadline_at is not None
            and self._cancel_requested_at is None
            and self.time.now() >= self.deadline_at
        )

    def take_cancel(self) -> bool:
        """Take it on oneself to deliver the cancel; only one thread may."""
        return self._delivering.acquire(blocking=False)

    def current(self, **operation: Any) -> CurrentRun:
        """Return what the executing code may know; *operation* fills its fields."""
        return CurrentRun(
            run_id=self.run_id,
            workflow=self.declared.name,
            principal=self.principal,
            root_id=self.root_id,
            deadline=earliest(operation.pop("deadline", None), self.deadline_at),
            **operation,
        )

    def advance(self) -> int:
        """Take the next position of the history.

        Noted is from which position on, right below it, the body knows no outcome:
        this operation cannot be its answer to any of those.
        """
        self.position += 1
        first = self.position
        while first - 1 in self.untold:
            first -= 1
        self._open_from[self.position] = first if first < self.position else None
        return self.position

    def open_from(self, position: int) -> int | None:
        """Return from where on operations were open when that at *position* began."""
        return self._open_from.get(position)

    def find(self, position: int) -> Record | None:
        """Return what is recorded at *position*, or None."""
        return self._history.get(position)

    def remember(self, record: Record) -> Record:
        """Keep what was just recorded, and return it."""
        self._history[record.position] = record
        return record

    def unread(self) -> Record | None:
        """Return the first recorded operation that the body has not called, if any."""
        later = [each for each in self._history if each > self.position]
        return self._history[min(later)] if later else None

    def waited_until(self, position: int) -> datetime | None:
        """Return until when an earlier claim decided to wait at *position*."""
        return self._waited[1] if self._waited[0] == position else None

    def join(self) -> datetime | None:
        """Wait for spawned operations; return when a parked one is due, if any is."""
        return None if self.crew is None else self.crew.join()

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

    def has_swallowed(self, kind: str, name: str) -> bool:
        """Tell whether the body, suspended at an operation, calls just that again."""
        flow = self._broken
        if not isinstance(flow, Suspended) or flow.wait.position != self.position:
            return False
        if flow.wait.kind == "retry":
            return kind in {"step", "activity"}
        return kind == flow.wait.kind and flow.wait.key in {None, name}

    def wait_in_thread(self, line: str) -> None:
        """Let the body, which cannot be unwound, make its last call once more.

        A loop around `except:` would raise the suspension for ever.
        """
        message = "run %r swallows its suspension at %s: it waits, and holds its thread"
        _logger.warning(message, self.run_id, line)
        self.may_suspend, self._broken = False, None
        self.position -= 1

    def die_undecodable(self, subject: str, reason: str) -> NoReturn:
        """Stop the run because a stored value does not fit today's types."""
        self.break_with(MustDie(DecodeError(subject, reason)))

    def interrupt(self) -> None:
        """Wake the run if it waits; it then looks at its row."""
        self._interrupted.set()
        self._nudged.set()

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

    def nap(self, seconds: float) -> None:
        """Wait up to *seconds*, or until something happened that it may wait for."""
        self.services.clock.wait(self._nudged, seconds)
        self._nudged.clear()

    def nudge(self) -> None:
        """Let the run look again whether what it waits for is there."""
        self._nudged.set()

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
        self._cancel_requested_at = held.cancel_requested_at
        if held.epoch == self.lease.epoch:
            return
        if held.epoch > self.lease.epoch + 1 or not self.cancel_is_due:
            self.break_with(LeaseLost())
        self.lease = replace(self.lease, epoch=held.epoch)
