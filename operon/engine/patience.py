"""Waiting out a database that is busy or away, for as long as it makes sense."""

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import exc

from operon.clock import Clock
from operon.engine.faults import Fault
from operon.engine.flow import GaveUp
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.errors import DatabaseUnavailableError
from operon.errors import MisuseError

_FIRST_WAIT = {Fault.CONFLICT: 0.005, Fault.BUSY: 0.02}  # seconds; others 0.1
_LONGEST_WAIT = {Fault.CONFLICT: 1.0}  # seconds; others 5
_BUSY_ATTEMPTS = 10  # how often a caller who waits meets a lock timeout

T = TypeVar("T")

Wait = Callable[[timedelta], None]


class Patience:
    """How long something has been kept from happening, and by what.

    In the background there is no end to it: the work is durable and goes on when
    the database does. A caller who waits is told when *limit* has passed.
    """

    def __init__(
        self,
        clock: Clock,
        limit: timedelta | None,
        wait: Wait,
        *,
        is_alone: bool = False,
    ) -> None:
        """Begin to wait.

        Args:
            clock: Tells the time.
            limit: How long a caller is ready to wait; None: for ever.
            wait: Waits for a duration.
            is_alone: Whether nobody else is at work, so that no lock comes free.
        """
        self._clock = clock
        self._limit = limit
        self._wait = wait
        self._is_alone = is_alone
        self._since = clock.monotonic()
        self._faults: dict[Fault, int] = {}
        self._in_doubt = False

    def wait(self, refusal: Rejected) -> None:
        """Wait before the next try after *refusal*.

        Raises:
            DatabaseUnavailableError: It has lasted too long for somebody who waits.
            MisuseError: It will last for ever: the one who waits holds the lock.
        """
        fault = refusal.fault
        if self._is_alone and fault is Fault.BUSY:
            raise _never_free() from refusal.__cause__
        self._faults[fault] = self._faults.get(fault, 0) + 1
        self._in_doubt |= refusal.sent and fault is Fault.LOST
        waited = self._clock.monotonic() - self._since
        if self._is_over(fault, waited):
            cause = refusal.__cause__ or refusal
            raise DatabaseUnavailableError(
                str(cause), waited=waited, in_doubt=self._in_doubt
            ) from cause
        self._wait(timedelta(seconds=self._backoff(fault)))

    def _is_over(self, fault: Fault, waited: float) -> bool:
        if self._limit is None:
            return False
        if fault is Fault.BUSY and self._faults[fault] >= _BUSY_ATTEMPTS:
            return True
        return waited >= self._limit.total_seconds()

    def _backoff(self, fault: Fault) -> float:
        """Return seconds: exponential, capped, with full jitter.

        Source:
            Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
        """
        tries = min(self._faults[fault], 16)
        most = _FIRST_WAIT.get(fault, 0.1) * 2**tries
        return random.uniform(0, min(most, _LONGEST_WAIT.get(fault, 5.0)))  # noqa: S311 - jitter, no secret


class RunPatience(Patience):
    """The patience of one operation of a run; when it ends, the body unwinds."""

    def __init__(self, run: ActiveRun) -> None:
        services = run.services
        limit = services.patience if run.foreground else None
        super().__init__(services.clock, limit, run.wait, is_alone=services.is_inline)
        self._run = run

    def wait(self, refusal: Rejected) -> None:
        """Wait before the next try after *refusal*; unwind when it lasts too long."""
        try:
            super().wait(refusal)
        except (DatabaseUnavailableError, MisuseError) as error:
            self._run.break_with(GaveUp(error))


def _never_free() -> MisuseError:
    return MisuseError(
        "a statement",
        "has waited too long, and nobody else is at work who could free its lock",
        cure="write through the session that the step is given: another connection "
        "waits for the step to end",
    )


def impatient(clock: Clock, limit: timedelta | None) -> Patience:
    """Return a patience that ends after *limit*, and that nothing interrupts."""
    never = threading.Event()

    def wait(duration: timedelta) -> None:
        clock.wait(never, duration.total_seconds())

    return Patience(clock, limit, wait)


def insist(clock: Clock, limit: timedelta, action: Callable[[], T]) -> T:
    """Return what *action* returns, in spite of a busy database.

    Args:
        clock: Tells the time and waits.
        limit: How long the caller is ready to wait.
        action: One transaction, which may be repeated after its outcome was unknown.

    Raises:
        DatabaseUnavailableError: The patience is over.
    """
    patience = impatient(clock, limit)
    while True:
        try:
            return action()
        except exc.SQLAlchemyError as error:
            patience.wait(Rejected.from_error(error))
