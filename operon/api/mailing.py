"""Messages, events and streams from outside, and what handles ask."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from operon.api.base import Part
from operon.arguments import checked_text
from operon.codec import Payloads
from operon.codec import TypeCodec
from operon.codec import Undecodable
from operon.codec import type_codec
from operon.context import Frame
from operon.context import Place
from operon.context import frame
from operon.engine.mail import append_to
from operon.engine.mail import deliver
from operon.engine.mail import publish_at
from operon.engine.mail import stored
from operon.engine.services import Services
from operon.errors import DecodeError
from operon.errors import RunNotFoundError
from operon.ids import checked_id
from operon.ids import new_id
from operon.results import FOREVER
from operon.status import RunStatus
from operon.store import events
from operon.store import runs
from operon.store import streams
from operon.store.events import Stored
from operon.store.messages import Letter

_FIRST_POLL = 0.01  # seconds between two looks for an event or more of a stream
_LAST_POLL = 0.25  # seconds


class Mailing(Part):
    """What runs are told from outside, and what they tell."""

    def send(
        self,
        run_id: str,
        topic: str,
        message: Any,
        *,
        idempotency_key: str | None = None,
        session: Session | None = None,
    ) -> None:
        """Send *message* to the run *run_id*, which takes it by `self.receive`.

        Args:
            run_id: To whom; of a chain, any of its runs.
            topic: What it is about.
            message: A plain JSON value, or an instance of a class that declares what
                it holds.
            idempotency_key: The same key is sent once to one run. In an activity it
                derives from that, so that every attempt sends the same message.
            session: Send it if and when this session commits. In a step, its own is
                meant.

        Raises:
            RunNotFoundError: There is no such run.
            MisuseError: The message cannot be stored, or a body calls.
            DatabaseUnavailableError: It could not be sent in time.
        """
        checked_id(run_id)
        checked_text("operon.send", "topic", topic)
        if idempotency_key is not None:
            checked_text("operon.send", "idempotency_key", idempotency_key)
        place = frame()
        value = stored(self._payloads(), "operon.send", message)
        letter = Letter(
            topic=topic,
            message=value.value,
            codec=value.codec,
            idempotency_key=idempotency_key or _derived_key(place, session),
            sender=None if place is None else place.current.run_id,
        )
        self._write(
            "operon.send",
            lambda connection: deliver(self._services(), connection, run_id, letter),
            session=session,
            tell=_tell,
            instead="call self.send",
        )

    def publish(
        self, run_id: str, key: str, value: Any, *, session: Session | None = None
    ) -> None:
        """Make *value* what the run *run_id* has published under *key*.

        Raises:
            RunNotFoundError: There is no such run.
            MisuseError: The value cannot be stored, or a body calls.
            DatabaseUnavailableError: It could not be written in time.
        """
        checked_text("operon.publish", "key", key)
        told = stored(self._payloads(), "operon.publish", value)
        self._write(
            "operon.publish",
            lambda connection: publish_at(
                self._services(), connection, run_id, key, told
            ),
            session=session,
            tell=_tell,
            instead="call self.publish",
        )

    def write(
        self, run_id: str, stream: str, value: Any, *, session: Session | None = None
    ) -> None:
        """Append *value* to *stream* of the run *run_id*.

        If the connection breaks during COMMIT it may be there twice, and what an
        activity writes is there for each attempt; what a body or a step writes is
        there once. In a *session* of your own, another writer at the same moment
        makes it fail with IntegrityError: try the transaction again.

        Raises:
            RunNotFoundError: There is no such run.
            MisuseError: The value cannot be stored, or a body calls.
            DatabaseUnavailableError: It could not be written in time.
        """
        checked_text("operon.write", "stream", stream)
        told = stored(self._payloads(), "operon.write", value)
        self._write(
            "operon.write",
            lambda connection: append_to(
                self._services(), connection, run_id, stream, told
            ),
            session=session,
            tell=_tell,
            instead="call self.write",
        )

    def status_of(self, run_id: str) -> RunStatus:
        """Return where the run *run_id* stands; of a chain, its last run.

        Raises:
            RunNotFoundError: There is no such run.
        """
        _, found = self._ready().results.latest(run_id)
        return found.status

    def result_of(self, run_id: str, timeout: timedelta | None) -> Any:
        """Wait for the result of *run_id*; see `Handle.result`."""
        results = self._ready().results
        return results.resolve(run_id, results.wait(run_id, timeout))

    def event_of(
        self, run_id: str, key: str, declared: Any, timeout: timedelta | None
    ) -> Any:
        """Wait for what *run_id* publishes under *key*; see `Handle.event`."""
        codec = type_codec(declared, f"the event {key!r}")
        address, patience = self._address(run_id), _Polling(self._services(), timeout)
        while True:
            found = self._read(lambda s: events.find(s.connection(), address, key))
            if found is not None:
                return self._decoded(codec, found, f"the event {key!r} of {run_id!r}")
            if not patience.wait():
                return None

    def events_of(self, run_id: str) -> dict[str, Any]:
        """Return what *run_id* has published so far; see `Handle.events`."""
        address, codec = self._address(run_id), type_codec(Any)
        found = self._read(lambda s: events.all_of(s.connection(), address))
        return {
            key: self._decoded(codec, value, f"the event {key!r} of {run_id!r}")
            for key, value in found.items()
        }

    def stream_of(
        self, run_id: str, stream: str, declared: Any, offset: int
    ) -> Iterator[Any]:
        """Yield what *run_id* writes to *stream*; see `Handle.stream`."""
        codec = type_codec(declared, f"the stream {stream!r}")
        address, subject = self._address(run_id), f"the stream {stream!r} of {run_id!r}"
        polling = _Polling(self._services(), None)
        while True:
            # first whether it goes on: what it wrote before its end is read after
            goes_on = not self.status_of(run_id).is_final
            found = self._stream_page(address, stream, offset)
            for value in found:
                yield self._decoded(codec, value, subject)
            offset += len(found)
            if found:
                polling = _Polling(self._services(), None)
            elif not goes_on:
                return
            else:
                polling.wait()

    def _stream_page(self, address: str, stream: str, offset: int) -> list[Stored]:
        return self._read(
            lambda session: streams.read(
                session.connection(), address, stream, offset=offset
            )
        )

    def _address(self, run_id: str) -> str:
        found = self._read(lambda session: runs.address(session.connection(), run_id))
        if found is None:
            raise RunNotFoundError(run_id)
        return found

    def _decoded(self, codec: TypeCodec, found: Stored, subject: str) -> Any:
        try:
            return codec.decode(self._payloads().unwrap(found.value, found.codec))
        except Undecodable as error:
            raise DecodeError(subject, error.reason) from error

    def _services(self) -> Services:
        return self._ready().services

    def _payloads(self) -> Payloads:
        return self._process.made().services.payloads


class _Polling:
    """Waits between two looks, a little longer each time, up to a timeout."""

    def __init__(self, services: Services, timeout: timedelta | None) -> None:
        self._clock = services.clock
        self._never = threading.Event()
        self._pause, self._last = _FIRST_POLL, _LAST_POLL
        if services.is_inline:  # nothing happens meanwhile but what waiting does
            self._pause = self._last = FOREVER
        self._until = (
            None
            if timeout is None
            else self._clock.monotonic() + timeout.total_seconds()
        )

    def wait(self) -> bool:
        """Wait before the next look; return False if the time is over."""
        left = self._pause
        if self._until is not None:
            left = min(left, self._until - self._clock.monotonic())
            if left <= 0:
                return False
        self._clock.wait(self._never, left)
        self._pause = min(self._pause * 1.5, self._last)
        return True


def _derived_key(place: Frame | None, session: Session | None) -> str | None:
    """Return the key that makes a message be sent once, whoever has to try again.

    An activity's is the same on each attempt; a call on its own has one for its
    tries. A transaction needs none.
    """
    if session is not None or (place is not None and place.place is Place.STEP):
        return None
    return new_id() if place is None else place.derived_id()


def _tell(services: Services, address: str) -> None:
    services.tell(address)
