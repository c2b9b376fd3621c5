"""A clock that is turned by hand, so that no test waits for an hour to pass.

Give one to every `Operon(clock=…)` of a test: it is the time of the process and of the
database alike. It knows nothing of what is waited for.
"""

import threading
from datetime import UTC
from datetime import datetime
from datetime import timedelta

from operon.clock import SystemClock

_LOOK = 0.005  # seconds between two looks of whoever waits whether it was turned
_NOTHING = timedelta(0)


class TurnedClock(SystemClock):
    """A clock that goes on by itself, and can be turned forward.

    Whoever waits by it wakes when it is turned, and looks again: sleeps, schedules,
    delays of retries, deadlines. Counted seconds are turned only where that is asked
    for, so that no executor looks dead because a day was skipped.
    """

    def __init__(self, at: datetime | None = None) -> None:
        """Begin *at* some time (aware), by default now."""
        self._mutex = threading.Lock()
        self._ahead = _NOTHING if at is None else at - datetime.now(UTC)
        self._counted = 0.0
        self._turns = 0

    def turn(
        self, by: timedelta = _NOTHING, *, leases: bool = False, **units: float
    ) -> None:
        """Turn it forward, *by* a duration, or by `hours=1` and the like.

        Args:
            by: How much time passes at once.
            leases: Whether counted seconds pass as well, so that executors which are
                silent lose their runs, and activities that are under way time out.
            units: As `timedelta` takes them; added to *by*.
        """
        passed = by + timedelta(**units)
        with self._mutex:
            self._ahead += passed
            self._counted += passed.total_seconds() if leases else 0.0
            self._turns += 1

    def now(self) -> datetime:
        """Return the turned time, aware, in UTC."""
        return datetime.now(UTC) + self._ahead

    def database_time(self) -> datetime:
        """Return the turned time: statements use it in place of the database's."""
        return self.now()

    def monotonic(self) -> float:
        """Return seconds that never go back, with those that were turned over."""
        return super().monotonic() + self._counted

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until *event* is set, *seconds* passed or the clock is turned.

        Returns:
            Whether *event* is set.
        """
        turns, until = self._turns, self.monotonic() + seconds
        while turns == self._turns:
            left = until - self.monotonic()
            if event.wait(max(0.0, min(left, _LOOK))) or left <= 0:
                break
        return event.is_set()
