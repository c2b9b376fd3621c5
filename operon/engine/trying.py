"""Trying an operation until its outcome is recorded, and remembering what failed."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from operon.codec import error_summary
from operon.codec import wrap_error
from operon.engine.faults import sqlstate_of
from operon.engine.outcome import answer
from operon.engine.outcome import failed
from operon.engine.patience import RunPatience
from operon.engine.record import commit_alone
from operon.engine.record import deliver_cancel
from operon.engine.record import enter
from operon.engine.record import record_alone
from operon.engine.record import settle
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.engine.telling import attempt_told
from operon.engine.waiting import pause
from operon.errors import ResultNotSerializableError
from operon.operation import Operation
from operon.store import attempts
from operon.store.attempts import NO_PAST
from operon.store.attempts import Failure
from operon.store.attempts import Past
from operon.store.checkpoints import Record


@dataclass
class Try:
    """One attempt of an operation."""

    position: int
    number: int
    """From 1, counted over all executors that tried."""
    started_at: datetime
    """Until a transaction has begun, when its connection was asked for."""


Attempt = Callable[[Try], Record]
"""Makes one attempt; returns what is recorded."""

Pause = Callable[[int, datetime], None]
"""Waits until the next attempt at a position is due, or unwinds."""


def execute(
    run: ActiveRun, operation: Operation, attempt: Attempt, *, lazily: bool = False
) -> Any:
    """Return the outcome of *operation* at the next position of *run*'s history.

    A recorded position is replayed, never run again. *lazily*, the first attempt
    makes a synchronous commit of its own (see `start`).
    """
    slot = enter(run, operation, lazily=lazily)
    recorded = slot.recorded
    if recorded is None:
        trial = Trial(run, operation, slot.position, pause=partial(pause, run))
        recorded = trial.until_recorded(attempt)
    return answer(run, operation, recorded)


class Trial:
    """The attempts of one operation, across processes, until one is final.

    An error of the user's code is tried again as the operation's `Retry` says, then
    recorded. What the database refuses is tried again and never recorded.
    """

    def __init__(
        self, run: ActiveRun, operation: Operation, position: int, *, pause: Pause
    ) -> None:
        self._run = run
        self._operation = operation
        self._position = position
        self._pause = pause
        self._number = 1
        self._notes: list[str] = []

    def until_recorded(self, attempt: Attempt) -> Record:
        """Make attempts until the position holds an outcome; return it."""
        self._recall()
        patience = RunPatience(self._run)
        while True:
            if self._run.cancel_is_due:
                deliver_cancel(self._run, self._position)
            this = Try(self._position, self._number, self._run.time.now())
            try:
                return self._made(attempt, this)
            except Rejected as refusal:
                found = self._settled(refusal, patience)
            except Exception as error:  # noqa: BLE001 - whatever user code raises is an outcome
                found = self._failed(this, error)
                patience = RunPatience(self._run)
            if found is not None:
                return found

    def _made(self, attempt: Attempt, this: Try) -> Record:
        """Make *attempt*; hooks are told."""
        if not self._run.services.hooks:
            return attempt(this)
        run, operation = self._run, self._operation
        with attempt_told(run, operation, this.position, this.number) as told:
            recorded = attempt(this)
            told.size = len(recorded.output or "")
        return recorded

    def _settled(self, refusal: Rejected, patience: RunPatience) -> Record | None:
        """Return what the refused position holds; None: try again, after a wait."""
        found = settle(self._run, self._operation, self._position, refusal)
        if found is None and not self._run.cancel_is_due:
            patience.wait(refusal)
        return found

    def _failed(self, this: Try, error: Exception) -> Record | None:
        """Record *error*: as the outcome if it is final, else as a failed attempt."""
        run = self._run
        if not self._is_final(error):
            self._notes.append(
                _note(self._number, f"{type(error).__qualname__}: {error}")
            )
            self._remember(this, error)
            self._number += 1
            return None
        for note in self._notes:
            error.add_note(note)
        outcome = failed(
            run, self._operation, self._position, error, attempts=self._number
        )
        return record_alone(run, self._operation, outcome, started_at=this.started_at)

    def _is_final(self, error: Exception) -> bool:
        if isinstance(error, ResultNotSerializableError):
            return True  # the same code would return the same value
        return not self._operation.retry.allows(error, self._number)

    def _remember(self, this: Try, error: Exception) -> None:
        """Record a failed attempt, then wait until the next one is due."""
        run, delay = self._run, self._operation.retry.wait_after(self._number)
        services = run.services
        text, codec = wrap_error(error, services.payloads)
        failure = Failure(
            position=self._position,
            kind=self._operation.kind,
            name=self._operation.name,
            error=text,
            codec=codec,
            traceback="".join(traceback.format_exception(error)),
            sqlstate=sqlstate_of(error),
            started_at=this.started_at,
            next_in=delay,
        )

        def send(connection: Connection) -> None:
            backend, clock = services.database.backend, services.clock
            attempts.record(connection, backend, run.lease, failure, clock=clock)

        self._insist(send)
        due = run.time.now() + delay
        before = run.pasts.get(self._position, NO_PAST)
        errors = (*before.errors, (text, codec))
        run.pasts[self._position] = Past(
            attempts=self._number, errors=errors, next_at=due
        )
        if not run.cancel_is_due:
            self._pause(self._position, due)

    def _insist(self, send: Callable[[Connection], None]) -> None:
        """Commit what *send* sends, unless a cancel makes it pointless."""
        patience = RunPatience(self._run)
        while not self._run.cancel_is_due:
            try:
                commit_alone(self._run, send)
            except Rejected as refusal:
                self._settled(refusal, patience)
            else:
                return

    def _recall(self) -> None:
        """Go on counting where an earlier holder of the run stopped."""
        past = self._run.pasts.get(self._position, NO_PAST)
        payloads = self._run.services.payloads
        self._number = past.attempts + 1
        self._notes = [
            _note(number, error_summary(payloads.unwrap(error, codec)))
            for number, (error, codec) in enumerate(past.errors, start=1)
        ]
        if past.next_at is not None:
            self._pause(self._position, past.next_at)


def _note(number: int, what: str) -> str:
    return f"attempt {number}: {what}"
