"""Control flow that unwinds a body: not errors, and never seen by a caller.

They derive from BaseException, so that `except Exception` in a body cannot swallow
them. A body that swallows one all the same gains nothing: the run remembers it, its
next operation raises it again, and whatever the body returns is ignored.
"""

from datetime import datetime
from typing import Any

from operon.store.waits import Wait


class ControlFlow(BaseException):
    """The body must unwind; the engine knows why and goes on from there."""


class LeaseLost(ControlFlow):
    """Another executor holds the run, or somebody ended it by force."""


class ClaimAgain(ControlFlow):
    """A commit's outcome is unknown; what is in memory cannot be trusted any more."""


class Stopping(ControlFlow):
    """This executor shuts down; the run goes back to its queue."""


class IdTaken(ControlFlow):
    """The run's row exists already; somebody started this id before."""


class Suspended(ControlFlow):
    """The run waits for longer than a thread should; it is continued by replay.

    Attributes:
        wait: For what.
    """

    def __init__(self, wait: Wait) -> None:
        super().__init__("the run is suspended; its body is played again when it wakes")
        self.wait = wait


class Unrecorded(ControlFlow):
    """A replay that executes nothing came to an operation without a checkpoint.

    Attributes:
        position: Where in the history.
        kind: What was called.
        name: Its declared name.
    """

    def __init__(self, position: int, kind: str, name: str) -> None:
        super().__init__("nothing is recorded here, and this replay executes nothing")
        self.position = position
        self.kind = kind
        self.name = name


class Parked(ControlFlow):
    """A spawned operation waits for its next attempt; the others go on.

    Attributes:
        until: When it is due.
    """

    def __init__(self, until: datetime) -> None:
        super().__init__("a spawned operation waits for its next attempt")
        self.until = until


class Continued(ControlFlow):
    """The body has asked to go on as a new run.

    Attributes:
        request: The run that is to take its place.
    """

    def __init__(self, request: Any) -> None:
        super().__init__("the run continues as another")
        self.request = request


class MustDie(ControlFlow):
    """The run cannot go on with this code; an operator must look at it.

    Attributes:
        error: Why.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class GaveUp(ControlFlow):
    """The caller has waited long enough for the database; the run can be continued.

    Attributes:
        error: What to tell the caller.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
