"""Turns: requests that are the same, one after another, where no row can tell them.

On PostgreSQL a request waits for the row of its key, which another one writes. SQLite
lets one transaction write at a time, whatever it is about, so there the second of two
would wait for its turn to write, and for as long as the first takes.
"""

import os
import threading
from collections.abc import Generator
from collections.abc import Hashable
from contextlib import contextmanager
from datetime import timedelta

from operon.clock import Clock

_taken: dict[Hashable, threading.Event] = {}
"""Whose turn it is; set when it is over."""

os.register_at_fork(after_in_child=_taken.clear)  # those threads are the parent's


@contextmanager
def turn(
    what: Hashable, patience: timedelta, clock: Clock
) -> Generator[None, None, None]:
    """Have the only turn of this process at *what* within the block.

    Raises:
        TimeoutError: Somebody else has it, and for longer than *patience*.
    """
    mine = threading.Event()
    until = clock.monotonic() + patience.total_seconds()
    while (other := _taken.setdefault(what, mine)) is not mine:
        left = until - clock.monotonic()
        if left <= 0:
            raise TimeoutError
        clock.wait(other, left)
    try:
        yield
    finally:
        _taken.pop(what, None)
        mine.set()
