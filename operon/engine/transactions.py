"""Transactions that are a run by themselves: run row, rows and result in one commit."""

from functools import partial
from typing import Any
from typing import Protocol

from sqlalchemy import Connection

from operon.engine.faults import Fault
from operon.engine.faults import sqlstate_of
from operon.engine.flow import IdTaken
from operon.engine.outcome import answer
from operon.engine.patience import Patience
from operon.engine.record import Checkpointing
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.engine.start import is_mine
from operon.engine.steps import perform
from operon.engine.telling import attempt_told
from operon.engine.telling import claim_told
from operon.engine.unit_of_work import unit_of_work
from operon.status import RunStatus
from operon.store import checkpoints
from operon.store import starts
from operon.store.direct import Direct
from operon.store.finishes import Finish
from operon.store.starts import Beginning
from operon.transaction import Invocation

_READ_ONLY = "25006"  # SQLSTATE


class Companion(Protocol):
    """Rows of somebody else's that are written in a transaction's own commit."""

    def begin(self, connection: Connection, run_id: str) -> None:
        """Write what comes before the work; whoever does the same at once waits."""
        ...

    def end(self, connection: Connection, result: Any) -> None:
        """Write what comes after the work, which returned *result*."""
        ...


def transact(run: ActiveRun, companion: Companion | None = None) -> object:
    """Run the invocation of *run* and return its result.

    All or nothing: after an error or a crash neither rows nor run are there, and the
    same id may be tried again.

    Raises:
        IdTaken: The id is another run's already; nothing was done.
        DatabaseUnavailableError: The patience is over.
    """
    if not run.services.hooks:
        return _transacted(run, companion)
    with claim_told(run) as told:
        result = _transacted(run, companion)
        told.finish = Finish(lease=run.lease, status=RunStatus.SUCCEEDED)
    return result


def _transacted(run: ActiveRun, companion: Companion | None) -> object:
    invocation: Invocation[object] = run.workflow
    patience, number, in_doubt = _patience(run), 1, False
    while True:
        try:
            return _made(run, invocation, number, companion=companion)
        except Rejected as refusal:
            if refusal.fault is Fault.TAKEN:
                return _found(run, in_doubt=in_doubt)
            in_doubt = in_doubt or refusal.sent
            patience.wait(refusal)
        except Exception as error:
            retry = invocation.transaction.retry
            if not retry.allows(error, number):
                raise
            run.wait(retry.wait_after(number))
            number += 1


def read(run: ActiveRun) -> object:
    """Run the invocation of *run* in a READ ONLY transaction that leaves no trace."""
    invocation: Invocation[object] = run.workflow
    patience = _patience(run)
    while True:
        try:
            return _made(run, invocation, 1, read_only=True)
        except Rejected as refusal:
            cause = refusal.__cause__
            if cause is not None and sqlstate_of(cause) == _READ_ONLY:
                raise cause from None  # its own write; the server may well be able to
            patience.wait(refusal)


def _found(run: ActiveRun, *, in_doubt: bool) -> object:
    """Return what an earlier try has committed, its answer lost.

    Raises:
        IdTaken: The run is somebody else's.
    """
    if not in_doubt or not is_mine(run):
        raise IdTaken
    with run.services.database.reading() as connection:
        recorded = checkpoints.find(connection, run.run_id, 1)
    if recorded is None:
        raise IdTaken
    return answer(run, run.workflow.transaction, recorded)


def _patience(run: ActiveRun) -> Patience:
    services = run.services
    return Patience(
        services.clock, services.patience, run.wait, is_alone=services.is_inline
    )


def _made(
    run: ActiveRun, invocation: Invocation[object], number: int, **how: Any
) -> object:
    """Make an attempt; hooks are told."""
    if not run.services.hooks:
        return _attempt(run, invocation, number, **how)
    with attempt_told(run, invocation.transaction, 1, number):
        return _attempt(run, invocation, number, **how)


def _attempt(
    run: ActiveRun,
    invocation: Invocation[object],
    number: int,
    *,
    read_only: bool = False,
    companion: Companion | None = None,
) -> object:
    """Run the function once, with its run's row before and its checkpoint after it.

    The row comes first, so that a duplicate waits for it instead of doing the work.
    """
    services, transaction = run.services, invocation.transaction
    isolation = transaction.isolation or services.isolation
    started_at = run.time.now()
    current = run.current(step=transaction.name, position=1, attempt=number)
    with unit_of_work(
        services,
        run_id=run.run_id,
        step=transaction.name,
        isolation=isolation,
        read_only=read_only,
        first=None if read_only else partial(_claim_id, run),
    ) as unit:
        if companion is not None:
            companion.begin(unit.connection, run.run_id)
        outcome = perform(run, unit, invocation.call, current)
        result = answer(run, transaction, outcome)
        if companion is not None:
            companion.end(unit.connection, result)
        send = Checkpointing(
            run, outcome, started_at=started_at, isolation=isolation, fenced=False
        )
        unit.commit(None if read_only else send)
    return result


def _claim_id(run: ActiveRun, opening: Direct) -> None:
    assert run.new is not None  # noqa: S101 - a transaction's run always begins here
    services = run.services
    beginning = Beginning(
        status=RunStatus.SUCCEEDED, executor=run.lease.executor, epoch=1
    )
    backend = services.database.backend
    starts.insert_first(opening, backend, run.new, beginning, clock=services.clock)
