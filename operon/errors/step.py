"""Errors about one operation of a run."""

from operon.errors.base import OperonError


class StepError(OperonError):
    """Something is the matter with one operation of a run.

    Attributes:
        run_id: The run.
        step: The operation's name.
        position: Its position in the run's history, from 1.
    """

    code = "step"
    run_id: str
    step: str
    position: int

    def __init__(
        self,
        run_id: str,
        step: str,
        position: int,
        fact: str,
        *,
        hint: str,
        **facts: object,
    ) -> None:
        super().__init__(
            f"{step!r} at position {position} of run {run_id!r} {fact}",
            hint=hint,
            run_id=run_id,
            step=step,
            position=position,
            **facts,
        )


class StepTimeoutError(StepError):
    """An activity did not return in time; its late result is dropped."""

    code = "step-timeout"

    def __init__(
        self, run_id: str, step: str, position: int, *, timeout: float
    ) -> None:
        super().__init__(
            run_id,
            step,
            position,
            f"did not return within {timeout:g} s",
            hint="raise the activity's timeout=, or bound its own calls by "
            "current().deadline",
            timeout=timeout,
        )


class ResultNotSerializableError(StepError):
    """A value cannot be stored so that the same value comes back.

    Attributes:
        path: Where in the value, such as `result.items[2].price`.
    """

    code = "result-not-serializable"
    path: str

    def __init__(
        self, run_id: str, step: str, position: int, *, path: str, reason: str
    ) -> None:
        super().__init__(
            run_id,
            step,
            position,
            f"cannot be recorded: {path} {reason}",
            hint="return what the annotation declares, or annotate what is returned",
            path=path,
            reason=reason,
        )


class RecordedError(StepError):
    """A recorded error whose class is not loaded here or cannot be rebuilt.

    Attributes:
        error_type: The recorded class, as `module:qualname`.
        message: The recorded text.
    """

    code = "recorded-error"
    error_type: str
    message: str

    def __init__(
        self, run_id: str, step: str, position: int, *, error_type: str, message: str
    ) -> None:
        super().__init__(
            run_id,
            step,
            position,
            f"raised {error_type}: {message}",
            hint="import the module that defines the error before running the "
            "workflow; its arguments must be plain JSON values",
            error_type=error_type,
            message=message,
        )


class NonDeterminismError(StepError):
    """A body called another operation than the one recorded at this position.

    Attributes:
        recorded: What the history holds, as `kind 'name'`.
        called: What the body called.
        source: Where the body called it, as `file:line`.
    """

    code = "non-determinism"
    recorded: str
    called: str
    source: str

    def __init__(
        self,
        run_id: str,
        step: str,
        position: int,
        *,
        recorded: str,
        called: str,
        source: str,
    ) -> None:
        super().__init__(
            run_id,
            step,
            position,
            f"does not match its history: recorded was {recorded}, called was "
            f"{called} at {source}",
            hint="a body must call the same operations in the same order on every "
            "replay; restore the old order, declare the change as a new version, or "
            'put it behind self.patched("name")',
            recorded=recorded,
            called=called,
            source=source,
        )
