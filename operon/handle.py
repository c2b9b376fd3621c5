"""Handles: a run seen from outside, or from another run's body, by its id."""

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING
from typing import Any
from typing import Generic
from typing import Protocol
from typing import TypeVar
from typing import overload

from operon.arguments import checked_text
from operon.arguments import checked_timeout
from operon.context import Place
from operon.context import frame
from operon.errors import MisuseError
from operon.registry import Declared
from operon.status import RunStatus

if TYPE_CHECKING:
    from operon.models import Checkpoint

R = TypeVar("R")
T = TypeVar("T")


class Controls(Protocol):
    """What a handle asks its Operon."""

    def cancel(
        self, run_id: str, *, children: bool = True, force: bool = False
    ) -> None:
        """Ask the run to end."""
        ...

    def resume(self, run_id: str) -> None:
        """Continue the run."""
        ...

    def retry(self, run_id: str) -> None:
        """Redo the run's failed operation."""
        ...

    def fork(self, run_id: str, *, from_position: int) -> "Handle[Any]":
        """Make a new run from the first checkpoints of this one."""
        ...

    def list_steps(self, run_id: str) -> "list[Checkpoint]":
        """Return the run's history."""
        ...

    def send(
        self, run_id: str, topic: str, message: Any, *, idempotency_key: str | None
    ) -> None:
        """Send the run a message."""
        ...

    def status_of(self, run_id: str) -> RunStatus:
        """Return where the run stands."""
        ...

    def result_of(self, run_id: str, timeout: timedelta | None) -> Any:
        """Wait for the run's result."""
        ...

    def event_of(
        self, run_id: str, key: str, declared: Any, timeout: timedelta | None
    ) -> Any:
        """Wait for what the run publishes."""
        ...

    def events_of(self, run_id: str) -> dict[str, Any]:
        """Return what the run has published."""
        ...

    def stream_of(
        self, run_id: str, stream: str, declared: Any, offset: int
    ) -> Iterator[Any]:
        """Yield what the run writes."""
        ...


@dataclass(frozen=True)
class Handle(Generic[R]):
    """One run, wherever it executes.

    Attributes:
        id: The run's id.
    """

    id: str
    _controls: Controls = field(repr=False)
    declared: Declared | None = field(default=None, repr=False, compare=False)
    """What the run is of, if whoever made the handle knew."""

    def status(self) -> RunStatus:
        """Return where the run stands.

        Raises:
            RunNotFoundError: There is no such run, or its start has not committed.
        """
        _refuse_in_body("Handle.status")
        return self._controls.status_of(self.id)

    def result(self, timeout: timedelta | None = None) -> R:
        """Wait until the run has ended; return what its body returned.

        In a body this is an operation: it is recorded, and waits without a thread.

        Raises:
            ResultTimeoutError: It goes on; ask again.
            RunCancelledError: It was cancelled.
            RunDeadError: Operon stopped it.
            RunNotFoundError: There is no such run, or its start has not committed.
            MisuseError: A step or an activity asks, which must not wait for runs.
            Exception: What the body raised, decoded.
        """
        checked = checked_timeout("Handle.result", timeout)
        place = _waiting_place("Handle.result")
        result: R = (
            self._controls.result_of(self.id, checked)
            if place is None
            else place.body.result(self, checked)
        )
        return result

    @overload
    def event(
        self, key: str, *, type: type[T], timeout: timedelta | None = None
    ) -> T | None: ...
    @overload
    def event(self, key: str, *, timeout: timedelta | None = None) -> Any: ...
    def event(
        self,
        key: str,
        *,
        type: Any = Any,  # noqa: A002 - the word users and docs say
        timeout: timedelta | None = None,
    ) -> Any:
        """Wait until the run has published something under *key*; return the last.

        In a body this is an operation: it is recorded, and waits without a thread.

        Returns:
            The value, or None after *timeout*.

        Raises:
            DecodeError: The value is of another type.
            RunNotFoundError: There is no such run.
            MisuseError: A step or an activity asks, which must not wait for runs.
        """
        checked_text("Handle.event", "key", key)
        checked = checked_timeout("Handle.event", timeout)
        place = _waiting_place("Handle.event")
        if place is None:
            return self._controls.event_of(self.id, key, type, checked)
        return place.body.event(self.id, key, type, checked)

    def events(self) -> dict[str, Any]:
        """Return what the run has published so far, as plain JSON values by key.

        Raises:
            RunNotFoundError: There is no such run.
        """
        _refuse_in_body("Handle.events")
        return self._controls.events_of(self.id)

    @overload
    def stream(self, name: str, *, type: type[T], offset: int = 0) -> Iterator[T]: ...
    @overload
    def stream(self, name: str, *, offset: int = 0) -> Iterator[Any]: ...
    def stream(
        self,
        name: str,
        *,
        type: Any = Any,  # noqa: A002 - the word users and docs say
        offset: int = 0,
    ) -> Iterator[Any]:
        """Yield what the run writes to its stream *name*, until the run ends.

        Offsets have no gaps: whoever has read n values resumes at *offset* + n.

        Raises:
            DecodeError: A value is of another type.
            RunNotFoundError: There is no such run.
        """
        _refuse_in_body("Handle.stream")
        checked_text("Handle.stream", "name", name)
        if offset < 0:
            raise MisuseError(
                "Handle.stream", f"was given offset={offset}", cure="count from 0"
            )
        return self._controls.stream_of(self.id, name, type, offset)

    def send(
        self, topic: str, message: Any, *, idempotency_key: str | None = None
    ) -> None:
        """Send the run *message*; in a step, as part of its transaction.

        Raises:
            RunNotFoundError: There is no such run.
            MisuseError: The message cannot be stored, or a body asks.
        """
        self._controls.send(self.id, topic, message, idempotency_key=idempotency_key)

    def steps(self) -> "list[Checkpoint]":
        """Return the run's history so far, in order of position."""
        _refuse_in_body("Handle.steps")
        return self._controls.list_steps(self.id)

    def cancel(self, *, children: bool = True, force: bool = False) -> None:
        """Ask the run to end; *force* ends it at once, without compensation."""
        self._controls.cancel(self.id, children=children, force=force)

    def resume(self) -> None:
        """Continue a run that is dead or was cancelled by force."""
        self._controls.resume(self.id)

    def retry(self) -> None:
        """Redo the operation that made the run fail."""
        self._controls.retry(self.id)

    def fork(self, *, from_position: int) -> "Handle[R]":
        """Make a new run with the checkpoints before *from_position* of this one."""
        return self._controls.fork(self.id, from_position=from_position)


def _waiting_place(called: str) -> Any:
    """Return the body that asks, or None outside every run.

    Raises:
        MisuseError: A step or an activity asks.
    """
    place = frame()
    if place is not None and place.body is None:
        raise MisuseError(
            called,
            f"was called inside the {place.place} {place.current.step!r}, which would "
            "hold what it has locked, or a thread, until another run ends",
            cure="call it from the body",
        )
    return place


def _refuse_in_body(called: str) -> None:
    """Refuse to read in a body what may be different on its replay."""
    place = frame()
    if place is not None and place.place is Place.BODY:
        raise MisuseError(
            called,
            "was called inside a body, where it may say something else on replay",
            cure="call it from a step or an activity",
        )
