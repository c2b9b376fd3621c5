"""What runs have come to, read and waited for from outside."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from typing import NoReturn

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
from operon.status import RunStatus
from operon.store import runs
from operon.store.database import Database
from operon.store.runs import Result

_FIRST_POLL = 0.005  # seconds
_LAST_POLL = 0.25  # seconds; how late a result may be noticed
FOREVER = float("inf")  # seconds


@dataclass(frozen=True)
class Results:
    """Reads what runs have come to, and waits for it."""

    database: Database
    payloads: Payloads
    clock: Clock
    patience: timedelta
    polls: bool = True
    """Whether runs end without the clock's knowledge; False: who waits executes."""

    def get(self, run_id: str) -> Result:
        """Return what *run_id* has come to.

        Raises:
            RunNotFoundError: There is no such run.
            DatabaseUnavailableError: It could not be read in time.
        """
        found = self.find(run_id)
        if found is None:
            raise RunNotFoundError(run_id)
        return found

    def newest(self, run_id: str) -> str:
        """Return the run that goes on for *run_id*; those between may be purged.

        Raises:
            DatabaseUnavailableError: It could not be read in time.
        """

        def read() -> str:
            with self.database.reading() as connection:
                return runs.newest(connection, run_id)

        return insist(self.clock, self.patience, read)

    def latest(self, run_id: str) -> tuple[str, Result]:
        """Return the run that goes on for *run_id*, and what it has come to.

        Raises:
            RunNotFoundError: There is no such run.
            DatabaseUnavailableError: It could not be read in time.
        """
        found = self.get(run_id)
        while found.continued_as is not None:  # as it may while one looks
            run_id = self.newest(run_id)
            found = self.get(run_id)
        return run_id, found

    def find(self, run_id: str) -> Result | None:
        """Return what *run_id* has come to, or None if there is no such run.

        Raises:
            DatabaseUnavailableError: It could not be read in time.
        """

        def read() -> Result | None:
            with self.database.reading() as connection:
                return runs.find_result(connection, run_id)

        return insist(self.clock, self.patience, read)

    def wait(
        self,
        run_id: str,
        timeout: timedelta | None,
        *,
        meanwhile: Callable[[str, Result], None] = lambda _, __: None,
    ) -> Result:
        """Wait until *run_id*, or what goes on in its place, has ended.

        Each time it had not, *meanwhile* is called with the run that goes on.

        Raises:
            ResultTimeoutError: It had not ended after *timeout*.
            RunNotFoundError: There is no such run.
            DatabaseUnavailableError: It could not be read for longer than the patience.
        """
        began = self.clock.monotonic()
        pause, never = _FIRST_POLL, threading.Event()
        while True:
            known, (run_id, found) = run_id, self.latest(run_id)
            if run_id != known:
                pause = _FIRST_POLL
            if found.status.is_final:
                return found
            meanwhile(run_id, found)
            waited = self.clock.monotonic() - began
            if timeout is not None and waited >= timeout.total_seconds():
                raise ResultTimeoutError(run_id, waited=waited)
            left = FOREVER if timeout is None else timeout.total_seconds() - waited
            if self.polls:
                left = min(left, pause * random.uniform(0.75, 1))  # noqa: S311 - jitter, no secret
            self.clock.wait(never, left)
            pause = min(pause * 1.5, _LAST_POLL)

    def resolve(self, run_id: str, found: Result) -> Any:
        """Return the decoded output of an ended run, or raise what it came to."""
        if found.status is RunStatus.SUCCEEDED:
            return self._output(run_id, found)
        if found.status is RunStatus.CANCELLED:
            raise RunCancelledError(run_id)
        error = self._error(run_id, found)
        if found.status is RunStatus.DEAD and not isinstance(error, RunDeadError):
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
