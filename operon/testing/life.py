"""One process of the user's, simulated in this one: from its start to its death.

It is an Operon of its own on the same engine. What it does in the thread that drives it
is watched: at each COMMIT it may die, or lose the reply. Dead, it does nothing any
more: no COMMIT is sent, no step and no activity is called.
"""

import threading
import time
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import Protocol
from typing import TypeVar

from sqlalchemy import exc

from operon import Operon
from operon.clock import SystemClock
from operon.hooks import Hook
from operon.models import WorkflowRun
from operon.operation import Call
from operon.points import Point
from operon.status import LIVE
from operon.status import RunStatus
from operon.store.commits import CommitWatch

R = TypeVar("R")

_BEAT = timedelta(days=1)  # the heartbeat's thread never comes to it
_BEATS = 3  # in a lease
_MOMENT = 0.002  # seconds between two looks at what a thread in the background does
_MOST_RUNS = 10_000  # live ones that are looked after
_BACKGROUND = {
    "operon-heartbeat",
    "operon-keeper",
    "operon-notifier",
    "operon-listener",
}


class Crash(BaseException):
    """The process dies here; nobody cleans up."""


class Stuck(BaseException):
    """What is left to do will never be done; the user's code must not catch it."""


class Watcher(Protocol):
    """Whoever sees what a life does, and ends it by raising `Crash`."""

    def at_point(self, point: Point, run_id: str) -> None:
        """Take note that the engine has come to *point*."""
        ...

    def before_commit(self) -> int:
        """Take note of a COMMIT that is about to be sent; return its number."""
        ...

    def after_commit(self, number: int) -> None:
        """Take note that COMMIT *number* has happened; raise `lost` to hide it."""
        ...


class Life:
    """An Operon that can die in the middle of what it does.

    Attributes:
        operon: It; made anew, on the engine of the one it is a twin of.
        is_over: Whether it has died.
    """

    def __init__(
        self,
        like: Operon,
        clock: "IdleClock",
        watcher: Watcher,
        *,
        meanwhile: Callable[[Operon], object] | None = None,
        hooks: Sequence[Hook] = (),
        outside: Callable[[Call], Any] = Call.outside,
        patience: float = 30.0,
    ) -> None:
        self._clock = clock
        self._watcher = watcher
        self._meanwhile = meanwhile
        self._thread = threading.get_ident()
        self._give_up = time.monotonic() + patience
        self._probe = like.settings.probe
        self._surroundings = like.settings.surroundings
        self.is_over = False
        self.operon = like.twin(
            clock=clock,
            hooks=(*like.settings.hooks, *hooks),
            probe=self._reached,
            surroundings=self._within,
            migrate="never",
            threads=1,  # so that what is spawned happens in order
            heartbeat=_BEAT,
            lease=_BEATS * _BEAT,
            inline_wait=timedelta(0),
        )
        services = self.operon.ready().services
        services.outside = outside
        self._database = services.database
        self._database.commits = _Commits(clock, self)

    def live(self, call: Callable[[Operon], R]) -> R:
        """Return what *call* returns, once nothing is left to do.

        Raises:
            Crash: The process has died.
            Stuck: Something is left that will never be done.
            Exception: What *call* raised, as late.
        """
        token = _driven.set(self)
        try:
            try:
                return call(self.operon)
            finally:
                if not self.is_over:
                    self._settle()
        except BaseException:
            if self.is_over:  # whatever the code made of it
                raise Crash from None
            raise
        finally:
            _driven.reset(token)

    def survive(self) -> None:
        """Let a lease pass: whoever is silent is dead, and its runs are free."""
        executor = self.operon.ready().executor
        executor.be_present()
        for _ in range(_BEATS):
            self._clock.count(_BEAT)
            executor.beat()

    def end(self) -> None:
        """Take from the process what the kernel takes from a dead one."""
        self.operon.shutdown(timedelta(seconds=5))
        if self.is_over:
            self.operon.engine.dispose()

    def idle(self, event: threading.Event, seconds: float) -> bool:
        """Let *seconds* pass without waiting for them, if nobody else is at work."""
        self.refuse_if_over()
        if time.monotonic() > self._give_up:
            raise Stuck("it goes on and on")
        if self._thread != threading.get_ident() or _others_work():
            return event.wait(seconds)
        services = self.operon.ready().services
        if event.is_set() or len(services.active) or not self._advance():
            self._clock.turn(seconds)
        return event.is_set()

    def refuse_if_over(self) -> None:
        """Die once more: code that has swallowed the first time must not go on."""
        if self.is_over:
            raise Crash

    @contextmanager
    def committing(self) -> Generator[None, None, None]:
        """Tell the watcher of the COMMIT within the block, before and after it."""
        with self._mortal():
            number = self._watcher.before_commit()
        yield
        with self._mortal():
            self._watcher.after_commit(number)

    @contextmanager
    def _mortal(self) -> Generator[None, None, None]:
        """Be dead if a crash is raised within the block."""
        self.refuse_if_over()
        try:
            yield
        except Crash:
            self.is_over = True
            raise

    def _settle(self) -> None:
        while self._advance():
            if time.monotonic() > self._give_up:
                raise Stuck("it goes on and on")

    def _advance(self) -> bool:
        """Do something of what is left to do, or let time pass up to it.

        Returns:
            Whether there was anything.
        """
        live = self.operon.list_runs(status=LIVE, limit=_MOST_RUNS)
        if not live:
            return False
        self.operon.ready().executor.be_present()
        live.sort(key=lambda run: (run.created_at, run.id))
        if any(self._help(run) for run in live):
            return True
        now = self._clock.now()
        due = [at for run in live for at in (run.due_at, run.wake_at) if at is not None]
        later = [at for at in due if at > now]
        if later:
            self._clock.turn_to(min(later))
            return True
        if self._meanwhile is not None:
            with _driven_by_nobody():
                self._meanwhile(self.operon)
            if any(self._help(run) for run in live):
                return True
        raise Stuck("; ".join(_waiting(run) for run in live))

    def _help(self, run: WorkflowRun) -> bool:
        """Do what can be done of *run* now; return whether there was anything."""
        executor = self.operon.ready().executor
        mine = run.executor == executor.services.executor
        if run.status is RunStatus.RUNNING and mine:
            if run.id in executor.services.active:
                return False
            executor.beat()  # a claim whose reply was lost: the keeper gives it back
            executor.beat()
            executor.wake()
            return self._until(lambda: self._has_moved(run))
        if run.status is RunStatus.ENQUEUED and run.due_at > self._clock.now():
            return False
        executor.help(run.id)
        return self._has_moved(run)

    def _until(self, condition: Callable[[], bool]) -> bool:
        while not condition():
            if time.monotonic() > self._give_up:
                raise Stuck("a claim whose reply was lost is not given back")
            time.sleep(_MOMENT)
        return True

    def _has_moved(self, run: WorkflowRun) -> bool:
        found = self.operon.find_run(run.id)
        return found is None or (found.status, found.epoch) != (run.status, run.epoch)

    def _reached(self, point: Point, run_id: str) -> None:
        if _driven.get() is not self:
            self._probe(point, run_id)
            return
        with self._mortal():
            self._watcher.at_point(point, run_id)
        self._probe(point, run_id)

    @contextmanager
    def _within(self) -> Generator[None, None, None]:
        """Call nothing of the user's in a process that is dead."""
        self.refuse_if_over()
        with self._surroundings():
            yield


class IdleClock(SystemClock):
    """A clock for whom nobody has to wait: what is driven lets the time pass."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._counted = 0.0

    def now(self) -> datetime:
        """Return the turned time."""
        return super().now() + self._ahead

    def database_time(self) -> datetime:
        """Return the turned time, in place of the database's."""
        return self.now()

    def monotonic(self) -> float:
        """Return seconds of which only those pass at once that `count` counts."""
        return super().monotonic() + self._counted

    def turn(self, seconds: float) -> None:
        """Let *seconds* pass at once."""
        self._ahead += timedelta(seconds=max(0.0, seconds))

    def turn_to(self, at: datetime) -> None:
        """Let the time pass until *at*."""
        self._ahead += max(timedelta(0), at - self.now())

    def count(self, duration: timedelta) -> None:
        """Let *duration* pass for those who count seconds, and for nobody else."""
        self._counted += duration.total_seconds()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait, in a thread that nobody drives; else let the time pass."""
        life = _driven.get()
        if life is not None:
            return life.idle(event, seconds)
        return event.wait(max(0.0, seconds))


class _Commits(CommitWatch):
    """Tells a life of its COMMITs; a dead one's connections are cut."""

    def __init__(self, clock: IdleClock, life: Life) -> None:
        super().__init__(clock, 2 * _BEATS * _BEAT)
        self._life = life

    @contextmanager
    def watched(self, driver: Any) -> Generator[None, None, None]:
        """Watch the commit, and let the life end, or its reply get lost."""
        if _driven.get() is not self._life:
            if self._life.is_over:
                raise lost("the process is dead")
            with super().watched(driver):
                yield
            return
        with self._life.committing(), super().watched(driver):
            yield


def lost(why: str) -> exc.OperationalError:
    """Return what is raised when a connection breaks."""
    return exc.OperationalError(
        "COMMIT", None, ConnectionError(why), connection_invalidated=True
    )


@contextmanager
def _driven_by_nobody() -> Generator[None, None, None]:
    """Let what happens within the block be the outside world's."""
    token = _driven.set(None)
    try:
        yield
    finally:
        _driven.reset(token)


def _others_work() -> bool:
    """Whether a thread of a run's own is under way, beside this one."""
    here = threading.current_thread()
    return any(
        each.name.startswith("operon-") and each.name not in _BACKGROUND
        for each in threading.enumerate()
        if each is not here
    )


def _waiting(run: WorkflowRun) -> str:
    """Say what *run* waits for."""
    if run.status is RunStatus.WAITING:
        key = "" if run.wait_key is None else f" {run.wait_key!r}"
        return f"run {run.id!r} waits for {run.wait_kind}{key}, which never comes"
    return f"run {run.id!r} is {run.status.value}, and nobody executes it"


_driven: ContextVar[Life | None] = ContextVar("operon_driven_life", default=None)
