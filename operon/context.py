"""What runs right now in this thread, and what it says about itself.

A step or activity that is called asks the current `Frame` to execute it: in a body
that means a position in the run's history, in a step a plain call within its
transaction. The frames themselves are the engine's; this file only knows where to
find the current one.
"""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from typing import Protocol

from sqlalchemy.orm import Session

from operon.errors import MisuseError
from operon.errors import NoCurrentRunError

_logger = logging.getLogger("operon.run")


class Place(StrEnum):
    """Which of a run's three kinds of code is executing."""

    BODY = "body"
    STEP = "step"
    ACTIVITY = "activity"


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentRun:
    """What the code that is executing may know about its run.

    In a body the last four fields are None: it stands between operations.
    """

    run_id: str
    workflow: str
    """The workflow's declared name."""
    principal: dict[str, Any] | None = None
    """Who asked for the run, as stored on it."""
    root_id: str | None = None
    """The first ancestor of a run that has a parent."""
    step: str | None = None
    """The name of the step or activity that is executing."""
    position: int | None = None
    """Its position in the run's history, from 1."""
    attempt: int | None = None
    """The attempt of it that is executing, from 1, counted over all executors."""
    deadline: datetime | None = None
    """When the attempt times out (aware, UTC); None if it never does."""

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of this operation, in any process.

        It is the operation's run and position, so a fork's operations have keys
        of their own. Pass it to services that deduplicate their requests.
        """
        return (
            self.run_id if self.position is None else f"{self.run_id}/{self.position}"
        )

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger whose records carry the run, workflow, step and attempt."""
        facts = {
            "run_id": self.run_id,
            "workflow": self.workflow,
            "step": self.step,
            "attempt": self.attempt,
        }
        return logging.LoggerAdapter(_logger, facts)


class Frame(Protocol):
    """What executes the operations called by the code that runs right now."""

    @property
    def place(self) -> Place:
        """Which kind of code is executing."""
        ...

    @property
    def current(self) -> CurrentRun:
        """What that code may know about its run."""
        ...

    @property
    def session(self) -> Session | None:
        """The session of the step that is executing; None in a body or activity."""
        ...

    @property
    def body(self) -> Any:
        """What answers a body's `self.sleep` and the like; None outside a body."""
        ...

    def execute_step(self, call: Any) -> Any:
        """Return what the called step returns, executed as this place demands."""
        ...

    def execute_activity(self, call: Any) -> Any:
        """Return what the called activity returns, executed as this place demands."""
        ...

    def derived_id(self) -> str:
        """Return the id of the next run this code starts: the same on every attempt."""
        ...


_frame: ContextVar[Frame | None] = ContextVar("operon_frame", default=None)
_request: ContextVar[str | None] = ContextVar("operon_request", default=None)


def frame() -> Frame | None:
    """Return what executes operations here, or None outside every run."""
    return _frame.get()


def require_frame(called: str) -> Frame:
    """Return what executes operations here.

    Raises:
        NoCurrentRunError: No run is executing here; *called* is what needed one.
    """
    found = _frame.get()
    if found is None:
        raise NoCurrentRunError(called)
    return found


def require_body(called: str) -> Any:
    """Return what answers the body that is executing here.

    Raises:
        NoCurrentRunError: No run is executing here.
        MisuseError: A step or an activity is executing, not a body.
    """
    found = require_frame(called)
    if found.body is None:
        raise MisuseError(
            called,
            f"was called inside the {found.place} {found.current.step!r}",
            cure="call it from the body, before or after that",
        )
    return found.body


@contextmanager
def entered(new: Frame) -> Generator[None, None, None]:
    """Let *new* execute the operations called within the block."""
    token = _frame.set(new)
    try:
        yield
    finally:
        _frame.reset(token)


def current() -> CurrentRun:
    """Return the run, step, position and attempt that are executing right now.

    Raises:
        NoCurrentRunError: No run is executing in this thread.
    """
    return require_frame("current()").current


def request_id() -> str | None:
    """Return the id of the request that is being answered here, if one is."""
    return _request.get()


@contextmanager
def answering(request: str) -> Generator[None, None, None]:
    """Let what is logged within the block know that it is done for *request*."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)
