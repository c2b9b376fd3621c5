"""A clock that stands still until it is turned."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

from operon.clock import SystemClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class StillClock(SystemClock):
    """Tells noon of a day, and what it was turned since."""

    def __init__(self) -> None:
        self._turned = timedelta(0)

    def now(self) -> datetime:
        """Return the turned time."""
        return NOON + self._turned

    def monotonic(self) -> float:
        """Return the seconds that it was turned."""
        return self._turned.total_seconds()

    def turn(self, **by: float) -> None:
        """Turn it forward, by `hours=1` and the like."""
        self._turned += timedelta(**by)
