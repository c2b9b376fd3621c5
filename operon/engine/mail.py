"""Messages, events and streams: of a body, and for whoever writes them from outside.

What a body sends, publishes or writes commits with its checkpoint, so it happens
once. What it receives is marked as read in the commit that records it.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy import exc

from operon.codec import NotEncodable
from operon.codec import Payloads
from operon.codec import TypeCodec
from operon.codec import Undecodable
from operon.codec import type_codec
from operon.codec import value_codec
from operon.codec import wrap_error
from operon.engine.outcome import Primitive
from operon.engine.outcome import answer
from operon.engine.patience import RunPatience
from operon.engine.record import Slot
from operon.engine.record import enter
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.engine.services import Services
from operon.engine.waiting import NotYet
from operon.engine.waiting import await_outcome
from operon.engine.waiting import perform
from operon.engine.waiting import until
from operon.errors import DeclarationError
from operon.errors import DecodeError
from operon.errors import MisuseError
from operon.errors import RunNotFoundError
from operon.operation import Kind
from operon.store import events
from operon.store import messages
from operon.store import runs
from operon.store import streams
from operon.store.checkpoints import Record
from operon.store.events import Stored
from operon.store.messages import Letter
from operon.store.waits import Wait

T = TypeVar("T")


def stored(payloads: Payloads, called: str, value: Any) -> Stored:
    """Return *value* as it is stored: by its own type, or as plain JSON.

    Raises:
        MisuseError: It would not come back as it is.
    """
    cure = "use plain JSON values, or an instance of a class that declares them"
    try:
        text = value_codec(value).encode(value, "the value")
        wrapped, codec = payloads.wrap(text, "the value")
        return Stored(value=wrapped, codec=codec)
    except NotEncodable as problem:
        raise MisuseError(
            f"{called}: {problem.path}", problem.reason, cure=cure
        ) from None
    except DeclarationError as error:
        kind = type(value).__qualname__
        raise MisuseError(
            f"{called}: the value", f"cannot be stored as {kind}", cure=cure
        ) from error


def deliver(
    services: Services, connection: Connection, run_id: str, letter: Letter
) -> str:
    """Write *letter* to *run_id*; return the address, to be told once it commits.

    Raises:
        RunNotFoundError: There is no such run.
    """
    backend, clock = services.database.backend, services.clock
    address = _address(connection, run_id)
    messages.send(connection, backend, address, letter, clock=clock)
    return address


def publish_at(
    services: Services, connection: Connection, run_id: str, key: str, value: Stored
) -> str:
    """Publish *value* under *key* of *run_id*; return the address, as `deliver` does.

    Raises:
        RunNotFoundError: There is no such run.
    """
    backend, clock = services.database.backend, services.clock
    address = _address(connection, run_id)
    events.publish(connection, backend, address, key, value, clock=clock)
    return address


def append_to(
    services: Services, connection: Connection, run_id: str, stream: str, value: Stored
) -> str:
    """Append *value* to *stream* of *run_id*; return the address, as `deliver` does.

    Raises:
        RunNotFoundError: There is no such run.
    """
    backend, clock = services.database.backend, services.clock
    address = _address(connection, run_id)
    streams.append(connection, backend, address, stream, value, clock=clock)
    return address


def send(
    run: ActiveRun, run_id: str, topic: str, message: Any, key: str | None
) -> None:
    """Send *message* to another run, at the next position of this one."""
    value = stored(run.services.payloads, "self.send", message)
    letter = Letter(
        topic=topic,
        message=value.value,
        codec=value.codec,
        idempotency_key=key,
        sender=run.run_id,
    )
    _post(
        run,
        "send",
        topic,
        lambda connection: deliver(run.services, connection, run_id, letter),
    )


def publish(run: ActiveRun, key: str, value: Any) -> None:
    """Publish *value* under *key*, at the next position."""
    told = stored(run.services.payloads, "self.publish", value)
    _post(
        run,
        "publish",
        key,
        lambda connection: publish_at(run.services, connection, run.run_id, key, told),
    )


def write(run: ActiveRun, stream: str, value: Any) -> None:
    """Append *value* to *stream*, at the next position."""
    told = stored(run.services.payloads, "self.write", value)
    _post(
        run,
        "write",
        stream,
        lambda connection: append_to(
            run.services, connection, run.run_id, stream, told
        ),
    )


def receive(
    run: ActiveRun, topic: str, declared: Any, timeout: timedelta | None
) -> Any:
    """Take the next message of *topic*, at the next position."""
    codec = type_codec(declared, f"the message of topic {topic!r}")
    operation = Primitive("receive", topic, codec)
    slot = enter(run, operation)
    if slot.recorded is not None:
        return _answer(run, operation, slot.recorded)
    wait = Wait(
        kind="receive",
        position=slot.position,
        on=run.address,
        key=topic,
        until=until(run, slot.position, timeout),
    )

    def act(connection: Connection) -> Record:
        unread = messages.first_unread(connection, run.address, topic)
        if unread is None:
            return _nothing(run, operation, slot, wait)
        messages.mark_read(connection, unread, run.run_id, slot.position)
        told = Stored(value=unread.message, codec=unread.codec)
        return _taken(run, operation, slot, told)

    def is_there(connection: Connection) -> bool:
        return messages.first_unread(connection, run.address, topic) is not None

    recorded = await_outcome(run, operation, slot, wait, act=act, is_there=is_there)
    return _answer(run, operation, recorded)


def event(
    run: ActiveRun, run_id: str, key: str, declared: Any, timeout: timedelta | None
) -> Any:
    """Take what *run_id* has published under *key*, at the next position."""
    codec = type_codec(declared, f"the event {key!r}")
    operation = Primitive("event", key, codec)
    slot = enter(run, operation)
    if slot.recorded is not None:
        return _answer(run, operation, slot.recorded)
    address = read(run, lambda connection: runs.address(connection, run_id))
    wait = Wait(
        kind="event",
        position=slot.position,
        on=address,
        key=key,
        until=until(run, slot.position, timeout),
    )

    def act(connection: Connection) -> Record:
        found = events.find(connection, _address(connection, run_id), key)
        if found is None:
            return _nothing(run, operation, slot, wait)
        return _taken(run, operation, slot, found)

    def is_there(connection: Connection) -> bool:
        return events.find(connection, address or run_id, key) is not None

    recorded = await_outcome(run, operation, slot, wait, act=act, is_there=is_there)
    return _answer(run, operation, recorded)


def read(run: ActiveRun, query: Callable[[Connection], T]) -> T:
    """Return what *query* reads, in spite of a busy database."""
    patience = RunPatience(run)
    while True:
        try:
            with run.services.database.reading() as connection:
                return query(connection)
        except exc.SQLAlchemyError as error:
            patience.wait(Rejected.from_error(error))


def done(operation: Primitive, slot: Slot) -> Record:
    """Return the record of an operation that returns nothing."""
    return Record(
        position=slot.position, kind=operation.kind, name=operation.name, output="null"
    )


def _post(
    run: ActiveRun, kind: Kind, name: str, to: Callable[[Connection], str]
) -> None:
    """Write what *to* writes, at the next position; then tell who may wait for it."""
    operation = Primitive(kind, name)
    slot = enter(run, operation)
    if slot.recorded is not None:
        answer(run, operation, slot.recorded)
        return
    addresses: list[str] = []

    def act(connection: Connection) -> Record:
        addresses.append(to(connection))
        return done(operation, slot)

    recorded = perform(run, operation, slot, act)
    run.services.tell(*addresses[-1:])
    answer(run, operation, recorded)


def _nothing(run: ActiveRun, operation: Primitive, slot: Slot, wait: Wait) -> Record:
    """Return the record of a wait that is over without an answer.

    Raises:
        NotYet: It is not over.
    """
    if wait.until is None or run.time.now() < wait.until:
        raise NotYet
    return done(operation, slot)


def _answer(run: ActiveRun, operation: Primitive, recorded: Record) -> Any:
    """Return what was taken, or None after the timeout, whatever type is declared.

    A null that does not fit the type was refused when it was taken.
    """
    if recorded.output == "null" and recorded.codec is None:
        operation = Primitive(operation.kind, operation.name)
    return answer(run, operation, recorded)


def _taken(run: ActiveRun, operation: Primitive, slot: Slot, found: Stored) -> Record:
    """Return the record of what was *found*, or of the error that it does not fit."""
    record = Record(
        position=slot.position,
        kind=operation.kind,
        name=operation.name,
        output=found.value,
        codec=found.codec,
    )
    problem = _misfit(run.services.payloads, operation.result, found)
    if problem is None:
        return record
    error = DecodeError(f"the {operation.kind} of {operation.name!r}", problem)
    text, codec = wrap_error(error, run.services.payloads)
    return replace(record, output=None, error=text, codec=codec)


def _misfit(payloads: Payloads, codec: TypeCodec, found: Stored) -> str | None:
    try:
        codec.decode(payloads.unwrap(found.value, found.codec))
    except Undecodable as error:
        return error.reason
    return None


def _address(connection: Connection, run_id: str) -> str:
    found = runs.address(connection, run_id)
    if found is None:
        raise RunNotFoundError(run_id)
    return found
