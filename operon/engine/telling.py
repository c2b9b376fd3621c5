"""Telling hooks what happens to runs; where there are none, nothing is done."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from operon import hooks
from operon.engine.faults import Fault
from operon.engine.flow import Continued
from operon.engine.flow import IdTaken
from operon.engine.flow import LeaseLost
from operon.engine.flow import Suspended
from operon.engine.outcome import Operation
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.engine.services import Services
from operon.registry import Declared
from operon.store.claims import Claimed
from operon.store.finishes import Finish
from operon.store.starts import NewRun

_CONFLICTS = {Fault.CONFLICT, Fault.BUSY}


class Start:
    """What is told of a start when it is over."""

    run_id: str | None = None


@contextmanager
def start_told(
    services: Services, declared: Declared, *, queue: str | None = None
) -> Generator[Start, None, None]:
    """Tell that a run of *declared* is started, and in the end whether it was."""
    start, tell = Start(), services.hooks.tell
    if not services.hooks:
        yield start
        return
    which = declared.name, declared.version
    tell(hooks.RunStarting(*which, declared.queue if queue is None else queue))
    error: str | None = None
    try:
        yield start
    except Exception as raised:
        error = type(raised).__qualname__
        raise
    finally:
        tell(hooks.RunStarted(*which, start.run_id, error))


class Claim:
    """What is told of a claim when it ends."""

    finish: Finish | None = None
    """How the run has ended, if it has."""


@contextmanager
def claim_told(run: ActiveRun) -> Generator[Claim, None, None]:
    """Tell that *run* was claimed, and in the end what became of it."""
    tell, claim = run.services.hooks.tell, Claim()
    tell(_claimed(run))
    end: hooks.Record = hooks.RunReleased(run.facts)
    try:
        yield claim
    except Suspended as flow:
        end = hooks.RunSuspended(run.facts, flow.wait.kind)
        raise
    except Continued as flow:
        end = hooks.RunContinued(run.facts, flow.request.new.id)
        raise
    except LeaseLost:
        end = hooks.LeaseLost(run.facts)
        raise
    except IdTaken:
        end = hooks.RunJoined(run.facts)
        raise
    else:
        if claim.finish is not None:
            end = _finished(run, claim.finish)
    finally:
        tell(end)


class Attempt:
    """What is told of an attempt when it is over."""

    size: int | None = None


@contextmanager
def attempt_told(
    run: ActiveRun, operation: Operation, position: int, number: int
) -> Generator[Attempt, None, None]:
    """Tell that *operation* is tried, and in the end what came of it."""
    tell, facts = run.services.hooks.tell, run.facts
    this = hooks.Operation(operation.kind, operation.name, position, number)
    tell(hooks.AttemptStarted(facts, this))
    outcome: hooks.AttemptOutcome = "abandoned"
    error: str | None = None
    attempt, is_conflict = Attempt(), False
    try:
        yield attempt
        outcome = "recorded"
    except Rejected as refusal:
        outcome = "joined" if refusal.fault is Fault.TAKEN else "refused"
        is_conflict = refusal.fault in _CONFLICTS
        raise
    except IdTaken:
        outcome = "joined"
        raise
    except Exception as raised:
        outcome, error = "failed", type(raised).__qualname__
        raise
    finally:
        size = attempt.size
        tell(hooks.AttemptFinished(facts, this, outcome, error, is_conflict, size))


def _claimed(run: ActiveRun) -> hooks.RunClaimed:
    """Return what is told of a claim: from the row, or of a run that begins here."""
    claimed, new = run.claimed, run.new
    if claimed is None:
        assert new is not None  # noqa: S101 - a run is claimed or begins here
        return hooks.RunClaimed(
            run.facts,
            run.lease.executor,
            queue=new.queue,
            is_recovery=False,
            waited=timedelta(0),
            age=timedelta(0),
            trace=_trace(new),
        )
    is_first = claimed.epoch == 1
    return hooks.RunClaimed(
        run.facts,
        run.lease.executor,
        queue=claimed.queue,
        is_recovery=claimed.recoveries > 0,
        waited=claimed.claimed_at - claimed.due_at if is_first else None,
        age=claimed.claimed_at - claimed.created_at,
        trace=_trace(claimed),
    )


def _trace(row: Claimed | NewRun) -> hooks.Trace:
    """Return in which trace the run of *row* was started."""
    if row.traceparent is None:
        return {}
    state = {} if row.tracestate is None else {"tracestate": row.tracestate}
    return {"traceparent": row.traceparent, **state}


def _finished(run: ActiveRun, how: Finish) -> hooks.RunFinished:
    return hooks.RunFinished(run.facts, how.status, run.ended_by)
