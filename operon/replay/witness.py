"""The frame of a replayed body: it hears what the body asks for, and compares.

Everything is answered by the engine's own `BodyFrame`, from the history; positions,
kinds and names are checked there, as at every recovery. Here the arguments are noted
and, where the bundle holds those of an earlier replay, compared with them.
"""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import NoReturn

from operon.engine.body import BodyFrame
from operon.engine.flow import Continued
from operon.engine.flow import MustDie
from operon.engine.flow import Unrecorded
from operon.engine.record import calling_line
from operon.engine.run import ActiveRun
from operon.engine.spawning import SpawnedFuture
from operon.errors import NonDeterminismError
from operon.handle import Handle
from operon.operation import Call
from operon.replay import arguments
from operon.replay.arguments import Arguments
from operon.workflow import declaration_of

Clean = Callable[[Arguments], Arguments]
"""Takes out of arguments what was taken out of the bundle."""


@dataclass(frozen=True)
class Asked:
    """An operation that a body asked for."""

    position: int
    kind: str
    name: str
    arguments: Arguments
    source: str = ""
    """Where the body asked, as `file:line`, if nothing is recorded there."""

    @property
    def words(self) -> str:
        """What messages call it."""
        return f"{self.kind} {self.name!r}"


class Witness(BodyFrame):
    """A body is replayed: what it asks for is heard.

    Attributes:
        asked: What it asked for, by position.
        left_open: What it spawned and has no outcome.
    """

    def __init__(
        self, run: ActiveRun, noted: Mapping[int, Asked], *, clean: Clean
    ) -> None:
        super().__init__(run)
        self.asked: dict[int, Asked] = {}
        self.left_open: list[Asked] = []
        self._noted = noted
        self._clean = clean

    def execute_step(self, call: Call) -> Any:
        """Replay a step."""
        with self._heard_call(call):
            return super().execute_step(call)

    def execute_activity(self, call: Call) -> Any:
        """Replay an activity."""
        with self._heard_call(call):
            return super().execute_activity(call)

    def spawn(self, call: Call) -> SpawnedFuture:
        """Replay a spawned operation; one without an outcome stays open."""
        with self._heard_call(call):
            future = super().spawn(call)
        if isinstance(future.problem, Unrecorded):
            self.left_open.append(self.asked[future.position])
        return future

    def sleep(self, until: Callable[[datetime], datetime]) -> None:
        """Replay a sleep."""
        with self._heard("sleep", "sleep", {"seconds": self._seconds(until)}):
            super().sleep(until)

    def receive(self, topic: str, declared: Any, timeout: timedelta | None) -> Any:
        """Replay the receiving of a message."""
        with self._heard("receive", topic, {"timeout": timeout}):
            return super().receive(topic, declared, timeout)

    def send(self, run_id: str, topic: str, message: Any, key: str | None) -> None:
        """Replay the sending of a message."""
        told = {"to": run_id, "message": message, "idempotency_key": key}
        with self._heard("send", topic, told):
            super().send(run_id, topic, message, key)

    def publish(self, key: str, value: Any) -> None:
        """Replay the publishing of an event."""
        with self._heard("publish", key, {"value": value}):
            super().publish(key, value)

    def event(
        self, run_id: str, key: str, declared: Any, timeout: timedelta | None
    ) -> Any:
        """Replay the waiting for an event."""
        with self._heard("event", key, {"run": run_id, "timeout": timeout}):
            return super().event(run_id, key, declared, timeout)

    def write(self, stream: str, value: Any) -> None:
        """Replay the writing to a stream."""
        with self._heard("write", stream, {"value": value}):
            super().write(stream, value)

    def start(self, child: Any, options: Mapping[str, Any]) -> Handle[Any]:
        """Replay the start of a child."""
        told = arguments.of_start(child, options)
        with self._heard("start", declaration_of(child).name, told):
            return super().start(child, options)

    def result(self, handle: Handle[Any], timeout: timedelta | None) -> Any:
        """Replay the waiting for a result."""
        with self._heard("result", handle.id, {"timeout": timeout}):
            return super().result(handle, timeout)

    def patched(self, name: str) -> bool:
        """Replay a patch; one that the run had passed takes no position."""
        with self._heard("patch", name, {}):
            return super().patched(name)

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Replay an annotation."""
        with self._heard("annotate", "annotate", {"attributes": dict(attributes)}):
            super().annotate(attributes)

    def continue_as(self, successor: Any) -> NoReturn:
        """Replay that the run goes on as another."""
        told = arguments.of_runnable(successor)
        position = self.run.position + 1
        try:
            super().continue_as(successor)
        except Continued:
            name = declaration_of(successor).name
            self.hear(Asked(position, "continue_as", name, told, calling_line()))
            raise

    def _heard_call(self, call: Call) -> "_Hearing":
        operation = call.operation
        return self._heard(operation.kind, operation.name, arguments.of_call(call))

    def _heard(self, kind: str, name: str, told: Mapping[str, Any]) -> "_Hearing":
        """Hear what is asked for within the block; see `_Hearing`."""
        asked = Asked(self.run.position + 1, kind, name, arguments.plain(told))
        return _Hearing(self, asked)

    def hear(self, asked: Asked) -> None:
        """Note what was *asked* for, and compare its arguments.

        Raises:
            MustDie: They are others than those that were noted.
        """
        asked = replace(asked, arguments=self._clean(asked.arguments))
        self.asked[asked.position] = asked
        recorded = self.run.find(asked.position)
        if recorded is not None and recorded.kind == "cancel":
            return  # whatever was asked for here was never done
        noted = self._noted.get(asked.position)
        if noted is None or (noted.kind, noted.name) != (asked.kind, asked.name):
            return
        told = arguments.differing(noted.arguments, asked.arguments)
        if told is not None:
            then, now = told
            self.run.break_with(MustDie(self._changed(asked, then, now)))

    def _changed(self, asked: Asked, then: str, now: str) -> NonDeterminismError:
        return NonDeterminismError(
            self.run.run_id,
            asked.name,
            asked.position,
            recorded=asked.words + then,
            called=asked.words + now,
            source=calling_line(),
        )

    def _seconds(self, until: Callable[[datetime], datetime]) -> float | None:
        """Return how long a sleep is from what the body knows; None: for ever."""
        now = self.now()
        try:
            return (until(now) - now).total_seconds()
        except OverflowError:
            return None


class _Hearing:
    """What the body asks for is heard when it was answered, if it took a position.

    What the engine refuses, such as a message that cannot be stored, takes none. This
    is a class because `calling_line` looks for the first frame outside Operon.
    """

    def __init__(self, witness: Witness, asked: Asked) -> None:
        self._witness = witness
        self._asked = asked

    def __enter__(self) -> None:
        """Let the engine answer."""

    def __exit__(self, *error: object) -> None:
        """Hear what was asked for."""
        run, asked = self._witness.run, self._asked
        if run.position != asked.position:
            return
        if run.find(asked.position) is None:
            asked = replace(asked, source=calling_line())
        self._witness.hear(asked)
