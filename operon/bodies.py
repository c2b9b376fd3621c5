"""What answers a body, and the futures it gets: protocols that the engine fulfils."""

from collections.abc import Callable
from collections.abc import Mapping
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import NoReturn
from typing import Protocol
from typing import TypeVar

from operon.handle import Handle
from operon.operation import Call

R_co = TypeVar("R_co", covariant=True)


class Future(Protocol[R_co]):
    """The outcome of a spawned operation, once it has one."""

    def result(self) -> R_co:
        """Wait for the operation; return its result, or raise its error.

        Raises:
            MisuseError: Another body than the one that spawned it asks.
            Exception: What the operation raised, decoded.
        """
        ...


class Body(Protocol):
    """What answers a body; every operation takes the next position of its history."""

    def sleep(self, until: Callable[[datetime], datetime]) -> None:
        """Wait until what *until* returns for the present time."""
        ...

    def receive(self, topic: str, declared: Any, timeout: timedelta | None) -> Any:
        """Take the next message of *topic*, of the type *declared*."""
        ...

    def send(self, run_id: str, topic: str, message: Any, key: str | None) -> None:
        """Send *message* to the run *run_id*."""
        ...

    def publish(self, key: str, value: Any) -> None:
        """Make *value* what is published under *key*."""
        ...

    def event(
        self, run_id: str, key: str, declared: Any, timeout: timedelta | None
    ) -> Any:
        """Take what *run_id* has published under *key*, of the type *declared*."""
        ...

    def write(self, stream: str, value: Any) -> None:
        """Append *value* to *stream*."""
        ...

    def start(self, child: Any, options: Mapping[str, Any]) -> Handle[Any]:
        """Start *child*."""
        ...

    def result(self, handle: Handle[Any], timeout: timedelta | None) -> Any:
        """Wait for the result of the run of *handle*."""
        ...

    def spawn(self, call: Call) -> Future[Any]:
        """Begin *call*, and do not wait for it."""
        ...

    def gather(self, futures: tuple[object, ...]) -> tuple[Any, ...]:
        """Wait for *futures*."""
        ...

    def now(self) -> datetime:
        """Return the time of the last operation."""
        ...

    def seed(self) -> str:
        """Return a text that is this run's, here and now, and no other's."""
        ...

    def patched(self, name: str) -> bool:
        """Tell whether the run goes the new way at the patch *name*."""
        ...

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Add *attributes* to the run's."""
        ...

    def continue_as(self, successor: Any) -> NoReturn:
        """End the run in favour of *successor*."""
        ...
