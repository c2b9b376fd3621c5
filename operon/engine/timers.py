"""Sleeping: until a time that is decided once."""

from collections.abc import Callable
from datetime import UTC
from datetime import datetime

from operon.engine.mail import done
from operon.engine.outcome import Primitive
from operon.engine.outcome import answer
from operon.engine.record import enter
from operon.engine.record import meet_deadline
from operon.engine.run import ActiveRun
from operon.engine.waiting import note
from operon.engine.waiting import suspend
from operon.store.waits import Wait

_SLEEP = Primitive("sleep", "sleep")
_LAST = datetime(9999, 1, 1, tzinfo=UTC)  # databases and time zones can tell it


def sleep(run: ActiveRun, until: Callable[[datetime], datetime]) -> None:
    """Wait, at the next position, until what *until* returns for the present time."""
    slot = enter(run, _SLEEP)
    recorded = slot.recorded
    if recorded is None:
        end = run.waited_until(slot.position) or _end(run, until)
        _await(run, Wait(kind="sleep", position=slot.position, until=end), end)
        recorded = note(run, _SLEEP, slot, done(_SLEEP, slot))
    answer(run, _SLEEP, recorded)


def _end(run: ActiveRun, until: Callable[[datetime], datetime]) -> datetime:
    """Return when the sleep ends; one beyond the calendar lasts as long as that."""
    try:
        return until(run.time.now())
    except OverflowError:
        return _LAST


def _await(run: ActiveRun, wait: Wait, end: datetime) -> None:
    """Wait in the thread if it is not for long, else without one."""
    while not run.cancel_is_due:
        left = end - run.time.now()
        if left.total_seconds() <= 0:
            return
        if left > run.services.inline_wait and run.may_suspend:
            suspend(run, wait)
        run.wait(left)
        run.check()
        if run.is_overdue:
            meet_deadline(run)
