"""A clock that tests turn forward, so that nobody waits for an hour to pass."""

import threading
from datetime import datetime
from datetime import timedelta

from operon.clock import SystemClock

_LOOK = 0.02  # seconds between two looks of whoever waits


class ManualClock(SystemClock):
    """A clock that goes on by itself, and can be turned forward.

    All Operons of a test share one; it is their database's time as well. Whoever waits
    by it wakes when it is turned, and looks again. What counts seconds (heartbeats,
    leases, commits under way) is not turned: nobody is to look dead.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._turned = timedelta(0)
        self._turns = 0

    def turn(self, **by: float) -> None:
        """Turn it forward, by `hours=1` and the like."""
        with self._mutex:
            self._turned += timedelta(**by)
            self._turns += 1

    def now(self) -> datetime:
        """Return the turned time."""
        return super().now() + self._turned

    def database_time(self) -> datetime:
        """Return the turned time, in place of the database's."""
        return self.now()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until *event* is set, *seconds* passed or the clock is turned."""
        turns, until = self._turns, self.monotonic() + seconds
        while turns == self._turns:
            left = until - self.monotonic()
            if event.wait(max(0.0, min(left, _LOOK))) or left <= 0:
                break
        return event.is_set()
