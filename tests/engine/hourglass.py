"""A clock that runs, and can be turned; shared by the executors of one test."""

import threading
import time
from datetime import UTC
from datetime import datetime
from datetime import timedelta

_LOOK = 0.02  # seconds between two looks whether somebody has turned it


class Hourglass:
    """Runs like this machine's clock, ahead of it by what it was turned.

    Attributes:
        waits: For each thread, by name, how long it last wanted to wait.
    """

    def __init__(self, at: datetime | None = None) -> None:
        self._ahead = timedelta(0) if at is None else at - datetime.now(UTC)
        self._monotonic = 0.0
        self.waits: dict[str, float] = {}

    def now(self) -> datetime:
        """Return the turned time."""
        return datetime.now(UTC) + self._ahead

    def database_time(self) -> datetime:
        """Return the turned time: statements use it, too."""
        return self.now()

    def monotonic(self) -> float:
        """Return seconds that go on when the clock is turned."""
        return time.monotonic() + self._monotonic

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until *event* is set, or *seconds* passed or were turned over."""
        self.waits[threading.current_thread().name] = seconds
        until = self.monotonic() + seconds
        while not event.is_set():
            left = until - self.monotonic()
            if left <= 0:
                return False
            event.wait(min(left, _LOOK))
        return True

    def turn(self, **by: float) -> None:
        """Let so many hours, minutes or seconds pass at once."""
        passed = timedelta(**by)
        self._ahead += passed
        self._monotonic += passed.total_seconds()

    def suspend(self, **by: float) -> None:
        """Let so much time pass while this machine is suspended.

        Its monotonic clock stands still meanwhile, as Linux's does.
        """
        self._ahead += timedelta(**by)
