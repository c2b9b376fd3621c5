"""Errors of what surrounds a run: its database, its tables, its process."""

from operon.errors.base import OperonError


class DatabaseUnavailableError(OperonError):
    """The database did not answer, or refused work, for longer than allowed.

    The run, if one had begun, stays recoverable: the same id continues it.

    Attributes:
        in_doubt: Whether the answer to a COMMIT was lost, so that nobody knows whether
            it happened. The same id, or idempotency key, settles it.
    """

    code = "database-unavailable"
    in_doubt: bool

    def __init__(self, reason: str, *, waited: float, in_doubt: bool = False) -> None:
        super().__init__(
            f"the database could not be used for {waited:.1f} s: {reason}",
            hint="call again with the same run id once it answers; nothing happens "
            "twice",
            reason=reason,
            waited=waited,
            in_doubt=in_doubt,
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
