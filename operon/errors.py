"""Every error Operon raises, as one tree.

```
OperonError
├── DeclarationError ── DuplicateNameError · SignatureError
├── ConfigurationError
├── MisuseError ── NoCurrentRunError · ActivityInStepError · CommitInStepError
├── RunError ── RunNotFoundError · RunConflictError · RunCancelledError
│             · RunDeadError · ResultTimeoutError · RetryRefusedError
│             · ResumeRefusedError · LeaseLostError
├── StepError ── StepTimeoutError · ResultNotSerializableError · RecordedError
│              · NonDeterminismError
├── DatabaseUnavailableError · SchemaError · DecodeError
└── ExecutorStoppedError
RunCancelled (BaseException)     delivered into a body, which may compensate
```

An error names the fact and the cure; its facts are attributes; it survives
pickling. This file knows nothing of databases, HTTP or the engine.
"""

from collections.abc import Sequence
from typing import Any
from typing import ClassVar
from typing import TypeVar

_E = TypeVar("_E", bound=BaseException)


def _rebuild(cls: type[_E], args: tuple[Any, ...], facts: dict[str, Any]) -> _E:
    """Make the pickled error again, without calling its constructor."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class OperonError(Exception):
    """The root of every error that Operon raises.

    Attributes:
        code: A stable slug, the same in every release; the README lists them.
        hint: What to do about it.
    """

    code: ClassVar[str] = "operon"

    def __init__(self, fact: str, *, hint: str, **facts: object) -> None:
        super().__init__(f"{fact}; {hint}")
        self.hint = hint
        self.__dict__.update(facts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class DeclarationError(OperonError):
    """Something is declared in a way that cannot work."""

    code = "declaration"

    def __init__(self, subject: str, problem: str, *, cure: str) -> None:
        super().__init__(f"{subject} {problem}", hint=cure, subject=subject)


class DuplicateNameError(DeclarationError):
    """Two workflows of one version, or two steps of one workflow, share a name."""

    code = "duplicate-name"


class SignatureError(DeclarationError):
    """A function's parameters or annotations do not fit its decorator."""

    code = "signature"


class ConfigurationError(OperonError):
    """A setting is missing, malformed or contradicts another."""

    code = "configuration"

    def __init__(self, setting: str, problem: str, *, cure: str) -> None:
        super().__init__(f"{setting} {problem}", hint=cure, setting=setting)


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
            "replay; restore the old order, or register the change as a new version",
            recorded=recorded,
            called=called,
            source=source,
        )


class DatabaseUnavailableError(OperonError):
    """The database did not answer, or refused work, for longer than allowed.

    The run, if one had begun, stays recoverable: the same id continues it.
    """

    code = "database-unavailable"

    def __init__(self, reason: str, *, waited: float) -> None:
        super().__init__(
            f"the database could not be used for {waited:.1f} s: {reason}",
            hint="call again with the same run id once it answers; nothing happens "
            "twice",
            reason=reason,
            waited=waited,
        )


class SchemaError(OperonError):
    """Operon's tables are missing, older or newer than this code."""

    code = "schema"

    def __init__(self, problem: str, *, cure: str) -> None:
        super().__init__(problem, hint=cure)


class DecodeError(OperonError):
    """A stored value does not decode to the type declared today.

    Attributes:
        subject: Whose value, such as `input of run 'order-42'`.
        reason: What does not fit, and where in the value.
    """

    code = "decode"
    subject: str
    reason: str

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(
            f"{subject} cannot be decoded: {reason}",
            hint="restore the declared type that wrote it, or give the new code a new "
            "version; then operon.resume the run",
            subject=subject,
            reason=reason,
        )


class ExecutorStoppedError(OperonError):
    """This process was shut down while it was asked to work on a run."""

    code = "executor-stopped"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"this process was shut down before run {run_id!r} finished",
            hint="any launched executor continues it; ask its handle for the result",
            run_id=run_id,
        )


class RunCancelled(BaseException):
    """Raised in a body at the operation where a cancel is delivered.

    Operations called after it work, so a body can compensate in
    `except RunCancelled` or `finally`; the run is cancelled when the body ends.
    It derives from BaseException so that `except Exception` cannot swallow it.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} is being cancelled")
        self.run_id = run_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_id,)
