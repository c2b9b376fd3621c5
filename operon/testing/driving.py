"""Driving an Operon inline: time passes, and runs execute, when somebody waits.

Within `inline` or `bound_to` there are no threads. Whoever waits for a run, an event or
a moment executes what is due; if nothing is, the clock is turned to the next moment at
which something will be. So a month passes in milliseconds, and in the same order each
time.
"""

import threading
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import datetime
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from operon import Operon
from operon.context import frame
from operon.engine.guard import unwatch_around
from operon.engine.guard import watch_around
from operon.errors import MisuseError
from operon.executor.inline import InlineExecutor
from operon.hooks import Hook
from operon.operation import Call
from operon.results import FOREVER
from operon.testing.clock import TurnedClock


class DrivenClock(TurnedClock):
    """A clock that is turned by whoever would have to wait for it."""

    def __init__(self, at: datetime | None = None) -> None:
        super().__init__(at)
        self.driver: Driver | None = None

    def turn(
        self, by: timedelta = timedelta(0), *, leases: bool = True, **units: float
    ) -> None:
        """Turn it forward, as a `TurnedClock`; counted seconds pass as well.

        Nobody beside whoever turns it could lose a lease by that.
        """
        super().turn(by, leases=leases, **units)

    def advance(self, by: timedelta = timedelta(0), **units: float) -> None:
        """Let time pass, *by* a duration or by `days=1`, and all happen that falls due.

        What falls due on the way is executed at its moment. In the end all is done
        that is due by then.

        Raises:
            MisuseError: Nobody drives by this clock: it is outside of `inline` and
                `bound_to`.
        """
        if self.driver is None:
            raise MisuseError(
                "clock.advance",
                "was called where nothing can happen",
                cure="call it within inline or bound_to, or in a test that has "
                "operon_session",
            )
        until = self.monotonic() + (by + timedelta(**units)).total_seconds()
        while (left := until - self.monotonic()) > 0:
            self.driver.idle(left)
        self.driver.settle()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Do what there is to do until *event* is set or *seconds* have passed.

        Raises:
            MisuseError: It is waited for ever, and nothing will ever be due.
        """
        if event.is_set() or self.driver is None:
            return super().wait(event, seconds)
        self.driver.idle(seconds)
        return event.is_set()


class Driver:
    """What is done while somebody waits.

    Attributes:
        executor: Executes runs.
        clock: Tells everybody the time.
    """

    def __init__(self, executor: InlineExecutor, clock: DrivenClock) -> None:
        self.executor = executor
        self.clock = clock

    def settle(self) -> None:
        """Execute everything that is due now, and what that makes due."""
        while self.advance():
            pass

    def advance(self) -> bool:
        """Look around once, and execute what is due; return whether anything was."""
        return self.executor.advance()

    def idle(self, seconds: float) -> None:
        """Execute what is due; if nothing is, let time pass until something will be.

        At most *seconds* pass.

        Raises:
            MisuseError: *seconds* is for ever, and nothing will ever be due.
        """
        if frame() is not None:  # a run waits in the middle of what it does
            self._pass(seconds)
            return
        looked = self.clock.now()  # what falls due during the look is not past
        if self.advance():
            return
        until = self.executor.upcoming(looked)
        if until is not None:
            seconds = min(seconds, (until - self.clock.now()).total_seconds())
        self._pass(seconds)

    def despair(self) -> None:
        """Say that it is waited for ever for what will never come.

        Raises:
            MisuseError: Always.
        """
        raise MisuseError(
            "waiting",
            "would never end: no run is due, now or later",
            cure="send what the run waits for, or resume its queue, before",
        )

    def _pass(self, seconds: float) -> None:
        if seconds == FOREVER:
            self.despair()
        else:
            self.clock.turn(seconds=max(0.0, seconds))


@contextmanager
def inline(
    operon: Operon,
    clock: DrivenClock | None = None,
    *,
    hooks: Sequence[Hook] = (),
    outside: Callable[[Call], Any] = Call.outside,
) -> Generator[Driver, None, None]:
    """Let *operon* have no threads within the block: who waits for a run executes it.

    What it does is committed. Nobody else must work on its database meanwhile.

    Args:
        operon: Must not be launched.
        clock: The time within the block; by default one that begins now.
        hooks: Told of what happens, beside the Operon's own.
        outside: Answers the calls of activities; by default they are made.

    Raises:
        MisuseError: It is launched.
    """
    with _driven(operon, clock, None, hooks, outside) as driver:
        yield driver


@contextmanager
def bound_to(
    operon: Operon,
    session: Session,
    clock: DrivenClock | None = None,
    *,
    hooks: Sequence[Hook] = (),
    outside: Callable[[Call], Any] = Call.outside,
) -> Generator[Driver, None, None]:
    """Let everything *operon* does within the block be part of *session*'s transaction.

    Runs, checkpoints and what steps write are savepoints in it, so they are seen by
    *session*, and by nobody else; they go when it is rolled back. There are no threads,
    as within `inline`.

    Args:
        operon: Must not be launched.
        session: In a transaction on the same database, which it does not end meanwhile.
        clock: The time within the block; by default one that begins now.
        hooks: Told of what happens, beside the Operon's own.
        outside: Answers the calls of activities; by default they are made.

    Raises:
        MisuseError: It is launched, or the session works on another database.

    Source:
        SQLAlchemy, "Joining a Session into an External Transaction".
    """
    connection = session.connection()
    watch_around(connection)
    try:
        with _driven(operon, clock, session, hooks, outside) as driver:
            yield driver
    finally:
        unwatch_around(connection)


@contextmanager
def _driven(
    operon: Operon,
    clock: DrivenClock | None,
    session: Session | None,
    hooks: Sequence[Hook],
    outside: Callable[[Call], Any],
) -> Generator[Driver, None, None]:
    time = clock or DrivenClock()
    with operon.inline(time, session, hooks) as executor:
        executor.services.outside = outside
        time.driver = Driver(executor, time)
        try:
            yield time.driver
        finally:
            time.driver = None
