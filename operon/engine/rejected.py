"""The database's refusal of a transaction that was not the user's fault."""

from operon.engine.faults import Fault
from operon.engine.faults import classify


class Rejected(Exception):  # noqa: N818 - a verdict of the database, handled by the engine
    """The database did not take the transaction, and the user's code is not to blame.

    Attributes:
        fault: What is known of it.
        sent: Whether the record and COMMIT had been sent, so that after a lost
            connection nobody knows whether they happened.
    """

    def __init__(self, fault: Fault, *, sent: bool) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.sent = sent

    @classmethod
    def from_error(cls, error: Exception) -> "Rejected":
        """Return the refusal that *error* means; raise *error* if it means none."""
        fault = classify(error)
        if not fault.is_transient:
            raise error
        refusal = cls(fault, sent=False)
        refusal.__cause__ = error
        return refusal
