"""Handles: a run seen from outside, by its id."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from typing import Generic
from typing import NoReturn
from typing import Protocol
from typing import TypeVar

from operon import registry
from operon.clock import Clock
from operon.codec import Payloads
from operon.codec import Undecodable
from operon.codec import UnknownError
from operon.codec import decode_error
from operon.codec import type_codec
from operon.engine.patience import insist
from operon.errors import DecodeError
from operon.errors import RecordedError
from operon.errors import ResultTimeoutError
from operon.errors import RunCancelledError
from operon.errors import RunDeadError
from operon.errors import RunNotFoundError
from operon.models import Checkpoint
from operon.status import RunStatus
from operon.store import runs
from operon.store.database import Database
from operon.store.runs import Result

R = TypeVar("R")

_FIRST_POLL = 0.005  # seconds
_LAST_POLL = 0.25  # seconds; how late a result may be noticed


class Controls(Protocol):
    """What a handle asks its Operon to do."""

    def cancel(self, run_id: str, *, force: bool = False) -> None:
        """Ask the run to end."""
        ...

    def resume(self, run_id: str) -> None:
        """Continue the run."""
        ...

    def retry(self, run_id: str) -> None:
        """Redo the run's failed operation."""
        ...

    def fork(self, run_id: str, *, from_position: int) -> "Handle[Any]":
        """Make a new run from the first checkpoints of this one."""
        ...

    def list_steps(self, run_id: str) -> list[Checkpoint]:
        """Return the run's history."""
        ...

    def results(self) -> "Results":
        """Return what reads results."""
        ...


@dataclass(frozen=True)
class Handle(Generic[R]):
    """One run, wherever it executes.

    Attributes:
        id: The run's id.
    """

    id: str
    _controls: Controls

    def status(self) -> RunStatus:
        """Return where the run stands.

        Raises:
            RunNotFoundError: There is no such run, or its start has not committed.
        """
        return self._controls.results().get(self.id).status

    def result(self, timeout: timedelta | None = None) -> R:
        """Wait until the run has ended; return what its body returned.

        Raises:
            ResultTimeoutError: It goes on; ask again.
            RunCancelledError: It was cancelled.
            RunDeadError: Operon stopped it.
            RunNotFoundError: There is no such run, or its start has not committed.
            Exception: What the body raised, decoded.
        """
        results = self._controls.results()
        result: R = results.resolve(self.id, results.wait(self.id, timeout))
        return result

    def steps(self) -> list[Checkpoint]:
        """Return the run's history so far, in order of position."""
        return self._controls.list_steps(self.id)

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end; *force* ends it at once, without compensation."""
        self._controls.cancel(self.id, force=force)

    def resume(self) -> None:
        """Continue a run that is dead or was cancelled by force."""
        self._controls.resume(self.id)

    def retry(self) -> None:
        """Redo the operation that made the run fail."""
        self._controls.retry(self.id)

    def fork(self, *, from_position: int) -> "Handle[R]":
        """Make a new run with the checkpoints before *from_position* of this one."""
        return self._controls.fork(self.id, from_position=from_position)


@dataclass(frozen=True)
class Results:
    """Reads what runs have come to, and waits for it."""

    database: Database
    payloads: Payloads
    clock: Clock
    patience: timedelta

    def get(self, run_id: str) -> Result:
        """Return what *run_id* has come to.

        Raises:
            RunNotFoundError: There is no such run.
            DatabaseUnavailableError: It could not be read in time.
        """

        def read() -> Result | None:
            with self.database.reading() as connection:
                return runs.find_result(connection, run_id)

        found = insist(self.clock, self.patience, read)
        if found is None:
            raise RunNotFoundError(run_id)
        return found

    def wait(
        self,
        run_id: str,
        timeout: timedelta | None,
        *,
        meanwhile: Callable[[Result], None] = lambda _: None,
    ) -> Result:
        """Wait until *run_id* has ended; call *meanwhile* each time it had not.

        Raises:
            ResultTimeoutError: It had not ended after *timeout*.
            RunNotFoundError: There is no such run.
            DatabaseUnavailableError: It could not be read for longer than the patience.
        """
        began = self.clock.monotonic()
        pause, never = _FIRST_POLL, threading.Event()
        while True:
            found = self.get(run_id)
            if found.status.is_final:
                return found
            meanwhile(found)
            waited = self.clock.monotonic() - began
            if timeout is not None and waited >= timeout.total_seconds():
                raise ResultTimeoutError(run_id, waited=waited)
            left = pause if timeout is None else timeout.total_seconds() - waited
            self.clock.wait(never, min(left, pause * random.uniform(0.75, 1)))  # noqa: S311 - jitter, no secret
            pause = min(pause * 1.5, _LAST_POLL)

    def resolve(self, run_id: str, found: Result) -> Any:
        """Return the decoded output of an ended run, or raise what it came to."""
        if found.status is RunStatus.SUCCEEDED:
            return self._output(run_id, found)
        if found.status is RunStatus.CANCELLED:
            raise RunCancelledError(run_id)
        error = self._error(run_id, found)
        if found.status is RunStatus.DEAD:
            raise RunDeadError(run_id, str(error)) from error
        raise error

    def _output(self, run_id: str, found: Result) -> Any:
        declared = registry.find(found.workflow, found.version)
        codec = type_codec(Any) if declared is None else declared.result
        try:
            return codec.decode(
                self.payloads.unwrap(found.output or "null", found.codec)
            )
        except Undecodable as error:
            _refuse(run_id, error)

    def _error(self, run_id: str, found: Result) -> Exception:
        try:
            text = self.payloads.unwrap(found.error or "", found.codec)
            error = decode_error(text)
        except Undecodable as problem:
            _refuse(run_id, problem)
        if isinstance(error, UnknownError):
            return RecordedError(
                run_id, "run", 0, error_type=error.type, message=error.message
            )
        return error


def _refuse(run_id: str, problem: Undecodable) -> NoReturn:
    raise DecodeError(f"the result of run {run_id!r}", problem.reason) from problem
