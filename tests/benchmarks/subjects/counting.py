"""What SQLAlchemy sends: statements and commits, counted exactly, on every engine.

Counted are the statements but for BEGIN and COMMIT, and the transactions that wrote
something, by whether their COMMIT waits for the disk.
"""

import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Generator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import event

from tests.benchmarks.subjects.rows import BenchmarkOrder

WRITES = ("INSERT", "UPDATE", "DELETE", "WITH")
BUSINESS = f"INTO {BenchmarkOrder.__tablename__}"
BACKGROUND = "operon_executors"
"""Heartbeats, of which each process sends some a second, whatever it runs."""


class _Counting:
    def __init__(self, counts: Counter[str], *, everywhere: bool) -> None:
        self.counts = counts
        self.here = None if everywhere else threading.get_ident()
        self.open: dict[int, list[str]] = {}
        """The statements of each connection's transaction so far."""

    def execute(self, connection: Connection, _: Any, *call: Any) -> None:
        statement, parameters = call[:2]
        if self._is_counted() and not statement.startswith("BEGIN"):
            begun = self.open.setdefault(id(connection.connection.dbapi_connection), [])
            begun.append(f"{statement.lstrip()} {parameters}")

    def direct(self, sent: Any) -> None:
        """Count what passes SQLAlchemy's events by (`tests.sent`)."""
        if self._is_counted():
            begun = self.open.setdefault(id(sent.driver), [])
            begun.append(f"{sent.text.lstrip()} {sent.parameters}")
            if sent.commits:
                self._close(sent.driver, committed=True)

    def commit(self, connection: Connection) -> None:
        if self._is_counted():
            self._close(connection.connection.dbapi_connection, committed=True)

    def rollback(self, connection: Connection) -> None:
        if self._is_counted():
            self._close(connection.connection.dbapi_connection, committed=False)

    def _is_counted(self) -> bool:
        return self.here is None or threading.get_ident() == self.here

    def _close(self, driver: Any, *, committed: bool) -> None:
        begun = self.open.pop(id(driver), [])
        if any(BACKGROUND in each for each in begun):
            return
        business = sum(BUSINESS in each for each in begun)
        self.counts["business statements"] += business
        self.counts["other statements"] += len(begun) - business
        self.counts["statements"] += len(begun)
        if committed and any(each.startswith(WRITES) for each in begun):
            lazy = any("synchronous_commit" in each for each in begun)
            how = "asynchronous commits" if lazy else "synchronous commits"
            self.counts[how] += 1


Watch = Callable[[Callable[[Any], None]], AbstractContextManager[None]]
"""Tells a listener, within a block, of what passes SQLAlchemy's events by."""


@contextmanager
def counting(
    *, everywhere: bool = False, watch: Watch = lambda _: nullcontext()
) -> Generator[Counter[str], None, None]:
    """Count what this thread sends within the block, or what all threads send."""
    counts: Counter[str] = Counter()
    counter = _Counting(counts, everywhere=everywhere)
    listeners: dict[str, Callable[..., None]] = {
        "before_cursor_execute": counter.execute,
        "commit": counter.commit,
        "rollback": counter.rollback,
    }
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        with watch(counter.direct):
            yield counts
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)
