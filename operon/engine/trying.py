"""Trying an operation until its outcome is recorded, and remembering what failed."""

import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import exc

from operon.codec import encode_error
from operon.codec import error_summary
from operon.engine.faults import sqlstate_of
from operon.engine.patience import RunPatience
from operon.engine.record import commit_alone
from operon.engine.record import deliver_cancel
from operon.engine.record import failed
from operon.engine.record import record_alone
from operon.engine.record import settle
from operon.engine.run import ActiveRun
from operon.engine.rejected import Rejected
from operon.errors import ResultNotSerializableError
from operon.store import attempts
from operon.store.attempts import Failure
from operon.store.attempts import Past
from operon.store.checkpoints import Record

Attempt = Callable[[int, datetime], Record]
"""Makes one attempt, given its number and when it began; returns what is recorded."""


def until_recorded(
    run: ActiveRun, operation: Any, position: int, attempt: Attempt
) -> Record:
    """Make attempts until *position* holds an outcome; return it.

    An error of the user's code is tried again as the operation's `Retry` says, then
    recorded. What the database refuses is tried again and never recorded.
    """
    past = _past(run, operation, position)
    notes = _notes(run, past)
    number = past.attempts + 1
    if past.next_at is not None:
        run.wait(past.next_at - run.now())
    patience = RunPatience(run)
    while True:
        if run.cancel_is_due:
            deliver_cancel(run, position)
        started_at = run.now()
        try:
            return attempt(number, started_at)
        except Rejected as refusal:
            found = settle(run, operation, position, refusal)
            if found is not None:
                return found
            if not run.cancel_is_due:
                patience.wait(refusal)
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises is an outcome
            if _is_final(operation, error, number):
                return _give_up(run, operation, position, error, number, notes, started_at)
            notes.append(_note(number, f"{type(error).__qualname__}: {error}"))
            _fail(run, operation, position, error, number, started_at)
            number += 1
            patience = RunPatience(run)


def _is_final(operation: Any, error: Exception, number: int) -> bool:
    if isinstance(error, ResultNotSerializableError):
        return True  # the same code would return the same value
    return not operation.retry.allows(error, number)


def _give_up(
    run: ActiveRun,
    operation: Any,
    position: int,
    error: Exception,
    number: int,
    notes: list[str],
    started_at: datetime,
) -> Record:
    for note in notes:
        error.add_note(note)
    outcome = failed(run, operation, position, error, attempts=number)
    return record_alone(run, operation, outcome, started_at=started_at)


def _fail(
    run: ActiveRun,
    operation: Any,
    position: int,
    error: Exception,
    number: int,
    started_at: datetime,
) -> None:
    """Record a failed attempt, then wait until the next one is due."""
    services, patience = run.services, RunPatience(run)
    delay = operation.retry.wait_after(number)
    text, codec = services.payloads.wrap(encode_error(error), "error")
    failure = Failure(
        position=position,
        kind=operation.kind,
        name=operation.name,
        error=text,
        codec=codec,
        traceback="".join(traceback.format_exception(error)),
        sqlstate=sqlstate_of(error),
        started_at=started_at,
        next_in=delay,
    )

    def send(connection: Connection) -> None:
        backend = services.database.backend
        attempts.record(connection, backend, run.lease, failure, clock=services.clock)

    while True:
        try:
            commit_alone(run, send)
            break
        except Rejected as refusal:
            settle(run, operation, position, refusal)
            if run.cancel_is_due:
                return
            patience.wait(refusal)
    run.wait(delay)


def _past(run: ActiveRun, operation: Any, position: int) -> Past:
    """Return earlier attempts; a fresh run, or one try only, cannot have any."""
    nothing = Past(attempts=0, errors=(), next_at=None)
    if not run.was_claimed or operation.retry.attempts == 1:
        return nothing
    patience = RunPatience(run)
    while True:
        try:
            with run.services.database.reading() as connection:
                return attempts.past(connection, run.run_id, position)
        except exc.SQLAlchemyError as error:
            patience.wait(Rejected.from_error(error))


def _notes(run: ActiveRun, past: Past) -> list[str]:
    payloads = run.services.payloads
    return [
        _note(number, error_summary(payloads.unwrap(error, codec)))
        for number, (error, codec) in enumerate(past.errors, start=1)
    ]


def _note(number: int, what: str) -> str:
    return f"attempt {number}: {what}"
