"""Steps: rows and checkpoint in one transaction."""

from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from operon.codec import load_columns
from operon.context import CurrentRun
from operon.context import Place
from operon.context import entered
from operon.engine.outcome import succeeded
from operon.engine.record import Checkpointing
from operon.engine.run import ActiveRun
from operon.engine.start import start_with_begin
from operon.engine.trying import Try
from operon.engine.trying import execute
from operon.engine.unit_of_work import UnitOfWork
from operon.engine.unit_of_work import unit_of_work
from operon.errors import ActivityInStepError
from operon.operation import Call
from operon.points import Point
from operon.store.checkpoints import Record


class StepFrame:
    """A step is executing: steps it calls join it, activities are refused."""

    place = Place.STEP
    body = None

    def __init__(self, current: CurrentRun, session: Session) -> None:
        self.current = current
        self.session = session
        self._started = 0

    def execute_step(self, call: Call) -> Any:
        """Call the step plainly: it shares this one's session and commit."""
        return call.in_session(self.session)

    def execute_activity(self, call: Call) -> Any:
        """Refuse: it would hold this step's transaction open."""
        step = self.current.step or ""
        raise ActivityInStepError(call.operation.name, step=step)

    def derived_id(self) -> str:
        """Return the next id of a run this step starts, the same on every attempt."""
        self._started += 1
        return f"{self.current.idempotency_key}/{self._started}"


def execute_step(run: ActiveRun, call: Call) -> Any:
    """Return the outcome of *call* at the next position of *run*'s history.

    The step's rows and its checkpoint commit in one transaction, so a crash leaves
    both or neither. A recorded position is replayed, never run again.
    """
    return execute(run, call.operation, partial(attempt_step, run, call), lazily=True)


def attempt_step(run: ActiveRun, call: Call, this: Try) -> Record:
    """Run the step once and record its outcome, in one transaction."""
    services, step = run.services, call.operation
    isolation = step.isolation or services.isolation
    with unit_of_work(
        services,
        run_id=run.run_id,
        step=step.name,
        isolation=isolation,
        first=start_with_begin(run),
        ahead=True,
    ) as unit:
        this.started_at = run.time.now()
        current = run.current(
            step=step.name, position=this.position, attempt=this.number
        )
        outcome = perform(run, unit, call, current)
        send = Checkpointing(
            run, outcome, started_at=this.started_at, isolation=isolation
        )
        unit.commit(send)
    return run.remember(send.recorded)


def perform(
    run: ActiveRun, unit: UnitOfWork, call: Call, current: CurrentRun
) -> Record:
    """Call the step's function in *unit* and flush; return what is to be recorded."""
    frame = StepFrame(current, unit.session)
    with run.services.surroundings(), entered(frame):
        value = call.in_session(unit.session)
    run.services.probe(Point.BODY_DONE, run.run_id)
    unit.session.flush()
    load_columns(unit.session, call.operation.result.mapped(value))
    return succeeded(
        run,
        call.operation,
        current.position or 1,
        value,
        attempts=current.attempt or 1,
    )
