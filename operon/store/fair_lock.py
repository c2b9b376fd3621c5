"""A lock that lets nobody starve: the turns of SQLite's one writer."""

import threading


class FairLock:
    """A lock that is granted in the order it was asked for.

    SQLite has one writer at a time and lets the others poll for their turn; the
    threads of one process queue here instead, so that none of them starves.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: list[threading.Event] = []
        self._owner: int | None = None

    @property
    def owner(self) -> int | None:
        """The thread that holds the lock, or None."""
        return self._owner

    def __enter__(self) -> None:
        turn = threading.Event()
        with self._mutex:
            self._waiting.append(turn)
            if len(self._waiting) == 1:
                turn.set()
        try:
            turn.wait()
        except BaseException:  # an interrupt: the turn must not stay in the queue
            self._leave(turn)
            raise
        self._owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._owner = None
        self._leave(self._waiting[0])

    def _leave(self, turn: threading.Event) -> None:
        """Take *turn* out of the queue; whoever is first then may enter."""
        with self._mutex:
            self._waiting.remove(turn)
            if self._waiting:
                self._waiting[0].set()
