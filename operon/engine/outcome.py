"""Outcomes: of an operation, as the record that is stored and the value a body gets."""

from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Any
from typing import Protocol

from operon.codec import NotEncodable
from operon.codec import TypeCodec
from operon.codec import Undecodable
from operon.codec import UnknownError
from operon.codec import decode_error
from operon.codec import type_codec
from operon.codec import wrap_error
from operon.engine.run import ActiveRun
from operon.errors import RecordedError
from operon.errors import ResultNotSerializableError
from operon.operation import Kind
from operon.store.checkpoints import Record


class Operation(Protocol):
    """Anything that takes a position in a run's history."""

    @property
    def kind(self) -> Kind:
        """What it is."""
        ...

    @property
    def name(self) -> str:
        """Its declared name."""
        ...

    @property
    def result(self) -> TypeCodec:
        """How its result is stored."""
        ...


@dataclass(frozen=True)
class Primitive:
    """An operation that is Operon's own: nobody declared it."""

    kind: Kind
    name: str
    result: TypeCodec = field(default_factory=partial(type_codec, Any))


def answer(run: ActiveRun, operation: Operation, recorded: Record) -> Any:
    """Return, or raise, what *recorded* says, decoded: all that a body ever sees."""
    run.time.notice(recorded.finished_at)
    subject = f"{operation.kind} {operation.name!r} of run {run.run_id!r}"
    payloads = run.services.payloads
    try:
        if recorded.error is not None:
            text = payloads.unwrap(recorded.error, recorded.codec)
            error = rebuilt(run.run_id, recorded, text)
        else:
            assert recorded.output is not None  # noqa: S101 - one of the two is set
            text = payloads.unwrap(recorded.output, recorded.codec)
            return operation.result.decode(text)
    except Undecodable as reason:
        run.die_undecodable(subject, reason.reason)
    raise error.with_traceback(run.tracebacks.pop(recorded.position, None))


def rebuilt(run_id: str, recorded: Record, text: str) -> Exception:
    """Return the error of *recorded*, or the one that stands for an unknown class."""
    found = decode_error(text)
    if isinstance(found, UnknownError):
        return RecordedError(
            run_id,
            recorded.name,
            recorded.position,
            error_type=found.type,
            message=found.message,
        )
    return found


def succeeded(
    run: ActiveRun, operation: Operation, position: int, value: Any, *, attempts: int
) -> Record:
    """Return the record of a result.

    Raises:
        ResultNotSerializableError: The result would not come back as it is.
    """
    try:
        text = operation.result.encode(value, "result")
        output, codec = run.services.payloads.wrap(text, "result")
    except NotEncodable as problem:
        raise ResultNotSerializableError(
            run.run_id,
            operation.name,
            position,
            path=problem.path,
            reason=problem.reason,
        ) from None
    return Record(
        position=position,
        kind=operation.kind,
        name=operation.name,
        output=output,
        codec=codec,
        attempts=attempts,
    )


def failed(
    run: ActiveRun,
    operation: Operation,
    position: int,
    error: Exception,
    *,
    attempts: int,
) -> Record:
    """Return the record of an error, and keep where it was raised for this process."""
    text, codec = wrap_error(error, run.services.payloads)
    run.tracebacks[position] = error.__traceback__
    return Record(
        position=position,
        kind=operation.kind,
        name=operation.name,
        error=text,
        codec=codec,
        attempts=attempts,
    )
