"""Control flow that unwinds a body: not errors, and never seen by a caller.

They derive from BaseException, so that `except Exception` in a body cannot swallow
them. A body that swallows one all the same gains nothing: the run remembers it, its
next operation raises it again, and whatever the body returns is ignored.
"""


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
