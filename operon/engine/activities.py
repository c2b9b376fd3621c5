"""Activities: calls to the outside world, recorded after they happened."""

import threading
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from operon.context import CurrentRun
from operon.context import Place
from operon.context import entered
from operon.engine.outcome import succeeded
from operon.engine.record import record_alone
from operon.engine.run import ActiveRun
from operon.engine.trying import Try
from operon.engine.trying import execute
from operon.errors import MisuseError
from operon.errors import StepTimeoutError
from operon.operation import Call
from operon.points import Point
from operon.store.checkpoints import Record


class ActivityFrame:
    """An activity is executing: no transaction is open, and no position is free."""

    place = Place.ACTIVITY
    session = None
    body = None

    def __init__(self, current: CurrentRun) -> None:
        self.current = current
        self._started = 0

    def execute_step(self, call: Call) -> Any:
        """Refuse: the step's commit would not be the activity's record."""
        raise MisuseError(
            f"step {call.operation.name!r}",
            f"was called inside activity {self.current.step!r}",
            cure="call it from the body, after the activity, and pass its result",
        )

    def execute_activity(self, call: Call) -> Any:
        """Call the activity plainly: it is part of this one's attempt."""
        return call.outside()

    def derived_id(self) -> str:
        """Return the next id of a run it starts, the same on every attempt."""
        self._started += 1
        return f"{self.current.idempotency_key}/{self._started}"


def execute_activity(run: ActiveRun, call: Call) -> Any:
    """Return the outcome of *call* at the next position of *run*'s history.

    The call happens at least once; after a crash between the effect and its record
    it happens again, with the same idempotency key.
    """
    return execute(run, call.operation, partial(attempt_activity, run, call))


def attempt_activity(run: ActiveRun, call: Call, this: Try) -> Record:
    """Call the outside world once, then record what it answered."""
    activity = call.operation
    timeout = activity.timeout
    current = run.current(
        step=activity.name,
        position=this.position,
        attempt=this.number,
        deadline=None if timeout is None else this.started_at + timeout,
    )
    value = _call(run, call, ActivityFrame(current))
    run.services.probe(Point.EFFECT_DONE, run.run_id)
    outcome = succeeded(run, activity, this.position, value, attempts=this.number)
    return record_alone(run, activity, outcome, started_at=this.started_at)


def _call(run: ActiveRun, call: Call, frame: ActivityFrame) -> Any:
    timeout = call.operation.timeout
    if timeout is None:
        return _call_here(run, call, frame)
    if run.services.is_inline:
        return _call_and_measure(run, call, frame, timeout)
    return _call_within(run, call, frame, timeout)


def _call_here(run: ActiveRun, call: Call, frame: ActivityFrame) -> Any:
    with run.services.surroundings(), entered(frame):
        return run.services.outside(call)


def _call_and_measure(
    run: ActiveRun, call: Call, frame: ActivityFrame, timeout: timedelta
) -> Any:
    """Call in this thread; if more than *timeout* has passed then, it was too late."""
    clock = run.services.clock
    until = clock.monotonic() + timeout.total_seconds()
    value = _call_here(run, call, frame)
    if clock.monotonic() > until:
        raise _timed_out(run, call, frame, timeout)
    return value


@dataclass
class _Answer:
    value: Any = None
    error: BaseException | None = None


def _call_within(
    run: ActiveRun, call: Call, frame: ActivityFrame, timeout: timedelta
) -> Any:
    """Call in a thread of its own, and leave it alone once *timeout* has passed.

    Python cannot stop a thread: the late one goes on, and its result is dropped.
    """
    answered, result = threading.Event(), _Answer()

    def work() -> None:
        try:
            result.value = _call_here(run, call, frame)
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            result.error = error
        answered.set()

    name = f"operon-{call.operation.name}"
    threading.Thread(
        target=copy_context().run, args=(work,), name=name, daemon=True
    ).start()
    if not run.services.clock.wait(answered, timeout.total_seconds()):
        raise _timed_out(run, call, frame, timeout)
    if result.error is not None:
        raise result.error
    return result.value


def _timed_out(
    run: ActiveRun, call: Call, frame: ActivityFrame, timeout: timedelta
) -> StepTimeoutError:
    return StepTimeoutError(
        run.run_id,
        call.operation.name,
        frame.current.position or 0,
        timeout=timeout.total_seconds(),
    )
