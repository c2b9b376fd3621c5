"""Hooks: what happens to runs, told to whoever wants to know.

A hook is called in the thread in which it happens, between the engine's own actions:
never while a step's transaction is open, but for a start that is part of it. It must be
quick. An error of a hook is logged and changes nothing.

| record | told | with |
|---|---|---|
| `RunStarting` | before a run's row is written by a start | queue |
| `RunStarted` | when that is over | run, or what refused it |
| `RunClaimed` | before a run's body is called | queue, trace, how long it waited |
| `RunSuspended` | when a run waits without a thread | for what |
| `RunContinued` | when a run goes on as another | successor |
| `RunReleased` | when a process gives a run back | |
| `LeaseLost` | when a run turns out to be another process's | |
| `RunJoined` | when the id of a run that was to begin here is taken | |
| `RunFinished` | when the database has acknowledged the end of a run | status, error |
| `AttemptStarted` | before a step or activity is tried | operation |
| `AttemptFinished` | when that try is over | operation, outcome, error, size |
| `Replayed` | when an operation is answered from its checkpoint | operation |
| `RequestReceived` | when the web edge is asked | method, route, headers' trace |
| `RequestAnswered` | when it has an answer | status, key, error |
| `TokenRefused` | when it does not accept a bearer token | reason |

Every `RunClaimed` is followed by exactly one of `RunSuspended`, `RunContinued`,
`RunReleased`, `LeaseLost`, `RunJoined` and `RunFinished`, unless the process dies;
likewise the other pairs. No record holds a payload, a token or a query string.
"""

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from functools import cached_property
from typing import Literal
from typing import Protocol

from operon.status import RunStatus

_logger = logging.getLogger("operon.hooks")

Trace = Mapping[str, str]
"""Headers of W3C Trace Context: `traceparent` and perhaps `tracestate`."""

_NO_TRACE: Trace = {}


@dataclass(frozen=True, slots=True)
class Run:
    """Which run."""

    id: str
    workflow: str
    version: int
    epoch: int = 0
    """Of the claim; 0 before there is one."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Which try of which operation."""

    kind: str
    name: str
    position: int
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class RunStarting:
    """A run's row is about to be written, for an executor to claim."""

    workflow: str
    version: int
    queue: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """It is written, or another run is joined, or it is refused."""

    workflow: str
    version: int
    run_id: str | None
    error: str | None = None
    """The class of what it was refused with."""


@dataclass(frozen=True, slots=True)
class RunClaimed:
    """A process has taken a run."""

    run: Run
    executor: str
    queue: str
    is_recovery: bool
    """Whether another process had it and is gone."""
    waited: timedelta | None
    """From when it was due to its first claim."""
    age: timedelta
    """Since its row was written."""
    trace: Trace
    """In which trace it was started; empty if in none."""


@dataclass(frozen=True, slots=True)
class RunSuspended:
    """A run waits, and holds no thread."""

    run: Run
    waits_for: str
    """The kind of its wait."""


@dataclass(frozen=True, slots=True)
class RunContinued:
    """A run has ended by going on as another."""

    run: Run
    successor: str


@dataclass(frozen=True, slots=True)
class RunReleased:
    """A run was given back to its queue, or is left to whoever finds it."""

    run: Run


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A run is another process's, or has been ended by force."""

    run: Run


@dataclass(frozen=True, slots=True)
class RunJoined:
    """A run that was to begin here had begun before: nothing has happened here."""

    run: Run


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run has ended, and the database has acknowledged it."""

    run: Run
    status: RunStatus
    error: str | None = None
    """The class of the error that ended it."""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A step, activity or transaction is about to be called."""

    run: Run
    operation: Operation


AttemptOutcome = Literal["recorded", "failed", "refused", "joined", "abandoned"]


@dataclass(frozen=True, slots=True)
class AttemptFinished:
    """The try is over."""

    run: Run
    operation: Operation
    outcome: AttemptOutcome
    """`recorded` is final. `failed` raised, and `refused` was a conflict or a lost
    connection. `joined`: what it was to do is done already. `abandoned`: the claim has
    ended meanwhile."""
    error: str | None = None
    """The class of what it raised."""
    is_conflict: bool = False
    """Whether it was refused for a conflict with other transactions."""
    size: int | None = None
    """Of what was recorded, in bytes."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """An operation is answered from its checkpoint."""

    run: Run
    operation: Operation


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """The web edge is asked."""

    id: str
    method: str
    route: str
    """The rule, with names for path arguments."""
    since: int
    """When it came, in nanoseconds since 1970."""
    trace: Trace
    """What the caller says of the trace it belongs to; empty unless it is trusted."""


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """The web edge has an answer."""

    id: str
    method: str
    route: str
    status: int
    key: Literal["none", "executed", "replayed", "refused"] = "none"
    """What became of its idempotency key."""
    problem: str | None = None
    """The type of the problem it is told instead of a result."""
    run_id: str | None = None
    """The run that did, or does, the work."""


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """The web edge does not accept a bearer token."""

    reason: str


Record = (
    RunStarting
    | RunStarted
    | RunClaimed
    | RunSuspended
    | RunContinued
    | RunReleased
    | LeaseLost
    | RunJoined
    | RunFinished
    | AttemptStarted
    | AttemptFinished
    | Replayed
    | RequestReceived
    | RequestAnswered
    | TokenRefused
)


@dataclass(frozen=True, slots=True)
class QueueState:
    """What there is to do in a queue now."""

    name: str
    due: int
    """Runs that could be claimed."""
    oldest: float
    """For how many seconds the first of these has been due; 0 without any."""


class Source(Protocol):
    """What can be asked of one Operon in this process, at any time."""

    def queues(self) -> Sequence[QueueState]:
        """Return what there is to do, of all queues; it asks the database."""
        ...

    def slots(self) -> tuple[int, int]:
        """Return how many threads for claimed runs are busy, and how many are free."""
        ...

    def silence(self) -> float | None:
        """Return the seconds since this executor's last heartbeat; None without one."""
        ...


class Hook:
    """What is told; derive from it, and give it by `Operon(hooks=[…])`.

    The entry point group `operon.hooks` names factories of hooks that are added to
    every Operon when it is first used.
    """

    def tell(self, record: Record) -> None:
        """Take notice of *record*."""

    def watch(self, source: Source) -> None:
        """Take notice of whom to ask how things stand; once for each process."""

    def carry(self) -> Trace:
        """Return in which trace the calling thread is, to be stored on new runs."""
        return _NO_TRACE


@dataclass
class Hooks:
    """All hooks of one Operon, known when it is first used; false if there is none."""

    given: Sequence[Hook] = ()
    installed: Callable[[], Iterable[Hook]] = tuple[Hook]
    """Finds those that nobody has given."""
    source: Source | None = None
    """Whom they may ask."""
    _failed: set[int] = field(default_factory=set[int])

    @cached_property
    def each(self) -> Sequence[Hook]:
        """The hooks, each of which has been told whom to ask."""
        found = (*self.given, *self.installed())
        if self.source is not None:
            for hook in found:
                try:
                    hook.watch(self.source)
                except Exception as error:  # noqa: BLE001 - no hook may change what happens
                    self._complain(hook, error)
        return found

    def __bool__(self) -> bool:
        return bool(self.each)

    def find(self) -> None:
        """Know them from now on, before there is anything to tell."""
        bool(self)

    def tell(self, record: Record) -> None:
        """Tell all of them of *record*."""
        for hook in self.each:
            try:
                hook.tell(record)
            except Exception as error:  # noqa: BLE001 - as above
                self._complain(hook, error)

    def carry(self) -> Trace:
        """Return the trace that the first hook knows to be in, if one does."""
        for hook in self.each:
            try:
                found = hook.carry()
            except Exception as error:  # noqa: BLE001 - as above
                self._complain(hook, error)
            else:
                if found:
                    return found
        return _NO_TRACE

    def _complain(self, hook: Hook, error: Exception) -> None:
        """Log *error*, once for each hook: it may be called a million times."""
        if id(hook) not in self._failed:
            self._failed.add(id(hook))
            message = "the hook %r failed; its errors are ignored"
            _logger.error(message, hook, exc_info=error)
