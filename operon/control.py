"""What an operator may ask of a run, checked before anything is written."""

from collections.abc import Callable
from collections.abc import Sequence

from sqlalchemy import Connection

from operon.clock import Clock
from operon.context import Place
from operon.context import frame
from operon.errors import MisuseError
from operon.errors import ResumeRefusedError
from operon.errors import RetryRefusedError
from operon.errors import RunConflictError
from operon.errors import RunNotFoundError
from operon.ids import checked_id
from operon.ids import new_id
from operon.status import RunStatus
from operon.store import checkpoints
from operon.store import control
from operon.store import messages
from operon.store import runs
from operon.store.checkpoints import Record
from operon.store.control import Brief
from operon.store.dialect import Backend

Wish = Callable[[Connection, Backend, Clock], None]
"""Writes what was asked for, in a transaction that is open."""


def cancel(run_id: str, *, children: bool, force: bool) -> Wish:
    """Ask the body of *run_id* to end, or end the run by *force*; once is enough.

    With *children*, so are the runs that it has started, and theirs. A run that has
    ended already stays as it is; of a chain, the last run is meant.

    Raises:
        MisuseError: A step asks it of its own run.
    """
    place = frame()
    if place is not None and (place.place, place.current.run_id) == (
        Place.STEP,
        run_id,
    ):
        raise MisuseError(
            "operon.cancel",
            "was called inside a step of its own run, whose commit it would refuse",
            cure="raise an error from the step, or return and let the body end",
        )

    def write(connection: Connection, backend: Backend, clock: Clock) -> None:
        newest, _ = _newest_locked(connection, run_id)
        end = control.force_cancel if force else control.request_cancel
        end(connection, backend, newest, clock=clock)
        parents = [newest]
        # a child is told before its own are looked for: it starts no more from then on
        while children and parents:
            parents = control.live_children(connection, parents)
            for child in parents:
                end(connection, backend, child, clock=clock)

    return write


def resume(run_id: str) -> Wish:
    """Continue *run_id*, which is dead or was cancelled by force, from its history.

    Of a chain, the last run is meant.
    """

    def write(connection: Connection, backend: Backend, clock: Clock) -> None:
        newest, run = _newest_locked(connection, run_id)
        _refuse_resume(newest, run, checkpoints.history(connection, newest))
        control.enqueue_again(connection, backend, newest, clock=clock)

    return write


def retry(run_id: str) -> Wish:
    """Redo the last operation of *run_id*, if the run failed with it.

    Of a chain, the last run is meant.
    """

    def write(connection: Connection, backend: Backend, clock: Clock) -> None:
        newest, run = _newest_locked(connection, run_id)
        if run.status is not RunStatus.FAILED:
            problem = f"is {run.status}, not failed, so there is nothing to retry"
            raise RetryRefusedError(newest, problem)
        failed = _operation_to_redo(newest, checkpoints.history(connection, newest))
        if failed is not None:
            control.free_position(
                connection, backend, newest, failed.position, clock=clock
            )
            _retry_child(connection, backend, failed, clock)
            if failed.kind == "receive":
                messages.mark_unread(connection, newest, failed.position)
        control.enqueue_again(connection, backend, newest, clock=clock)

    return write


def _retry_child(
    connection: Connection, backend: Backend, failed: Record, clock: Clock
) -> None:
    """Redo the child, too, whose failure made its parent fail."""
    if failed.kind != "result":
        return
    child = runs.newest(connection, failed.name)
    found = control.lock(connection, child)
    if found is not None and found.status is RunStatus.FAILED:
        retry(child)(connection, backend, clock)


def fork(run_id: str, *, from_position: int, new: str | None) -> tuple[str, Wish]:
    """Make a new run with the checkpoints of *run_id* before *from_position*.

    Returns:
        The new run's id, and what makes it.
    """
    fork_id = new_id() if new is None else checked_id(new)

    def write(connection: Connection, backend: Backend, clock: Clock) -> None:
        _locked(connection, run_id)
        _refuse_position(run_id, from_position, checkpoints.history(connection, run_id))
        if control.lock(connection, fork_id) is not None:
            if new is None:  # an earlier try of ours, its reply lost, has made it
                return
            raise RunConflictError(fork_id, "exists already")
        control.copy(
            connection, backend, run_id, fork_id, before=from_position, clock=clock
        )

    return fork_id, write


def _refuse_position(
    run_id: str, from_position: int, history: Sequence[Record]
) -> None:
    """Refuse to fork outside the history, or where an operation before is open."""
    recorded = {record.position for record in history}
    last = max(recorded, default=0)
    if not 1 <= from_position <= last + 1:
        raise MisuseError(
            f"from_position={from_position}",
            f"is outside the history of run {run_id!r}, which ends at {last}",
            cure=f"use 1 to {last + 1}",
        )
    open_before = sorted(set(range(1, from_position)) - recorded)
    if open_before:
        raise MisuseError(
            f"from_position={from_position}",
            f"is inside a gather of run {run_id!r} that is still open at "
            f"{open_before[0]}",
            cure=f"use 1 to {open_before[0]}, or wait until it is recorded",
        )


def _locked(connection: Connection, run_id: str) -> Brief:
    found = control.lock(connection, run_id)
    if found is None:
        raise RunNotFoundError(run_id)
    return found


def _newest_locked(connection: Connection, run_id: str) -> tuple[str, Brief]:
    """Lock the run that goes on for *run_id*, also if it goes on just now.

    Raises:
        RunNotFoundError: There is no such run.
    """
    newest = runs.newest(connection, run_id)
    found = _locked(connection, newest)
    while found.continued_as is not None:
        newest = found.continued_as
        found = _locked(connection, newest)
    return newest, found


def _refuse_resume(run_id: str, run: Brief, history: Sequence[Record]) -> None:
    if run.status is RunStatus.DEAD:
        return
    if run.status is not RunStatus.CANCELLED:
        raise ResumeRefusedError(run_id, f"is {run.status}")
    if any(record.kind == "cancel" for record in history):
        problem = "was cancelled and has compensated, which its history records"
        raise ResumeRefusedError(run_id, problem)


def _operation_to_redo(run_id: str, history: Sequence[Record]) -> Record | None:
    """Return the operation that failed last; None if none failed.

    Then the body itself raised, and runs again from its history.
    """
    failed = [record for record in history if record.error is not None]
    if not failed:
        return None
    last = failed[-1]
    later = [
        f"{record.kind} {record.name!r} at {record.position}"
        for record in history
        if record.position > last.position and not _was_beside(record, last)
    ]
    if later:
        problem = (
            f"went on after {last.kind} {last.name!r} had failed at {last.position}: "
            f"{', '.join(later)}"
        )
        raise RetryRefusedError(run_id, problem, later=later)
    return last


def _was_beside(record: Record, failed: Record) -> bool:
    """Tell whether *record* was written while *failed* was still open beside it."""
    return record.open_from is not None and record.open_from <= failed.position
