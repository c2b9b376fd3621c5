"""Bodies: what a workflow's `run` method may do, and what became of it."""

from typing import Any

from operon.codec import NotEncodable
from operon.codec import wrap_error
from operon.context import CurrentRun
from operon.context import Place
from operon.context import entered
from operon.engine.activities import execute_activity
from operon.engine.flow import ControlFlow
from operon.engine.record import die_of_non_determinism
from operon.engine.run import ActiveRun
from operon.engine.steps import execute_step
from operon.errors import MisuseError
from operon.errors import ResultNotSerializableError
from operon.errors import RunCancelled
from operon.operation import Call
from operon.status import RunStatus
from operon.store.claims import Finish
from operon.transaction import is_invocation


class BodyFrame:
    """A body is executing: what it calls takes the next position of its history."""

    place = Place.BODY
    session = None

    def __init__(self, run: ActiveRun) -> None:
        self._run = run

    @property
    def current(self) -> CurrentRun:
        """What the body may know about its run."""
        return self._run.current()

    def execute_step(self, call: Call) -> Any:
        """Replay or execute a step."""
        return execute_step(self._run, call)

    def execute_activity(self, call: Call) -> Any:
        """Replay or execute an activity."""
        return execute_activity(self._run, call)

    def derived_id(self) -> str:
        """Refuse: a body starts runs as operations of its own."""
        raise MisuseError(
            "operon.start",
            "was called inside a body",
            cure="start the run from a step or an activity",
        )


def play(run: ActiveRun) -> Finish:
    """Execute the body of *run* from its beginning; return how it ended.

    Recorded operations are replayed. Once a control flow was raised, whatever the
    body returns or raises instead is ignored.

    Raises:
        ControlFlow: The claim ended before the body did.
    """
    try:
        with entered(BodyFrame(run)):
            value = _call_body(run)
    except ControlFlow:
        run.check()
        raise
    except (Exception, RunCancelled) as error:  # noqa: BLE001 - whatever a body raises is its outcome
        run.check()
        _refuse_unread_history(run)
        return _raised(run, error)
    run.check()
    _refuse_unread_history(run)
    return _returned(run, value)


def _call_body(run: ActiveRun) -> Any:
    if is_invocation(run.workflow):
        return execute_step(run, run.workflow.call)
    return run.workflow.run()


def _refuse_unread_history(run: ActiveRun) -> None:
    """Stop a run whose body ended before it asked for everything recorded."""
    unread = run.find(run.position + 1)
    if unread is not None:
        die_of_non_determinism(run, unread, called="the end of the body")


def _returned(run: ActiveRun, value: Any) -> Finish:
    try:
        text = run.declared.result.encode(value, "result")
        output, codec = run.services.payloads.wrap(text, "result")
    except NotEncodable as problem:
        return _raised(run, _not_serializable(run, problem))
    status = RunStatus.CANCELLED if run.cancel_delivered else RunStatus.SUCCEEDED
    return Finish(lease=run.lease, status=status, output=output, codec=codec)


def _raised(run: ActiveRun, error: BaseException) -> Finish:
    if isinstance(error, RunCancelled):
        return Finish(lease=run.lease, status=RunStatus.CANCELLED)
    assert isinstance(error, Exception)  # noqa: S101 - all that play passes on
    status = RunStatus.CANCELLED if run.cancel_delivered else RunStatus.FAILED
    run.traceback = error.__traceback__
    return raised(run, status, error)


def raised(run: ActiveRun, status: RunStatus, error: Exception) -> Finish:
    """Return the end of *run* in *status*, with *error* as its reason."""
    text, codec = wrap_error(error, run.services.payloads)
    return Finish(lease=run.lease, status=status, error=text, codec=codec)


def _not_serializable(run: ActiveRun, problem: NotEncodable) -> Exception:
    return ResultNotSerializableError(
        run.run_id, "run", run.position, path=problem.path, reason=problem.reason
    )
