"""Waiting: for a moment in the thread, for longer without one.

A suspended run is a row. What its body holds in memory is forgotten; when the wait is
over, whoever claims the run plays the body again up to here.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from datetime import timedelta
from functools import partial
from typing import NoReturn

from sqlalchemy import Connection
from sqlalchemy import exc

from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.flow import ClaimAgain
from operon.engine.flow import Suspended
from operon.engine.outcome import Operation
from operon.engine.outcome import failed
from operon.engine.patience import RunPatience
from operon.engine.record import Checkpointing
from operon.engine.record import Slot
from operon.engine.record import commit_alone
from operon.engine.record import deliver_cancel
from operon.engine.record import meet_deadline
from operon.engine.record import record_alone
from operon.engine.record import settle
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.points import Point
from operon.store.checkpoints import Record
from operon.store.waits import Wait
from operon.store.waits import earliest

Act = Callable[[Connection], Record]
"""Does what an operation does in its transaction; returns what is to be recorded."""

_FIRST_POLL = 0.02  # seconds between two looks of a thread that waits
_LAST_POLL = 0.25  # seconds


class NotYet(Exception):  # noqa: N818 - an answer, not an error
    """What the operation waits for is not there."""


def pause(run: ActiveRun, position: int, until: datetime) -> None:
    """Wait until the next attempt of the operation at *position* is due.

    Raises:
        ControlFlow: That is too far away; the run is suspended.
    """
    left = until - run.time.now()
    if left > run.services.inline_wait and run.may_suspend:
        suspend(run, Wait(kind="retry", position=position, until=until))
    run.wait(left)


def suspend(run: ActiveRun, wait: Wait) -> NoReturn:
    """Unwind the body: the run is to wait without a thread, until *wait* is over.

    Spawned operations end first: their outcomes are recorded, or they wait as well.
    The deadline wakes the run too, until its body was told to end.

    Raises:
        ControlFlow: Always.
    """
    parked = run.join()
    run.check()
    run.heed()
    if run.cancel_is_due:  # it came meanwhile, and a suspended run would not see it
        run.break_with(ClaimAgain())
    deadline = run.deadline_at if run.cancel_delivered is None else None
    alarm = earliest(wait.until, parked, deadline)
    run.break_with(Suspended(replace(wait, wake_at=alarm)))


def until(run: ActiveRun, position: int, duration: timedelta | None) -> datetime | None:
    """Return when the operation at *position* gives up waiting after *duration*.

    An earlier claim may have decided it already: the time a run was away counts.
    Longer than the calendar is for ever.
    """
    if duration is None:
        return None
    try:
        return run.waited_until(position) or run.time.now() + duration
    except OverflowError:
        return None


def perform(run: ActiveRun, operation: Operation, slot: Slot, act: Act) -> Record:
    """Do *act* and record what it returns, in one transaction of Operon's own.

    An exception of *act* undoes the transaction and is recorded as the outcome.

    Raises:
        NotYet: What *act* waits for is not there; nothing is recorded.
    """
    return _until_recorded(run, operation, slot, partial(_once, run, act))


def note(run: ActiveRun, operation: Operation, slot: Slot, outcome: Record) -> Record:
    """Record *outcome*, with which nothing else is written, in one message."""
    return _until_recorded(run, operation, slot, partial(_noted, run, outcome))


def _until_recorded(
    run: ActiveRun,
    operation: Operation,
    slot: Slot,
    record: Callable[[datetime], Record],
) -> Record:
    """Try *record*, which is told the time, until the position holds an outcome."""
    position, patience = slot.position, RunPatience(run)
    while True:
        if run.cancel_is_due:
            deliver_cancel(run, position)
        started_at = run.time.now()
        try:
            return record(started_at)
        except Rejected as refusal:
            found = settle(run, operation, position, refusal)
            if found is not None:
                return found
            if not run.cancel_is_due:
                patience.wait(refusal)
        except NotYet:
            raise
        except Exception as error:  # noqa: BLE001 - what the operation raises is its outcome
            outcome = failed(run, operation, position, error, attempts=1)
            return record_alone(run, operation, outcome, started_at=started_at)


def _once(run: ActiveRun, act: Act, started_at: datetime) -> Record:
    sent: list[Checkpointing] = []

    def send(connection: Connection) -> None:
        sent[:] = [Checkpointing(run, act(connection), started_at=started_at)]
        sent[0](connection)

    commit_alone(run, send)
    return run.remember(sent[0].recorded)


def _noted(run: ActiveRun, outcome: Record, started_at: datetime) -> Record:
    """Send *outcome* in a statement that is a transaction by itself."""
    services = run.services
    send = Checkpointing(run, outcome, started_at=started_at)
    try:
        with services.database.single() as connection:
            send(connection)
    except exc.SQLAlchemyError as error:
        fault = classify(error)
        if fault in {Fault.USER, Fault.ABORTED}:
            raise
        raise Rejected(fault, sent=True) from error
    services.probe(Point.COMMITTED, run.run_id)
    return run.remember(send.recorded)


def await_outcome(
    run: ActiveRun,
    operation: Operation,
    slot: Slot,
    wait: Wait,
    *,
    act: Act,
    is_there: Callable[[Connection], bool],
    help_on: str | None = None,
) -> Record:
    """Do *act* once what it waits for is there; until then hold little or nothing.

    Args:
        run: The run whose body waits.
        operation: What waits.
        slot: Its place in the history.
        wait: For what, and until when.
        act: Takes what is there, or raises `NotYet`; after `wait.until` it must not.
        is_there: Looks whether *act* has anything to take.
        help_on: A run that this thread may execute meanwhile, if a caller waits in it.
    """
    services = run.services
    give_up = services.clock.monotonic() + services.inline_wait.total_seconds()
    poll = _FIRST_POLL
    while True:
        try:
            return perform(run, operation, slot, act)
        except NotYet:
            pass
        while not _is_worth_trying(run, wait, is_there):
            if run.foreground and help_on is not None:
                services.help(help_on)
            left = give_up - services.clock.monotonic() if run.may_suspend else poll
            crowded = not run.foreground and services.is_crowded()
            if run.may_suspend and (left <= 0 or crowded):
                suspend(run, wait)
            run.nap(min(poll, left))
            poll = min(poll * 1.5, _LAST_POLL)


def _is_worth_trying(
    run: ActiveRun, wait: Wait, is_there: Callable[[Connection], bool]
) -> bool:
    """Tell whether the wait is over, or something else has to be seen to."""
    run.check()
    run.heed()
    if run.is_overdue:
        meet_deadline(run)
    if run.cancel_is_due:
        return True
    if wait.until is not None and run.time.now() >= wait.until:
        return True
    try:
        with run.services.database.reading() as connection:
            return is_there(connection)
    except exc.SQLAlchemyError as error:
        Rejected.from_error(error)
        return False
