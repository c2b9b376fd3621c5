"""What one Operon has in one process: made at its first use, anew after a fork."""

import os
import threading
import weakref
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from functools import partial
from importlib.metadata import EntryPoints
from importlib.metadata import entry_points
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

from operon import registry
from operon import schema
from operon.clock import Clock
from operon.codec import Payloads
from operon.config import Settings
from operon.connect import lease_of
from operon.engine.finisher import Finisher
from operon.engine.guard import GuardedSession
from operon.engine.guard import guarded
from operon.engine.guard import watch
from operon.engine.invariants import assert_invariants
from operon.engine.patience import insist
from operon.engine.services import ActiveRuns
from operon.engine.services import Services
from operon.executor.executor import Executor
from operon.executor.inline import InlineExecutor
from operon.executor.retention import Keeping
from operon.handle import Controls
from operon.handle import Handle
from operon.hooks import Hook
from operon.hooks import Hooks
from operon.ids import new_id
from operon.queue import DEFAULT_QUEUE
from operon.queue import Queue
from operon.queue import as_queue
from operon.results import Results
from operon.store.bound import BoundDatabase
from operon.store.checked import CheckedDatabase
from operon.store.commits import CommitWatch
from operon.store.database import Database
from operon.store.notices import can_be_sent


@dataclass(frozen=True)
class Runtime:
    """The parts that work together."""

    settings: Settings
    services: Services
    results: Results
    executor: Executor


def compose(
    engine: Engine,
    factory: "sessionmaker[Any]",
    settings: Settings,
    controls: Controls,
) -> Runtime:
    """Put the parts together; no thread is started and nothing is written."""
    database = Database(
        engine,
        commits=_commit_watch(engine, settings),
        manages_sqlite=settings.manage_sqlite,
    )
    watch(database.steps)
    services = _services(database, guarded(factory), settings, controls)
    results = _results(services)
    executor = Executor(
        services,
        results,
        heartbeat=settings.heartbeat,
        notifies=can_be_sent(database.backend) and settings.pooler is None,
        keeping=Keeping.of(settings),
    )
    return Runtime(settings, services, results, executor)


def compose_inline(
    engine: Engine,
    factory: "sessionmaker[Any]",
    settings: Settings,
    controls: Controls,
    within: Session | None,
) -> tuple[Runtime, InlineExecutor]:
    """Put together what has no threads, and all of whose waits are rows.

    Args:
        engine: The engine of the database.
        factory: Makes the sessions of steps.
        settings: How it behaves otherwise.
        controls: What handles ask.
        within: In whose transaction everything happens; None: in its own.
    """
    commits, active = _commit_watch(engine, settings), ActiveRuns()
    look, sessions = partial(assert_invariants, active), guarded(factory)
    database: Database
    if within is None:
        database = CheckedDatabase(
            engine,
            commits=commits,
            manages_sqlite=settings.manage_sqlite,
            look=look,
        )
        watch(database.steps)
    else:
        database = BoundDatabase(within, commits=commits, look=look)
        sessions = partial(sessions, join_transaction_mode="create_savepoint")
    services = _services(database, sessions, settings, controls)
    services.active = active
    services.is_inline, services.inline_wait = True, timedelta(0)
    results = replace(_results(services), polls=False)
    executor = InlineExecutor(
        services,
        results,
        heartbeat=settings.heartbeat,
        notifies=False,
        keeping=Keeping.of(settings),
    )
    return Runtime(settings, services, results, executor), executor


def _commit_watch(engine: Engine, settings: Settings) -> CommitWatch:
    return CommitWatch(settings.clock, 2 * lease_of(engine, settings))


def _services(
    database: Database,
    sessions: Callable[..., GuardedSession],
    settings: Settings,
    controls: Controls,
) -> Services:
    return Services(
        database=database,
        sessions=sessions,
        payloads=Payloads(settings.codec, settings.payload_warn, settings.payload_max),
        clock=settings.clock,
        probe=settings.probe,
        hooks=Hooks(settings.hooks, installed_hooks),
        surroundings=settings.surroundings,
        executor=new_id(),
        isolation=settings.isolation,
        patience=settings.database_patience,
        lease=lease_of(database.engine, settings),
        inline_wait=settings.inline_wait,
        threads=settings.threads,
        queues=partial(known_queues, settings),
        handle=lambda run_id, declared: Handle(run_id, controls, declared),
        code_version=settings.code_version,
        finisher=Finisher(database, settings.clock),
    )


def _results(services: Services) -> Results:
    return Results(
        services.database, services.payloads, services.clock, services.patience
    )


def installed_hooks() -> list[Hook]:
    """Return the hooks of installed packages, such as Operon's own telemetry.

    The entry points of the group `operon.hooks` make one each, or return None.
    """
    made = (each.load()() for each in _entry_points())
    return [each for each in made if each is not None]


@lru_cache(maxsize=1)
def _entry_points() -> EntryPoints:
    return entry_points(group="operon.hooks")


def known_queues(settings: Settings) -> Mapping[str, Queue]:
    """Return the queues that this process serves once launched, by name.

    `default`, the settings' queues, and those of the declared workflows.
    """
    named = frozenset(each.queue for each in registry.all_declared())
    return _queues(named, settings.queues)


@lru_cache(maxsize=16)
def _queues(
    declared: frozenset[str], given: tuple[str | Queue, ...]
) -> Mapping[str, Queue]:
    named = [Queue(DEFAULT_QUEUE), *map(Queue, declared), *map(as_queue, given)]
    return {queue.name: queue for queue in sorted(named, key=lambda each: each.name)}


def ensure_schema(engine: Engine, settings: Settings) -> None:
    """Upgrade or verify Operon's tables, as the settings say.

    Raises:
        SchemaError: They are missing, behind or ahead.
    """
    automatic = "auto" if engine.dialect.name == "sqlite" else "verify"
    match settings.migrate or automatic:
        case "auto":
            schema.upgrade(engine)
        case "verify":
            schema.verify(engine)
        case _:
            return


class Process:
    """One Operon's runtime in this process.

    Nothing runs before the first use, so a process may fork until then; a child that
    is forked later begins anew, because connections and threads are its parent's.
    """

    def __init__(
        self,
        engine: Engine,
        factory: "sessionmaker[Any]",
        settings: Settings,
        controls: Controls,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.is_launched = False
        """Whether it executes started runs, or will once the launch is over."""
        self._controls = controls
        self.factory = factory
        self._mutex = threading.Lock()
        self._made: Runtime | None = None
        self._ready: Runtime | None = None
        self._refusal: Callable[[], Exception] | None = None
        _processes.add(self)

    def made(self) -> Runtime:
        """Return the runtime, whether or not the tables fit."""
        with self._mutex:
            if self._made is None:
                self._made = compose(
                    self.engine, self.factory, self.settings, self._controls
                )
            return self._made

    def ready(self) -> Runtime:
        """Return the runtime, once Operon's tables are known to fit.

        Raises:
            SchemaError: They do not.
            DatabaseUnavailableError: Nobody could look before the patience was over.
            Exception: What `refusing` was given.
        """
        if self._ready is None:
            if self._refusal is not None:
                raise self._refusal()
            made = self.made()
            services = made.services
            insist(
                services.clock,
                services.patience,
                lambda: ensure_schema(self.engine, self.settings),
            )
            self._ready = made
        return self._ready

    def shut_down(self, timeout: timedelta) -> None:
        """Stop what runs; a later use begins anew, as another executor.

        What is under way meanwhile goes on with what it has.
        """
        made = self._made
        if made is not None and made.services.is_inline:
            return  # a test goes on with it, whatever the application does
        if made is not None:
            made.executor.shut_down(timeout)
        self.is_launched = False
        with self._mutex:
            if self._made is not made:
                return  # somebody else has shut it down
            self._made = self._ready = None
        if made is not None:
            made.services.database.close()

    @contextmanager
    def refusing(self, problem: Callable[[], Exception]) -> Generator[None, None, None]:
        """Raise *problem* within the block where anybody would use it, but inline."""
        self._ready, self._refusal = None, problem
        try:
            yield
        finally:
            self._refusal = None

    @contextmanager
    def inline(
        self, clock: Clock, within: Session | None, hooks: Sequence[Hook]
    ) -> Generator[InlineExecutor, None, None]:
        """Have no threads within the block: who waits for a run executes it.

        Args:
            clock: The time within the block.
            within: In whose transaction everything happens; None: in its own.
            hooks: Told of what happens, beside the others.

        Raises:
            SchemaError: Operon's tables do not fit.
        """
        if within is None:
            ensure_schema(self.engine, self.settings)
        else:
            schema.verify(self.engine)
        before = self.settings, self._made, self._ready
        told = (*self.settings.hooks, *hooks)
        self.settings = replace(self.settings, clock=clock, hooks=told)
        made, executor = compose_inline(
            self.engine, self.factory, self.settings, self._controls, within
        )
        self._made = self._ready = made
        self.is_launched = True  # as far as anybody else may do
        try:
            yield executor
        finally:
            executor.shut_down(timedelta(0))
            made.services.database.close()
            self.is_launched = False
            self.settings, self._made, self._ready = before

    def begin_anew(self) -> None:
        """Forget, in a forked child, what belongs to the parent."""
        self._mutex = threading.Lock()
        self._made = self._ready = None
        self.is_launched = False
        self.engine.dispose(close=False)


_processes: "weakref.WeakSet[Process]" = weakref.WeakSet()


def _begin_all_anew() -> None:
    for process in list(_processes):
        process.begin_anew()


os.register_at_fork(after_in_child=_begin_all_anew)
