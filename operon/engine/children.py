"""Children, and the run that goes on in another's place."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from typing import NoReturn

from sqlalchemy import Connection

from operon.codec import Undecodable
from operon.codec import error_summary
from operon.codec import type_codec
from operon.codec import wrap_error
from operon.engine.enqueueing import enqueue
from operon.engine.flow import Continued
from operon.engine.mail import read
from operon.engine.outcome import Primitive
from operon.engine.outcome import answer
from operon.engine.record import Slot
from operon.engine.record import deliver_cancel
from operon.engine.record import die_of_non_determinism
from operon.engine.record import enter
from operon.engine.record import meet_deadline
from operon.engine.run import ActiveRun
from operon.engine.start import ensure_started
from operon.engine.telling import start_told
from operon.engine.waiting import NotYet
from operon.engine.waiting import await_outcome
from operon.engine.waiting import perform
from operon.engine.waiting import suspend
from operon.engine.waiting import until
from operon.errors import ResultTimeoutError
from operon.errors import RunCancelledError
from operon.errors import RunDeadError
from operon.errors import RunNotFoundError
from operon.handle import Handle
from operon.hooks import Trace
from operon.request import Request
from operon.request import StartOptions
from operon.request import request
from operon.status import RunStatus
from operon.store import runs
from operon.store.checkpoints import Record
from operon.store.runs import Result
from operon.store.waits import Wait
from operon.store.waits import earliest

_ID = type_codec(str)
_NO_TRACE: Trace = {}
"""Until its row is written: its trace is that of its start, see `_within`."""


class _GoneOn(BaseException):
    """The run whose end is waited for has gone on as another; nothing is recorded."""


def start(run: ActiveRun, child: Any, options: Mapping[str, Any]) -> Handle[Any]:
    """Start *child*, at the next position of *run*'s history.

    Its row and the checkpoint are one commit, so there is never a second child.
    """
    on_conflict, given = options["on_conflict"], dict(options)
    del given["on_conflict"]
    default_id = f"{run.run_id}/{run.position + 1}"
    asked = _request(run, child, StartOptions(**given), default_id)
    operation = Primitive("start", asked.declared.name, _ID)
    slot = enter(run, operation)
    recorded = slot.recorded
    if recorded is None:

        def act(connection: Connection) -> Record:
            with start_told(
                run.services, asked.declared, queue=asked.new.queue
            ) as told:
                started = enqueue(
                    run.services, connection, _within(run, asked), on_conflict
                )
                told.run_id = started
            return Record(
                position=slot.position,
                kind=operation.kind,
                name=operation.name,
                output=_ID.encode(started),
            )

        recorded = perform(run, operation, slot, act)
        run.services.tell_due()
    return run.services.handle(answer(run, operation, recorded), asked.declared)


def result(run: ActiveRun, handle: Handle[Any], timeout: timedelta | None) -> Any:
    """Wait for the result of *handle*'s run, at the next position."""
    declared = handle.declared
    codec = type_codec(Any) if declared is None else declared.result
    operation = Primitive("result", handle.id, codec)
    slot = enter(run, operation)
    if slot.recorded is not None:
        return answer(run, operation, slot.recorded)
    given_up = until(run, slot.position, timeout)
    wait = Wait(kind="result", position=slot.position, until=given_up)
    while True:
        newest = read(run, lambda connection: runs.newest(connection, handle.id))
        try:
            recorded = _await_end(
                run, operation, slot, replace(wait, on=newest), timeout
            )
        except _GoneOn:
            continue
        return answer(run, operation, recorded)


def _await_end(
    run: ActiveRun,
    operation: Primitive,
    slot: Slot,
    wait: Wait,
    timeout: timedelta | None,
) -> Record:
    """Wait for the end of the run that *wait* is on; return what it has come to.

    Raises:
        _GoneOn: It has ended in favour of another.
    """
    newest = str(wait.on)

    def act(connection: Connection) -> Record:
        found = _found(connection, newest)
        if found.continued_as is not None:
            raise _GoneOn
        if found.status.is_final:
            return _come_to(run, operation, slot, found)
        if wait.until is not None and run.time.now() >= wait.until:
            waited = timeout or timedelta(0)
            raise ResultTimeoutError(operation.name, waited=waited.total_seconds())
        raise NotYet

    def is_there(connection: Connection) -> bool:
        return _found(connection, newest).status.is_final

    return await_outcome(
        run, operation, slot, wait, act=act, is_there=is_there, help_on=newest
    )


def continue_as(run: ActiveRun, successor: Any) -> NoReturn:
    """Unwind the body of *run*; *successor* goes on in its place.

    Raises:
        ControlFlow: Always.
    """
    run.check()
    asked = _request(
        run, successor, StartOptions(), _next_id(run), run.services.hooks.carry()
    )
    _come_to_an_end(run)
    parked = run.join()
    run.check()
    if parked is not None:
        suspend(run, Wait(kind="retry", position=run.position + 1, until=parked))
    run.break_with(Continued(asked))


def _come_to_an_end(run: ActiveRun) -> None:
    """Make sure that nothing recorded and no wish is left when the body ends here.

    Raises:
        RunCancelled: The body is to end otherwise; as at an operation, it is recorded.
        ControlFlow: It has called less than its history holds.
    """
    unread = run.unread()
    if unread is not None and unread.kind != "cancel":
        die_of_non_determinism(run, unread, called="self.continue_as")
    if unread is not None:
        enter(run, Primitive("cancel", unread.name))
    ensure_started(run, lazily=False)
    if run.is_overdue:
        meet_deadline(run)
    if run.cancel_is_due:
        deliver_cancel(run, run.advance())


def _request(
    run: ActiveRun,
    asked: Any,
    options: StartOptions,
    default_id: str,
    trace: Trace = _NO_TRACE,
) -> Request:
    return request(
        asked,
        options,
        parent=run.current(),
        default_id=lambda: default_id,
        payloads=run.services.payloads,
        code_version=run.services.code_version,
        trace=trace,
    )


def _within(run: ActiveRun, asked: Request) -> Request:
    """Return *asked* with the deadline it inherits, and in the present trace."""
    deadline = earliest(asked.new.deadline_at, run.deadline_at)
    trace = run.services.hooks.carry()
    new = replace(
        asked.new,
        deadline_at=deadline,
        traceparent=trace.get("traceparent"),
        tracestate=trace.get("tracestate"),
    )
    return replace(asked, new=new)


def _next_id(run: ActiveRun) -> str:
    """Return the id of the next run of the chain, such as `order-42~2`."""
    if run.chain_id is None:
        return f"{run.run_id}~2"
    number = int(run.run_id.removeprefix(f"{run.chain_id}~"))
    return f"{run.chain_id}~{number + 1}"


def _found(connection: Connection, run_id: str) -> Result:
    found = runs.find_result(connection, run_id)
    if found is None:
        raise RunNotFoundError(run_id)
    return found


def _come_to(run: ActiveRun, operation: Primitive, slot: Slot, found: Result) -> Record:
    """Return the record of what a run has come to."""
    record = Record(position=slot.position, kind=operation.kind, name=operation.name)
    if found.status is RunStatus.SUCCEEDED:
        output = "null" if found.output is None else found.output
        return replace(record, output=output, codec=found.codec)
    if found.status is RunStatus.FAILED and found.error is not None:
        return replace(record, error=found.error, codec=found.codec)
    if found.status is RunStatus.DEAD:
        dead = RunDeadError(operation.name, _reason(run, found))
        text, codec = wrap_error(dead, run.services.payloads)
    else:
        cancelled = RunCancelledError(operation.name)
        text, codec = wrap_error(cancelled, run.services.payloads)
    return replace(record, error=text, codec=codec)


def _reason(run: ActiveRun, found: Result) -> str:
    """Return why Operon stopped a run, in words."""
    if found.error is None:
        return "no reason was recorded"
    try:
        text = run.services.payloads.unwrap(found.error, found.codec)
    except Undecodable as problem:
        return problem.reason
    return error_summary(text)
