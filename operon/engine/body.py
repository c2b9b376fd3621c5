"""Bodies: what a workflow's `run` method may do, and what became of it."""

import inspect
from collections.abc import Callable
from collections.abc import Mapping
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import NoReturn
from typing import Self

from operon.codec import NotEncodable
from operon.codec import wrap_error
from operon.context import CurrentRun
from operon.context import Place
from operon.context import entered
from operon.engine import children
from operon.engine import mail
from operon.engine import marks
from operon.engine import spawning
from operon.engine import timers
from operon.engine.activities import execute_activity
from operon.engine.flow import ControlFlow
from operon.engine.record import die_of_non_determinism
from operon.engine.run import ActiveRun
from operon.engine.spawning import SpawnedFuture
from operon.engine.steps import execute_step
from operon.engine.waiting import suspend
from operon.errors import ResultNotSerializableError
from operon.errors import RunCancelled
from operon.errors import RunTimeoutError
from operon.handle import Handle
from operon.operation import Call
from operon.status import RunStatus
from operon.store.finishes import Finish
from operon.store.waits import Wait
from operon.transaction import is_invocation


class BodyFrame:
    """A body is executing: what it calls takes the next position of its history.

    Attributes:
        run: The run whose body it is.
    """

    place = Place.BODY
    session = None

    def __init__(self, run: ActiveRun) -> None:
        self.run = run
        self._seeds = 0

    @property
    def current(self) -> CurrentRun:
        """What the body may know about its run."""
        return self.run.current()

    @property
    def body(self) -> Self:
        """This frame answers the body itself."""
        return self

    def execute_step(self, call: Call) -> Any:
        """Replay or execute a step."""
        return execute_step(self.run, call)

    def execute_activity(self, call: Call) -> Any:
        """Replay or execute an activity."""
        return execute_activity(self.run, call)

    def derived_id(self) -> str:
        """Return the id of the run that the next operation would start."""
        return f"{self.run.run_id}/{self.run.position + 1}"

    def sleep(self, until: Callable[[datetime], datetime]) -> None:
        """Wait until what *until* returns for the present time."""
        timers.sleep(self.run, until)

    def receive(self, topic: str, declared: Any, timeout: timedelta | None) -> Any:
        """Take the next message of *topic*."""
        return mail.receive(self.run, topic, declared, timeout)

    def send(self, run_id: str, topic: str, message: Any, key: str | None) -> None:
        """Send *message* to the run *run_id*."""
        mail.send(self.run, run_id, topic, message, key)

    def publish(self, key: str, value: Any) -> None:
        """Make *value* what is published under *key*."""
        mail.publish(self.run, key, value)

    def event(
        self, run_id: str, key: str, declared: Any, timeout: timedelta | None
    ) -> Any:
        """Take what *run_id* has published under *key*."""
        return mail.event(self.run, run_id, key, declared, timeout)

    def write(self, stream: str, value: Any) -> None:
        """Append *value* to *stream*."""
        mail.write(self.run, stream, value)

    def start(self, child: Any, options: Mapping[str, Any]) -> Handle[Any]:
        """Start *child*."""
        return children.start(self.run, child, options)

    def result(self, handle: Handle[Any], timeout: timedelta | None) -> Any:
        """Wait for the result of the run of *handle*."""
        return children.result(self.run, handle, timeout)

    def spawn(self, call: Call) -> SpawnedFuture:
        """Begin *call*, and do not wait for it."""
        return spawning.spawn(self.run, call)

    def gather(self, futures: tuple[object, ...]) -> tuple[Any, ...]:
        """Wait for *futures*."""
        return spawning.gather(self.run, futures)

    def now(self) -> datetime:
        """Return the time of the last operation."""
        return marks.now(self.run)

    def seed(self) -> str:
        """Return a text that is this run's, here and now, and no other's."""
        self._seeds += 1
        return f"{self.run.run_id}/{self.run.position}/{self._seeds}"

    def patched(self, name: str) -> bool:
        """Tell whether the run goes the new way."""
        return marks.patched(self.run, name)

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Add *attributes* to the run's."""
        marks.annotate(self.run, attributes)

    def continue_as(self, successor: Any) -> NoReturn:
        """End the run in favour of *successor*."""
        children.continue_as(self.run, successor)


def play(run: ActiveRun, frame: Callable[[ActiveRun], BodyFrame] = BodyFrame) -> Finish:
    """Execute the body of *run* from its beginning; return how it ended.

    Recorded operations are replayed. Once a control flow was raised, whatever the
    body returns or raises instead is ignored. *frame* makes what answers the body.

    Raises:
        ControlFlow: The claim ended before the body did.
    """
    try:
        with run.services.surroundings(), entered(frame(run)):
            value = _call_body(run)
    except ControlFlow:
        run.join()
        run.check()
        raise
    except (Exception, RunCancelled) as error:  # noqa: BLE001 - whatever a body raises is its outcome
        _leave(run)
        return _raised(run, error)
    _leave(run)
    return _returned(run, value)


def _leave(run: ActiveRun) -> None:
    """Make sure that a body which has ended leaves nothing open.

    Raises:
        ControlFlow: The claim has ended, or a spawned operation has no outcome yet.
    """
    run.check()
    parked = run.join()
    run.check()
    if parked is not None:
        suspend(run, Wait(kind="retry", position=run.position + 1, until=parked))
    _refuse_unread_history(run)


def _call_body(run: ActiveRun) -> Any:
    if is_invocation(run.workflow):
        return execute_step(run, run.workflow.call)
    return run.workflow.run()


def _refuse_unread_history(run: ActiveRun) -> None:
    """Stop a run whose body ended before it asked for everything recorded."""
    unread = run.unread()
    if unread is not None:
        die_of_non_determinism(
            run, unread, called="the end of the body", source=_first_line(run)
        )


def _first_line(run: ActiveRun) -> str:
    """Return where the body is written, as `file:line`; it ended, so no line calls.

    A transaction that took the place of a body is told by its name.
    """
    body = getattr(run.workflow, "run", None)
    code = None if body is None else getattr(inspect.unwrap(body), "__code__", None)
    if code is None:
        return f"{run.declared.module}.{run.declared.qualname}"
    return f"{code.co_filename}:{code.co_firstlineno}"


def _returned(run: ActiveRun, value: Any) -> Finish:
    try:
        text = run.declared.result.encode(value, "result")
        output, codec = run.services.payloads.wrap(text, "result")
    except NotEncodable as problem:
        return _raised(run, _not_serializable(run, problem))
    told = run.cancel_delivered
    if told is not None and told.name == "deadline":
        return _timed_out(run)
    status = RunStatus.SUCCEEDED if told is None else RunStatus.CANCELLED
    return Finish(lease=run.lease, status=status, output=output, codec=codec)


def _raised(run: ActiveRun, error: BaseException) -> Finish:
    told = run.cancel_delivered
    if told is not None and told.name == "deadline":
        return _timed_out(run)
    if isinstance(error, RunCancelled):
        return Finish(lease=run.lease, status=RunStatus.CANCELLED)
    assert isinstance(error, Exception)  # noqa: S101 - all that play passes on
    status = RunStatus.FAILED if told is None else RunStatus.CANCELLED
    run.traceback = error.__traceback__
    return raised(run, status, error)


def _timed_out(run: ActiveRun) -> Finish:
    """Return the end of a run whose body was told to end by its deadline, and has."""
    return raised(run, RunStatus.FAILED, RunTimeoutError(run.run_id))


def raised(run: ActiveRun, status: RunStatus, error: Exception) -> Finish:
    """Return the end of *run* in *status*, with *error* as its reason."""
    run.ended_by = type(error).__qualname__
    text, codec = wrap_error(error, run.services.payloads)
    return Finish(lease=run.lease, status=status, error=text, codec=codec)


def _not_serializable(run: ActiveRun, problem: NotEncodable) -> Exception:
    return ResultNotSerializableError(
        run.run_id, "run", run.position, path=problem.path, reason=problem.reason
    )
