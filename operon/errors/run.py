"""Errors about one run, and the signal that tells its body to end."""

from collections.abc import Sequence
from typing import Any

from operon.errors.base import OperonError


class RunError(OperonError):
    """Something is the matter with one run.

    Attributes:
        run_id: The run.
    """

    code = "run"
    run_id: str

    def __init__(self, run_id: str, fact: str, *, hint: str, **facts: object) -> None:
        super().__init__(f"run {run_id!r} {fact}", hint=hint, run_id=run_id, **facts)


class RunNotFoundError(RunError):
    """No run has this id, or the transaction that starts it has not committed."""

    code = "run-not-found"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id,
            "does not exist",
            hint="check the id; a run started in a transaction exists once that "
            "transaction has committed",
        )


class RunConflictError(RunError):
    """The id belongs to a run of another workflow, or of the same with other input."""

    code = "run-conflict"

    def __init__(self, run_id: str, problem: str) -> None:
        super().__init__(
            run_id,
            problem,
            hint="use another id, or start the same workflow with the same input",
        )


class RunCancelledError(RunError):
    """The run whose result was asked for was cancelled."""

    code = "run-cancelled"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id,
            "was cancelled",
            hint="start the work under another id; a run cancelled by force can be "
            "resumed with operon.resume",
        )


class RunDeadError(RunError):
    """Operon stopped the run; its history is kept and can be resumed.

    Attributes:
        reason: Why Operon stopped it.
    """

    code = "run-dead"
    reason: str

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(
            run_id,
            f"is dead: {reason}",
            hint="mend the cause, then operon.resume the run",
            reason=reason,
        )


class RoleMissingError(RunError):
    """The workflow asks for a role, and whoever asks for the run has none of these.

    Attributes:
        roles: One of them is needed, in alphabetical order.
    """

    code = "role-missing"
    roles: tuple[str, ...]

    def __init__(self, run_id: str, roles: tuple[str, ...]) -> None:
        super().__init__(
            run_id,
            f"needs one of the roles {', '.join(roles)}, and its principal has none",
            hint="let somebody with such a role ask for it",
            roles=roles,
        )


class RunTimeoutError(RunError):
    """The run's deadline passed before it had ended; its body was told to end."""

    code = "run-timeout"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id,
            "did not end before its deadline",
            hint="give it a longer timeout=, or start the work under another id",
        )


class ResultTimeoutError(RunError):
    """The run did not finish within the time the caller was ready to wait."""

    code = "result-timeout"

    def __init__(self, run_id: str, *, waited: float) -> None:
        super().__init__(
            run_id,
            f"had not finished after {waited:g} s",
            hint="the run goes on; ask its handle again, or wait longer",
            waited=waited,
        )


class RetryRefusedError(RunError):
    """The run's failed operation cannot be redone where it stands.

    Attributes:
        later: What was recorded after the failed operation, in order of position.
    """

    code = "retry-refused"
    later: Sequence[str]

    def __init__(self, run_id: str, problem: str, *, later: Sequence[str] = ()) -> None:
        hint = "operon.fork makes a new run from the position of your choice"
        super().__init__(run_id, problem, hint=hint, later=tuple(later))


class ResumeRefusedError(RunError):
    """The run is neither dead nor cancelled by force, so nothing can be resumed."""

    code = "resume-refused"

    def __init__(self, run_id: str, problem: str) -> None:
        super().__init__(
            run_id,
            problem,
            hint="resume continues runs that are dead or were cancelled by force; "
            "operon.retry redoes a failed one, operon.fork copies any",
        )


class LeaseLostError(RunError):
    """Another executor holds the run now; what this one was writing was refused."""

    code = "lease-lost"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id,
            "was taken over by another executor",
            hint="nothing of this attempt was kept; ask its handle for the result",
        )


class RunCancelled(BaseException):
    """Raised in a body at the operation where a cancel is delivered.

    Operations called after it work, so a body can compensate in
    `except RunCancelled` or `finally`; the run is cancelled when the body ends, or
    has failed with `RunTimeoutError` if it was its deadline that passed.
    It derives from BaseException so that `except Exception` cannot swallow it.

    Attributes:
        run_id: The run.
        by_deadline: Whether its deadline has passed, rather than anybody asked.
    """

    __module__ = "operon.errors"

    def __init__(self, run_id: str, *, by_deadline: bool = False) -> None:
        why = "its deadline has passed" if by_deadline else "somebody asked for it"
        super().__init__(f"run {run_id!r} is being cancelled: {why}")
        self.run_id = run_id
        self.by_deadline = by_deadline

    def __reduce__(self) -> tuple[Any, ...]:
        return _cancelled, (self.run_id, self.by_deadline)


def _cancelled(run_id: str, by_deadline: bool) -> RunCancelled:  # noqa: FBT001 - pickle passes by position
    return RunCancelled(run_id, by_deadline=by_deadline)
