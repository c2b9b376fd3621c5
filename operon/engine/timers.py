"""Sleeping: until a time that is decided once."""

from collections.abc import Callable
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


def sleep(run: ActiveRun, until: Callable[[datetime], datetime]) -> None:
    """Wait, at the next position, until what *until* returns for the present time."""
    slot = enter(run, _SLEEP)
    recorded = slot.recorded
    if recorded is None:
        end = run.waited_until(slot.position) or until(run.time.now())
        _await(run, Wait(kind="sleep", position=slot.position, until=end), end)
        recorded = note(run, _SLEEP, slot, done(_SLEEP, slot))
    answer(run, _SLEEP, recorded)


def _await(run: ActiveRun, wait: Wait, end: datetime) -> None:
    """Wait in the thread if it is not for long, else without one."""
    while not run.cancel_is_due:
        left = end - run.time.now()
        if left.total_seconds() <= 0:
            return
        if left > run.services.inline_wait:
            suspend(run, wait)
        run.wait(left)
        run.check()
        if run.is_overdue:
            meet_deadline(run)
