"""Threads that execute one thing after another, and die with the process."""

import queue
import threading
from collections.abc import Callable

_NAME = "operon-idle"
_IDLE = 10.0  # seconds after which a thread without work ends

Work = Callable[[], None]


class Threads:
    """As many threads as there is work at once; none of them holds the process.

    Starting a thread for each short run would cost more than the run's own code.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._idle = 0
        self._is_closed = False
        self._work: queue.SimpleQueue[tuple[str, Work | None]] = queue.SimpleQueue()

    def execute(self, name: str, work: Work) -> None:
        """Execute *work*, which raises nothing, in a thread called *name* meanwhile."""
        with self._mutex:
            is_free, self._idle = self._idle > 0, max(0, self._idle - 1)
        if is_free:
            self._work.put((name, work))
        else:
            threading.Thread(
                target=self._go_on, args=(work,), name=name, daemon=True
            ).start()

    def close(self) -> None:
        """Let each thread end as soon as it has no work."""
        with self._mutex:
            self._is_closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._work.put((_NAME, None))

    def _go_on(self, work: Work) -> None:
        thread = threading.current_thread()
        following: Work | None = work
        while following is not None:
            following()
            thread.name = _NAME
            with self._mutex:
                if self._is_closed:
                    return
                self._idle += 1
            thread.name, following = self._next()

    def _next(self) -> tuple[str, Work | None]:
        """Wait for more work; None if there was none for long."""
        try:
            return self._work.get(timeout=_IDLE)
        except queue.Empty:
            with self._mutex:
                if self._idle > 0:
                    self._idle -= 1
                    return _NAME, None
        return self._work.get()  # somebody counted on this thread just now
