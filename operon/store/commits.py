"""Watching commits, so that one that never ends can be broken off."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from operon.clock import Clock
from operon.store.dialect import Backend


class CommitWatch:
    """The commits that are under way, so that one that never ends can be cut.

    A COMMIT that waits for a synchronous standby obeys no timeout of the server.
    Cutting the connection cancels nothing: the outcome is unknown, and the run is
    claimed again before anything else happens in it.
    """

    def __init__(self, clock: Clock, limit: timedelta) -> None:
        self._clock = clock
        self._limit = limit.total_seconds()
        self._mutex = threading.Lock()
        self._since: dict[Any, float] = {}

    @contextmanager
    def watched(self, driver: Any) -> Generator[None, None, None]:
        """Watch the commit of the driver's connection *driver* within the block."""
        with self._mutex:
            self._since[driver] = self._clock.monotonic()
        try:
            yield
        finally:
            with self._mutex:
                del self._since[driver]

    def cut_overdue(self, backend: Backend) -> None:
        """Break every connection whose COMMIT takes longer than the limit."""
        oldest = self._clock.monotonic() - self._limit
        with self._mutex:
            for driver, since in self._since.items():
                if since < oldest:
                    backend.cut(driver)
