"""One process of the user's, simulated in this one: from its start to its death.

It is an Operon of its own on the same engine, without threads. Each of its COMMITs is
watched: the process may die there, or lose the reply. Dead, it does nothing any more:
no COMMIT is sent, no step and no activity is called.
"""

import time
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import suppress
from datetime import timedelta
from typing import Any
from typing import Protocol
from typing import TypeVar

from sqlalchemy import exc

from operon import Operon
from operon.errors import MisuseError
from operon.executor.inline import InlineExecutor
from operon.hooks import AttemptFinished
from operon.hooks import AttemptStarted
from operon.hooks import Hook
from operon.hooks import Record
from operon.models import WorkflowRun
from operon.operation import Call
from operon.points import Point
from operon.results import FOREVER
from operon.status import LIVE
from operon.status import RunStatus
from operon.store.commits import CommitWatch
from operon.testing.driving import DrivenClock
from operon.testing.driving import Driver

R = TypeVar("R")

_MOST_RUNS = 10_000  # live ones that are looked after


class Crash(BaseException):
    """The process dies here; nobody cleans up."""


class Stuck(BaseException):
    """What is left to do will never be done; the user's code must not catch it."""

    def __init__(self, why: str, cure: str) -> None:
        super().__init__(why)
        self._cure = cure

    def refusal(self) -> MisuseError:
        """Return what is raised outside of the user's code."""
        return MisuseError("the run", f"does not end: {self}", cure=self._cure)


class LostReplyError(exc.OperationalError):
    """The connection broke before the reply to COMMIT had come."""

    def __init__(self) -> None:
        why = ConnectionError("the reply to COMMIT was lost")
        super().__init__("COMMIT", None, why, connection_invalidated=True)


class Watcher(Protocol):
    """Whoever sees what a life does, and ends it by raising `Crash`."""

    def at_point(self, point: Point, run_id: str) -> None:
        """Take note that the engine has come to *point*."""
        ...

    def before_commit(self) -> int:
        """Take note of a COMMIT that is about to be sent; return its number."""
        ...

    def after_commit(self, number: int) -> None:
        """Take note that COMMIT *number* has happened.

        Raises:
            LostReplyError: Nobody is to know.
        """
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
        clock: DrivenClock,
        watcher: Watcher,
        *,
        meanwhile: Callable[[Operon], object] | None = None,
        hooks: Sequence[Hook] = (),
        outside: Callable[[Call], Any] = Call.outside,
        patience: float = 30.0,
    ) -> None:
        self._watcher = watcher
        self._meanwhile = meanwhile
        self._give_up = time.monotonic() + patience
        self._probe = like.settings.probe
        self._surroundings = like.settings.surroundings
        self._is_watched = True
        self._block = ExitStack()
        self.is_over = False
        self.operon = like.twin(
            probe=self._reached, surroundings=self._within, migrate="never"
        )
        self._refused = _Refused()
        executor = self._block.enter_context(
            self.operon.inline(clock, hooks=(*hooks, self._refused))
        )
        services = executor.services
        services.outside = outside
        self._database = services.database
        self._database.commits = _Commits(clock, services.lease, self)
        self._driver = clock.driver = _Driver(executor, clock, self)

    def live(self, call: Callable[[Operon], R]) -> R:
        """Return what *call* returns, once nothing is left to do.

        Raises:
            Crash: The process has died.
            Stuck: Something is left that will never be done.
            Exception: What *call* raised, as late.
        """
        try:
            try:
                return call(self.operon)
            finally:
                while not self.is_over and self._left():
                    self._driver.idle(FOREVER)
        except BaseException:
            if self.is_over:  # whatever the code made of it
                raise Crash from None
            raise

    def end(self) -> None:
        """Take from the process what the kernel takes from a dead one."""
        self._driver.clock.driver = None
        self._block.close()
        if self.is_over:
            self.operon.engine.dispose()

    def refuse_to_go_on(self) -> None:
        """Refuse if that makes no sense any more.

        Raises:
            Crash: The process is dead; code that has swallowed that must not go on.
            Stuck: The patience is over.
        """
        if self.is_over:
            raise Crash
        if time.monotonic() > self._give_up:
            raise self._refused.stuck()

    def ask_outside(self) -> None:
        """Let the outside world do what is waited for.

        Raises:
            Stuck: There is none.
        """
        if self._meanwhile is None:
            raise self.stuck()
        self._is_watched = False  # what it commits is not the process's
        try:
            self._meanwhile(self.operon)
        finally:
            self._is_watched = True

    def stuck(self) -> Stuck:
        """Return what says why nothing goes on."""
        return Stuck(
            "; ".join(_waiting(run) for run in self._left()),
            cure="give meanwhile=, a callable that sends what is waited for",
        )

    @contextmanager
    def committing(self) -> Generator[None, None, None]:
        """Tell the watcher of the COMMIT within the block, before and after it."""
        if not self._is_watched:
            yield
            return
        with self._mortal():
            number = self._watcher.before_commit()
        yield
        with self._mortal():
            self._watcher.after_commit(number)

    @contextmanager
    def _mortal(self) -> Generator[None, None, None]:
        """Be dead if a crash is raised within the block."""
        self.refuse_to_go_on()
        try:
            yield
        except Crash:
            self.is_over = True
            raise

    def _left(self) -> list[WorkflowRun]:
        """Return the runs that have not ended, the oldest first."""
        live = self.operon.list_runs(status=LIVE, limit=_MOST_RUNS)
        return sorted(live, key=lambda run: (run.created_at, run.id))

    def _reached(self, point: Point, run_id: str) -> None:
        if self._is_watched:
            with self._mortal():
                self._watcher.at_point(point, run_id)
        self._probe(point, run_id)

    @contextmanager
    def _within(self) -> Generator[None, None, None]:
        """Call nothing of the user's in a process that is dead."""
        self.refuse_to_go_on()
        try:
            with self._surroundings():
                yield
        except Exception as error:
            self._refused.raised = error
            raise


class _Driver(Driver):
    """Goes on as long as the life does; asks the outside world when all wait for it."""

    def __init__(
        self, executor: InlineExecutor, clock: DrivenClock, life: Life
    ) -> None:
        super().__init__(executor, clock)
        self._life = life

    def idle(self, seconds: float) -> None:
        """Execute what is due, or let time pass, if that makes sense.

        Raises:
            Crash: The process is dead.
            Stuck: Nothing will ever be due.
        """
        self._life.refuse_to_go_on()
        super().idle(seconds)

    def advance(self) -> bool:
        """Execute what is due; a claim whose reply is lost is seen at the next look."""
        with suppress(LostReplyError):
            return super().advance()
        return True

    def despair(self) -> None:
        """Ask the outside world for what is waited for."""
        self._life.ask_outside()
        if not self.advance():
            raise self._life.stuck()


class _Commits(CommitWatch):
    """Tells a life of its COMMITs."""

    def __init__(self, clock: DrivenClock, lease: timedelta, life: Life) -> None:
        super().__init__(clock, 2 * lease)
        self._life = life

    @contextmanager
    def watched(self, driver: Any) -> Generator[None, None, None]:
        """Watch the commit, and let the life end, or its reply get lost."""
        with self._life.committing(), super().watched(driver):
            yield


class _Refused(Hook):
    """The last try, if the database has refused it: nothing has been recorded since.

    Attributes:
        raised: What the user's code has raised in the try under way.
    """

    def __init__(self) -> None:
        self.raised: Exception | None = None
        self._last: tuple[AttemptFinished, Exception | None] | None = None

    def tell(self, record: Record) -> None:
        """Take notice; a try that the end of the patience has cut off says nothing."""
        match record:
            case AttemptStarted():
                self.raised = None
            case AttemptFinished(outcome="refused"):
                self._last = record, self.raised
            case AttemptFinished(outcome="recorded" | "failed" | "joined"):
                self._last = None
            case _:
                pass

    def stuck(self) -> Stuck:
        """Return what says why the patience is over."""
        if self._last is None:
            return Stuck(
                "it goes on and on",
                cure="let it come to an end; explore takes patience=, in seconds",
            )
        last, raised = self._last
        what = f"{last.operation.kind} {last.operation.name!r} of run {last.run.id!r}"
        told = "" if raised is None else f" ({_in_short(raised)})"
        return Stuck(
            f"{what} is refused by the database each time{told}",
            cure="see why: it would be in production, too",
        )


def _in_short(error: Exception) -> str:
    """Return *error* in short; SQLAlchemy's have the statement on the next lines."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _waiting(run: WorkflowRun) -> str:
    """Say what *run* waits for."""
    if run.status is RunStatus.WAITING:
        key = "" if run.wait_key is None else f" {run.wait_key!r}"
        return f"run {run.id!r} waits for {run.wait_kind}{key}, which never comes"
    return f"run {run.id!r} is {run.status.value}, and nobody executes it"
