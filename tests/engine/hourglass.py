"""A turned clock that takes note of who waits; shared by the executors of one test."""

import threading
from datetime import datetime
from datetime import timedelta

from operon.testing import TurnedClock


class Hourglass(TurnedClock):
    """Counts the seconds that are turned over, too, unless the machine is suspended.

    Attributes:
        waits: For each thread, by name, how long it last wanted to wait.
    """

    def __init__(self, at: datetime | None = None) -> None:
        super().__init__(at)
        self.waits: dict[str, float] = {}

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until *event* is set, or *seconds* passed or were turned over."""
        self.waits[threading.current_thread().name] = seconds
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0 and not event.is_set():
            super().wait(event, left)
        return event.is_set()

    def turn(
        self, by: timedelta = timedelta(0), *, leases: bool = True, **units: float
    ) -> None:
        """Let so much time pass at once."""
        super().turn(by, leases=leases, **units)

    def suspend(self, **units: float) -> None:
        """Let so much time pass while this machine is suspended.

        Its monotonic clock stands still meanwhile, as Linux's does.
        """
        super().turn(timedelta(0), leases=False, **units)
