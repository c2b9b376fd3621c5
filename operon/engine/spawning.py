"""Spawned operations: several of one run at once, each at a position of its own.

Positions are taken in the order in which the body spawns, so a replay gives every
outcome back to the same future, whatever order they came in. Only the body's own
thread takes positions; the threads here only fill them.
"""

import threading
from contextvars import copy_context
from datetime import datetime
from functools import partial
from typing import Any
from typing import NoReturn

from operon.context import frame
from operon.engine.activities import attempt_activity
from operon.engine.flow import ControlFlow
from operon.engine.flow import Parked
from operon.engine.flow import Unrecorded
from operon.engine.outcome import answer
from operon.engine.record import enter
from operon.engine.run import ActiveRun
from operon.engine.steps import attempt_step
from operon.engine.trying import Trial
from operon.engine.waiting import suspend
from operon.errors import MisuseError
from operon.errors import RunCancelled
from operon.operation import Call
from operon.store.checkpoints import Record
from operon.store.waits import Wait

_LOOK = 0.25  # seconds between two looks of a body that waits for a future


class SpawnedFuture:
    """The outcome of a spawned operation, once it has one."""

    def __init__(self, run: ActiveRun, call: Call, position: int) -> None:
        self.run = run
        self.call = call
        self.position = position
        self.done = threading.Event()
        self.recorded: Record | None = None
        self.problem: BaseException | None = None

    def result(self) -> Any:
        """Wait for the operation; return its result, or raise its error.

        Raises:
            MisuseError: It is another run's, or this is no body.
            Exception: What the operation raised.
        """
        self.refuse_foreign()
        self.await_end()
        if self.recorded is not None:
            self.run.untold.discard(self.position)
            return answer(self.run, self.call.operation, self.recorded)
        if isinstance(self.problem, Parked):
            wait = Wait(kind="retry", position=self.position, until=self.problem.until)
            suspend(self.run, wait)
        if isinstance(self.problem, Unrecorded):
            self.run.break_with(self.problem)
        assert self.problem is not None  # noqa: S101 - it has ended one way or another
        if isinstance(self.problem, ControlFlow):
            self.run.join()
        self.run.untold.discard(self.position)
        told = self.run.find(self.position)
        self.run.time.notice(None if told is None else told.finished_at)
        raise self.problem

    def await_end(self) -> None:
        """Wait until the operation does not execute any more."""
        while not self.run.services.clock.wait(self.done, _LOOK):
            self.run.check()
            self.run.heed()

    def refuse_foreign(self) -> None:
        """Refuse to be waited for by anybody but the body that spawned the operation.

        Raises:
            MisuseError: Somebody else does.
        """
        if getattr(frame(), "run", None) is not self.run:
            refuse_foreign(self)


def refuse_foreign(future: object) -> NoReturn:
    """Refuse *future*, which is not one of the body that waits for it."""
    raise MisuseError(
        repr(future),
        "is no future that this body's self.spawn returned",
        cure="pass what self.spawn(…) returned in this run of the body",
    )


class SpawnedCrew:
    """The spawned operations of one run; at most *limit* execute at once."""

    def __init__(self, run: ActiveRun, limit: int) -> None:
        self._run = run
        self._limit = limit
        self._mutex = threading.Lock()
        self._waiting: list[SpawnedFuture] = []
        self._futures: list[SpawnedFuture] = []
        self._threads = 0

    def add(self, future: SpawnedFuture) -> None:
        """Execute the operation of *future* in a thread, in its turn."""
        if self._run.services.is_inline:
            self._futures.append(future)
            _execute(future)
            return
        with self._mutex:
            self._futures.append(future)
            self._waiting.append(future)
            if self._threads >= self._limit:
                return
            self._threads += 1
        name = f"operon-spawn-{self._run.run_id}"
        context = copy_context()
        threading.Thread(
            target=context.run, args=(self._work,), name=name, daemon=True
        ).start()

    def join(self) -> datetime | None:
        """Wait until none executes; return when the first of those parked is due.

        Raises:
            BaseException: What ended a thread before its operation had an outcome.
        """
        for future in self._futures:
            while not self._run.services.clock.wait(future.done, _LOOK):
                pass
        problems = [future.problem for future in self._futures]
        for problem in problems:
            if not isinstance(problem, ControlFlow | RunCancelled | None):
                raise problem
        parked = [each.until for each in problems if isinstance(each, Parked)]
        return min(parked, default=None)

    def _work(self) -> None:
        while True:
            with self._mutex:
                if not self._waiting:
                    self._threads -= 1
                    return
                future = self._waiting.pop(0)
            _execute(future)


def spawn(run: ActiveRun, call: Call) -> SpawnedFuture:
    """Begin *call* at the next position of *run*'s history; do not wait for it."""
    if not run.services.executes and run.find(run.position + 1) is None:
        return _left_open(run, call)
    if run.crew is None:
        run.crew = SpawnedCrew(run, run.services.threads)
    known = run.time.known
    try:
        slot = enter(run, call.operation)
    except RunCancelled as cancelled:
        run.time.forget_since(known)
        run.untold.add(run.position)
        return _ended(SpawnedFuture(run, call, run.position), problem=cancelled)
    future = SpawnedFuture(run, call, slot.position)
    run.untold.add(slot.position)
    if slot.recorded is not None:
        return _ended(future, recorded=slot.recorded)
    assert isinstance(run.crew, SpawnedCrew)  # noqa: S101 - made above
    run.crew.add(future)
    return future


def _left_open(run: ActiveRun, call: Call) -> SpawnedFuture:
    """Take a position for *call*, which is not executed: the body goes on without."""
    run.check()
    position, operation = run.advance(), call.operation
    run.untold.add(position)
    future = SpawnedFuture(run, call, position)
    return _ended(future, problem=Unrecorded(position, operation.kind, operation.name))


def gather(run: ActiveRun, futures: tuple[object, ...]) -> tuple[Any, ...]:
    """Wait for all of *futures*; return their results, in their order.

    The first that failed, in that order, raises its error, once all have ended. If
    the body is to end, it is told so at once, whatever others came to or wait for.
    """
    checked = [each for each in futures if isinstance(each, SpawnedFuture)]
    for each in futures:
        if not isinstance(each, SpawnedFuture) or each.run is not run:
            refuse_foreign(each)
    for each in checked:
        each.await_end()
    run.check()
    # those that are not recorded first: they unwind the body, whatever others did
    unrecorded = [each for each in checked if each.recorded is None]
    for each in sorted(unrecorded, key=_is_no_cancel):
        each.result()
    return tuple(each.result() for each in checked)


def _is_no_cancel(future: SpawnedFuture) -> bool:
    return not isinstance(future.problem, RunCancelled)


def _ended(
    future: SpawnedFuture,
    *,
    recorded: Record | None = None,
    problem: BaseException | None = None,
) -> SpawnedFuture:
    future.recorded, future.problem = recorded, problem
    future.done.set()
    return future


def _execute(future: SpawnedFuture) -> None:
    """Make attempts in this thread until the position holds an outcome."""
    run, call = future.run, future.call
    attempt = attempt_activity if call.operation.kind == "activity" else attempt_step
    trial = Trial(run, call.operation, future.position, pause=partial(_park, run))
    try:
        run.heed()  # it may have waited for this thread for long
        run.check()
        recorded = trial.until_recorded(partial(attempt, run, call))
    except BaseException as problem:  # noqa: BLE001 - handed to the body's thread
        _ended(future, problem=problem)
    else:
        _ended(future, recorded=recorded)


def _park(run: ActiveRun, position: int, until: datetime) -> None:
    """Wait until *until*, or leave the thread if that is too far away."""
    del position
    left = until - run.time.now()
    if left > run.services.inline_wait:
        raise Parked(until)
    run.wait(left)
    run.check()
