"""Time as the engine sees it: one object that tells it and waits for it.

Everything that asks for the time or waits goes through a `Clock`, so a test can
turn it. A durable time is the database's own wherever there is one;
`database_time` says whether this clock overrides it.
"""

import threading
import time
from collections.abc import Callable
from collections.abc import Hashable
from datetime import UTC
from datetime import datetime
from typing import Protocol


class Clock(Hashable, Protocol):
    """What tells the time and waits for it."""

    def now(self) -> datetime:
        """Return the time of this machine, aware, in UTC."""
        ...

    def database_time(self) -> datetime | None:
        """Return the time that statements use instead of the database's, or None."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring durations."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until *event* is set or *seconds* passed; return whether it is set."""
        ...


class SystemClock:
    """The clock of this machine, and of the database."""

    def now(self) -> datetime:
        """Return the time of this machine, aware, in UTC."""
        return datetime.now(UTC)

    def database_time(self) -> datetime | None:
        """Return None: the database tells its own time."""
        return None

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until *event* is set or *seconds* passed; return whether it is set."""
        return event.wait(max(0.0, seconds))


class FollowingClock:
    """Whatever clock somebody else goes by just now."""

    def __init__(self, followed: Callable[[], Clock]) -> None:
        """Ask *followed* each time which one that is."""
        self._followed = followed

    def now(self) -> datetime:
        """Return its time, aware, in UTC."""
        return self._followed().now()

    def database_time(self) -> datetime | None:
        """Return what statements use instead of the database's time, or None."""
        return self._followed().database_time()

    def monotonic(self) -> float:
        """Return its seconds, which never go back as long as it is the same one."""
        return self._followed().monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait as it does; return whether *event* is set."""
        return self._followed().wait(event, seconds)
