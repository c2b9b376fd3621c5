"""Recording outcomes: what a position holds, and what a refusal to hold it means."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from datetime import timedelta
from functools import partial
from typing import NoReturn

from sqlalchemy import Connection
from sqlalchemy import exc

from operon import hooks
from operon.codec import Payloads
from operon.codec import wrap_error
from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.flow import ClaimAgain
from operon.engine.flow import MustDie
from operon.engine.flow import Unrecorded
from operon.engine.outcome import Operation
from operon.engine.outcome import Primitive
from operon.engine.patience import RunPatience
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.engine.start import ensure_started
from operon.errors import NonDeterminismError
from operon.errors import RunCancelled
from operon.errors import RunTimeoutError
from operon.points import Point
from operon.store import checkpoints
from operon.store import deadlines
from operon.store.checkpoints import Record
from operon.store.direct import Direct

_MOMENT = timedelta(milliseconds=10)


@dataclass(frozen=True)
class Slot:
    """The place of one operation in a run's history."""

    position: int
    recorded: Record | None
    """What it holds already, to be replayed; None: the operation is to be executed."""


def enter(run: ActiveRun, operation: Operation, *, lazily: bool = False) -> Slot:
    """Take the next position of *run* for *operation*.

    Args:
        run: The run whose body called.
        operation: What was called.
        lazily: A synchronous commit follows at once (see `start`).

    Raises:
        RunCancelled: The body is to end; this position records that it was told.
    """
    if run.has_swallowed(operation.kind, operation.name):
        run.wait_in_thread(calling_line())
    run.check()
    position = run.advance()
    recorded = run.find(position)
    if recorded is not None:
        matched = matching(run, operation, recorded)
        if run.services.hooks:
            run.services.hooks.tell(_replayed(run, matched))
        return Slot(position, matched)
    if not run.services.executes:
        run.break_with(Unrecorded(position, operation.kind, operation.name))
    _await_lease(run)
    ensure_started(run, lazily=lazily)
    if run.is_overdue:
        meet_deadline(run)
    if run.cancel_is_due:
        deliver_cancel(run, position)
    return Slot(position, None)


def _await_lease(run: ActiveRun) -> None:
    """Begin nothing while the executor's lease may be about to end.

    Only for liveness, so that work is not done in vain: the fence alone is safe.
    But an activity that the new holder has recorded should not happen once more.
    """
    patience = RunPatience(run)
    while not run.services.may_begin():
        patience.wait(Rejected(Fault.AWAY, sent=False))
    run.heed()


def matching(run: ActiveRun, operation: Operation, recorded: Record) -> Record:
    """Return *recorded* if it is *operation*'s; a recorded cancel is raised again."""
    if recorded.kind == "cancel":
        run.time.notice(recorded.finished_at)
        raise _told_to_end(run, recorded)
    if (recorded.kind, recorded.name) != (operation.kind, operation.name):
        die_of_non_determinism(
            run, recorded, called=f"{operation.kind} {operation.name!r}"
        )
    return recorded


def die_of_non_determinism(
    run: ActiveRun, recorded: Record, *, called: str, source: str | None = None
) -> NoReturn:
    """Stop the run: its body does not do what its history says it did.

    Args:
        run: The run, which is dead afterwards.
        recorded: What its history holds.
        called: What its body called instead.
        source: Where, as `file:line`; None for the line that is calling now.
    """
    error = NonDeterminismError(
        run.run_id,
        recorded.name,
        recorded.position,
        recorded=f"{recorded.kind} {recorded.name!r}",
        called=called,
        source=calling_line() if source is None else source,
    )
    run.break_with(MustDie(error))


def _replayed(run: ActiveRun, recorded: Record) -> hooks.Replayed:
    this = hooks.Operation(
        recorded.kind, recorded.name, recorded.position, recorded.attempts or 1
    )
    return hooks.Replayed(run.facts, this)


class Checkpointing:
    """Sends an outcome, under the claim that the run has by then.

    Attributes:
        recorded: The outcome as it was sent last, to be remembered once committed.
    """

    def __init__(
        self,
        run: ActiveRun,
        outcome: Record,
        *,
        started_at: datetime,
        isolation: str | None = None,
        fenced: bool = True,
    ) -> None:
        self.recorded = outcome
        self._run = run
        self._started_at = started_at
        self._isolation = isolation
        self._fenced = fenced

    def __call__(self, connection: Connection | Direct) -> None:
        """Send it as part of the transaction of *connection*."""
        run = self._run
        open_from = run.open_from(self.recorded.position)
        outcome = replace(self.recorded, open_from=open_from)
        finished_at = checkpoints.record(
            connection,
            run.services.database.backend,
            run.lease,
            outcome,
            clock=run.services.clock,
            started_at=self._started_at,
            isolation=self._isolation,
            fenced=self._fenced,
        )
        self.recorded = replace(outcome, finished_at=finished_at)


def record_alone(
    run: ActiveRun, operation: Operation, outcome: Record, *, started_at: datetime
) -> Record:
    """Record *outcome* in a transaction of its own; return what the position holds.

    A cancel that came meanwhile does not lose the outcome: it is recorded under the
    new epoch, and the next operation delivers the cancel.
    """
    patience = RunPatience(run)
    send = Checkpointing(run, outcome, started_at=started_at)
    while True:
        try:
            commit_alone(run, send)
            return run.remember(send.recorded)
        except Rejected as refusal:
            found = settle(run, operation, outcome.position, refusal)
            if found is not None:
                return found
            patience.wait(refusal)


def commit_alone(run: ActiveRun, send: Callable[[Connection], None]) -> None:
    """Commit what *send* sends in a transaction of Operon's own.

    A connection lost before COMMIT was sent leaves nothing unknown, so that what is
    to be recorded, an activity's outcome perhaps, need not be dropped and done again.

    Raises:
        Rejected: The database did not take it.
    """
    services, sent = run.services, False
    try:
        with services.database.transaction() as connection:
            send(connection)
            services.probe(Point.RECORDED, run.run_id)
            sent = True
    except exc.SQLAlchemyError as error:
        fault = classify(error)
        if fault in {Fault.USER, Fault.ABORTED}:
            raise
        raise Rejected(fault, sent=sent) from error
    services.probe(Point.COMMITTED, run.run_id)


def settle(
    run: ActiveRun, operation: Operation, position: int, refusal: Rejected
) -> Record | None:
    """Find out what *refusal* means for *position*.

    Returns:
        The recorded outcome, if somebody has recorded one; None: try again.

    Raises:
        ControlFlow: The run is not ours any more, or its commit is unknown.
    """
    fault = refusal.fault
    if fault is Fault.LOST and refusal.sent:
        run.break_with(ClaimAgain())
    if fault is Fault.TAKEN:
        return _adopted(run, operation, position)
    if fault is Fault.FENCED or (fault is Fault.CONFLICT and refusal.sent):
        run.look()
    return None


def deliver_cancel(run: ActiveRun, position: int) -> None:
    """Record at *position* that the body is told to end, and tell it.

    Of several operations at once only one delivers it; the others go on.

    Raises:
        RunCancelled: To the body.
    """
    if not run.take_cancel():
        return
    name = "deadline" if run.is_timed_out else "cancel"
    outcome = Record(position=position, kind="cancel", name=name, output="null")
    ensure_started(run, lazily=False)
    recorded = record_alone(run, _CANCEL, outcome, started_at=run.time.now())
    if run.is_in_body:  # else its future tells the body, and when
        run.time.notice(recorded.finished_at)
    raise _told_to_end(run, recorded)


def meet_deadline(run: ActiveRun) -> None:
    """Ask *run*, whose deadline has passed, to end; its next operation is told.

    Where a keeper does so just now, its commit is waited for: else one more operation
    would begin.
    """
    services, patience = run.services, RunPatience(run)
    while run.is_overdue:
        try:
            with services.database.transaction() as connection:
                deadlines.enforce(
                    connection,
                    services.database.backend,
                    [run.run_id],
                    reason=partial(timed_out, payloads=services.payloads),
                    clock=services.clock,
                )
        except exc.SQLAlchemyError as error:
            patience.wait(Rejected.from_error(error))
        else:
            run.look()
            if run.is_overdue:
                run.wait(_MOMENT)


def timed_out(run_id: str, *, payloads: Payloads) -> tuple[str, str | None]:
    """Return the stored error of a run whose deadline has passed, and its codec."""
    return wrap_error(RunTimeoutError(run_id), payloads)


def _told_to_end(run: ActiveRun, recorded: Record) -> RunCancelled:
    return RunCancelled(run.run_id, by_deadline=recorded.name == "deadline")


def _adopted(run: ActiveRun, operation: Operation, position: int) -> Record | None:
    """Return what somebody else recorded at *position*, checked as a replay is."""
    try:
        with run.services.database.reading() as connection:
            found = checkpoints.find(connection, run.run_id, position)
    except exc.SQLAlchemyError:
        return None  # the next try meets the same refusal
    if found is None:
        return None
    return matching(run, operation, run.remember(found))


def calling_line() -> str:
    """Return where the body called the engine, as `file:line`."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(
        "operon."
    ):
        frame = frame.f_back
    if frame is None:
        return "an unknown line"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


_CANCEL = Primitive("cancel", "cancel")
