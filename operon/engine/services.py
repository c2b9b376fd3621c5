"""What the engine works with in one process: the things that are there once."""

import threading
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from typing import Any
from typing import Protocol

from sqlalchemy import Connection

from operon.clock import Clock
from operon.codec import Payloads
from operon.engine.finisher import Finisher
from operon.engine.guard import GuardedSession
from operon.handle import Handle
from operon.hooks import Hooks
from operon.operation import Call
from operon.points import Probe
from operon.queue import Queue
from operon.registry import Declared
from operon.store.checkpoints import Lease
from operon.store.database import Database


class Executing(Protocol):
    """A run whose body has begun in some thread of this process."""

    lease: Lease
    declared: Declared
    workflow: Any

    def interrupt(self) -> None:
        """Wake whatever the run waits for, so that it looks at its row."""
        ...

    def nudge(self) -> None:
        """Let it look again whether what it waits for is there."""
        ...


class ActiveRuns:
    """The runs that a thread of this process is executing, each at most once."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._runs: dict[str, Executing | None] = {}

    def enter(self, run_id: str) -> bool:
        """Note that *run_id* is about to be executed here; False if it is already."""
        with self._mutex:
            if run_id in self._runs:
                return False
            self._runs[run_id] = None
            return True

    def show(self, run: Executing) -> None:
        """Let the heartbeat see *run*, to interrupt it."""
        with self._mutex:
            self._runs[run.lease.run_id] = run

    def leave(self, run_id: str) -> None:
        """Note that *run_id* is not executed here any more."""
        with self._mutex:
            self._runs.pop(run_id, None)

    def __contains__(self, run_id: object) -> bool:
        with self._mutex:
            return run_id in self._runs

    def __len__(self) -> int:
        with self._mutex:
            return len(self._runs)

    def each(self) -> list[Executing]:
        """Return the runs whose body has begun."""
        with self._mutex:
            return [run for run in self._runs.values() if run is not None]


@dataclass(kw_only=True)
class Services:
    """What the engine works with; one per `Operon` and process."""

    database: Database
    sessions: Callable[..., GuardedSession]
    """Makes the sessions that steps get."""
    payloads: Payloads
    clock: Clock
    probe: Probe
    hooks: Hooks
    """Who is told what happens to runs."""
    surroundings: Callable[[], AbstractContextManager[Any]]
    """Makes what every body, step and activity is called within."""
    executor: str
    """This process's id as a holder of runs."""
    isolation: str
    """Of steps that do not say otherwise."""
    patience: timedelta
    """How long a caller who waits is kept waiting for an unusable database."""
    lease: timedelta
    inline_wait: timedelta
    """How long a thread waits before its run is suspended."""
    threads: int
    """How many claimed runs, and spawned operations of one run, execute at once."""
    code_version: str | None
    finisher: Finisher
    queues: Callable[[], Mapping[str, Queue]]
    """What this process knows of queues without asking the database."""
    handle: Callable[[str, Declared | None], Handle[Any]]
    """Makes the handle of a run."""
    active: ActiveRuns = field(default_factory=ActiveRuns)
    stopping: threading.Event = field(default_factory=threading.Event)
    is_inline: bool = False
    """Whether everything happens in the thread that waits for it."""
    executes: bool = True
    """Whether what has no checkpoint is executed; False replays an exported history."""
    outside: Callable[[Call], Any] = Call.outside
    """Calls the function of an activity; a test may answer in its place."""
    may_begin: Callable[[], bool] = lambda: True
    """Whether the executor's lease is fresh enough to begin another operation."""
    renew: Callable[[Connection], None] = lambda _: None
    """Renews the lease within a step's own commit, if the heartbeat could not."""
    tell: Callable[..., None] = lambda *_: None
    """Tells all executors at which addresses something happened; never in doubt."""
    tell_due: Callable[[], None] = lambda: None
    """Tells all executors that a run was enqueued."""
    is_crowded: Callable[[], bool] = lambda: False
    """Whether every thread for claimed runs is taken, so that none should wait."""
    help: Callable[[str], None] = lambda _: None
    """Executes a run in this thread if it is free for the taking."""
