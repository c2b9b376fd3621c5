"""Errors of a call: something was called where it may not be."""

from operon.errors.base import OperonError


class MisuseError(OperonError):
    """Something was called where it may not be called."""

    code = "misuse"

    def __init__(self, called: str, problem: str, *, cure: str) -> None:
        super().__init__(f"{called} {problem}", hint=cure, called=called)


class NoCurrentRunError(MisuseError):
    """A step or activity was called while no run was executing in this thread."""

    code = "no-current-run"

    def __init__(self, called: str) -> None:
        super().__init__(
            f"{called!r}",
            "was called outside a run",
            cure="call it from a workflow's body, started by operon.run or "
            "operon.start; in a plain unit test call its __wrapped__ function",
        )


class ActivityInStepError(MisuseError):
    """An activity was called inside a step, whose transaction it would hold open."""

    code = "activity-in-step"

    def __init__(self, activity: str, *, step: str) -> None:
        super().__init__(
            f"activity {activity!r}",
            f"was called inside step {step!r}",
            cure="call it from the body, before or after the step, and pass its result",
        )


class CommitInStepError(MisuseError):
    """A step tried to end the transaction that Operon commits for it.

    Nothing the step wrote is kept.
    """

    code = "commit-in-step"

    def __init__(self, call: str, *, step: str) -> None:
        super().__init__(
            call,
            f"was called inside step {step!r}, whose transaction Operon ends",
            cure="return from the step to commit, raise to roll back, or use "
            "session.begin_nested() for a savepoint",
        )
