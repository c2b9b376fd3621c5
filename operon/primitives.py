"""What a body says by `self`: waiting, messages, children, and time that repeats.

Each is an operation of the run, or costs nothing and is the same on every replay.
Nothing is executed here: the current frame's body answers.
"""

import random
import uuid
from collections.abc import Callable
from collections.abc import Mapping
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import NoReturn
from typing import ParamSpec
from typing import TypeVar
from typing import cast
from typing import overload

from operon.arguments import checked_duration
from operon.arguments import checked_moment
from operon.arguments import checked_text
from operon.arguments import checked_timeout
from operon.bodies import Body
from operon.bodies import Future
from operon.context import require_body
from operon.handle import Handle
from operon.operation import call_of
from operon.registry import OnConflict
from operon.registry import Runnable

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


def _body(called: str) -> Body:
    return cast("Body", require_body(called))


class Primitives:
    """What every workflow's body can say by `self`, and only a body."""

    def sleep(self, duration: timedelta) -> None:
        """Wait for *duration*: a row, not a thread, if it is long.

        Raises:
            MisuseError: It is negative, or this is no body.
        """
        checked = checked_duration("self.sleep", "duration", duration)
        _body("self.sleep").sleep(lambda now: now + checked)

    def sleep_until(self, moment: datetime) -> None:
        """Wait until *moment*, which is aware; one that has passed is no wait.

        Raises:
            MisuseError: It has no time zone, or this is no body.
        """
        checked = checked_moment("self.sleep_until", moment)
        _body("self.sleep_until").sleep(lambda now: max(now, checked))

    @overload
    def receive(
        self, topic: str, *, type: type[T], timeout: timedelta | None = None
    ) -> T | None: ...
    @overload
    def receive(self, topic: str, *, timeout: timedelta | None = None) -> Any: ...
    def receive(
        self,
        topic: str,
        *,
        type: Any = Any,  # noqa: A002 - the word users and docs say
        timeout: timedelta | None = None,
    ) -> Any:
        """Take the next message of *topic* that was sent to this run, once.

        Messages of one sender come in the order they were sent; those that were
        sent before the run asked are kept.

        Args:
            topic: Which messages.
            type: What the message has to be; by default any plain JSON value.
            timeout: How long to wait; None waits for ever.

        Returns:
            The message, or None after *timeout*.

        Raises:
            DecodeError: The message is of another type. It counts as read.
            MisuseError: This is no body, or *timeout* is negative.
        """
        called = "self.receive"
        return _body(called).receive(
            checked_text(called, "topic", topic), type, checked_timeout(called, timeout)
        )

    def send(
        self,
        to: "str | Handle[Any]",
        topic: str,
        message: Any,
        *,
        idempotency_key: str | None = None,
    ) -> None:
        """Send *message* to another run, exactly once.

        Raises:
            RunNotFoundError: There is no such run.
            MisuseError: The message cannot be stored, or this is no body.
        """
        called = "self.send"
        _body(called).send(
            _run_id(to), checked_text(called, "topic", topic), message, idempotency_key
        )

    def publish(self, key: str, value: Any) -> None:
        """Make *value* what this run has published under *key*.

        Raises:
            MisuseError: The value cannot be stored, or this is no body.
        """
        called = "self.publish"
        _body(called).publish(checked_text(called, "key", key), value)

    @overload
    def event(
        self,
        run: "str | Handle[Any]",
        key: str,
        *,
        type: type[T],
        timeout: timedelta | None = None,
    ) -> T | None: ...
    @overload
    def event(
        self,
        run: "str | Handle[Any]",
        key: str,
        *,
        timeout: timedelta | None = None,
    ) -> Any: ...
    def event(
        self,
        run: "str | Handle[Any]",
        key: str,
        *,
        type: Any = Any,  # noqa: A002 - the word users and docs say
        timeout: timedelta | None = None,
    ) -> Any:
        """Wait until *run* has published something under *key*; return the last value.

        Returns:
            The value, or None after *timeout*.

        Raises:
            DecodeError: The value is of another type.
            RunNotFoundError: There is no such run.
            MisuseError: This is no body, or *timeout* is negative.
        """
        called = "self.event"
        return _body(called).event(
            _run_id(run),
            checked_text(called, "key", key),
            type,
            checked_timeout(called, timeout),
        )

    def write(self, stream: str, value: Any) -> None:
        """Append *value* to this run's *stream*, once.

        Raises:
            MisuseError: The value cannot be stored, or this is no body.
        """
        called = "self.write"
        _body(called).write(checked_text(called, "stream", stream), value)

    def start(
        self,
        child: Runnable[R],
        *,
        id: str | None = None,  # noqa: A002 - the word users and docs say
        queue: str | None = None,
        priority: int = 0,
        delay: timedelta = timedelta(0),
        deduplicate: str | None = None,
        debounce: timedelta | None = None,
        partition: str | None = None,
        timeout: timedelta | None = None,
        attributes: Mapping[str, Any] | None = None,
        principal: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "return",
    ) -> Handle[R]:
        """Start *child* as a run of its own; any launched executor executes it.

        Its row and this operation's checkpoint are one commit, so a replay starts
        no second one. It ends with this run's deadline at the latest.

        Args:
            child: A workflow instance, or a transaction with its arguments.
            id: By default this run's id and the operation's position.
            queue: As for `Operon.start`, and the others too.
            priority: The smaller, the sooner.
            delay: How long it is not claimed.
            deduplicate: A key that no other live run of its queue has.
            debounce: Begin this long after the last start with the same key.
            partition: Which partition of a partitioned queue.
            timeout: How long it may take, from its first claim.
            attributes: Plain JSON values for finding it again.
            principal: By default whoever asked for this run.
            on_conflict: `raise` refuses an id or key that is taken.
        """
        return _body("self.start").start(
            child,
            {
                "id": id,
                "queue": queue,
                "priority": priority,
                "delay": delay,
                "deduplicate": deduplicate,
                "debounce": debounce,
                "partition": partition,
                "timeout": timeout,
                "attributes": attributes,
                "principal": principal,
                "on_conflict": on_conflict,
            },
        )

    def call(self, child: Runnable[R]) -> R:
        """Start *child* and wait for its result.

        Raises:
            RunCancelledError: It was cancelled.
            RunDeadError: Operon stopped it.
            Exception: What its body raised.
        """
        return self.start(child).result()

    def spawn(
        self, operation: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        """Begin a step or an activity, and go on without waiting for it.

        The run ends, or is suspended, only when it has an outcome as well.

        Raises:
            MisuseError: It is neither a step nor an activity, or this is no body.
            TypeError: The arguments do not fit; no position is used.
        """
        body = _body("self.spawn")
        return body.spawn(call_of(operation, args, kwargs))

    @overload
    def gather(self, a: Future[A], /) -> tuple[A]: ...
    @overload
    def gather(self, a: Future[A], b: Future[B], /) -> tuple[A, B]: ...
    @overload
    def gather(self, a: Future[A], b: Future[B], c: Future[C], /) -> tuple[A, B, C]: ...
    @overload
    def gather(
        self, a: Future[A], b: Future[B], c: Future[C], d: Future[D], /
    ) -> tuple[A, B, C, D]: ...
    @overload
    def gather(self, *futures: Future[R]) -> tuple[R, ...]: ...
    def gather(self, *futures: Future[Any]) -> tuple[Any, ...]:
        """Wait for all *futures*; return their results, in their order.

        Raises:
            MisuseError: One was not returned by this body's `self.spawn`.
            Exception: The error of the first that failed, once all have ended.
        """
        return _body("self.gather").gather(futures)

    def now(self) -> datetime:
        """Return the time of the last operation (aware, UTC), the same on replay."""
        return _body("self.now").now()

    def uuid(self) -> uuid.UUID:
        """Return a UUID that derives from run and position, the same on replay."""
        return uuid.uuid5(_NAMESPACE, _body("self.uuid").seed())

    def random(self) -> random.Random:
        """Return a generator seeded by run and position, the same on replay."""
        return random.Random(_body("self.random").seed())  # noqa: S311 - to be repeated, no secret

    def patched(self, name: str) -> bool:
        """Tell whether this run goes the new way of a body that was changed.

        A run that had passed this place before the patch was there goes the old way,
        every other one the new; so a body changes while runs of it are in flight.

        Source:
            Temporal, "Versioning - Python SDK: Patching".
        """
        called = "self.patched"
        return _body(called).patched(checked_text(called, "name", name))

    def annotate(self, **attributes: Any) -> None:
        """Add *attributes*, plain JSON values, to those the run can be found by.

        Raises:
            MisuseError: One cannot be stored, or this is no body.
        """
        _body("self.annotate").annotate(attributes)

    def continue_as(self, successor: Runnable[Any]) -> NoReturn:
        """End this run; *successor* goes on in its place, with an empty history.

        Its id is this run's with a number, such as `order-42~2`. Messages, events
        and streams stay with the chain, and whoever waits for the result of any of
        its runs gets that of the last.

        Raises:
            MisuseError: *successor* cannot be started, or this is no body.
        """
        _body("self.continue_as").continue_as(successor)


_NAMESPACE = uuid.UUID("6f706572-6f6e-5000-8000-626f64790000")

BODY_WORDS = frozenset(
    name for name in vars(Primitives) if not name.startswith("_")
) | {"run"}
"""What a body says by `self`; no field or operation may take one of these names."""


def _run_id(run: "str | Handle[Any]") -> str:
    return run.id if isinstance(run, Handle) else run
