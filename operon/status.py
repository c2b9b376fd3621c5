"""The statuses of a run, and what they mean.

`enqueued → running ⇄ waiting → succeeded | failed | cancelled | dead`
"""

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands."""

    ENQUEUED = "enqueued"
    """Durable, and waiting for an executor to claim it."""
    RUNNING = "running"
    """Claimed by the executor the row names."""
    WAITING = "waiting"
    """Holds no thread until a time, a message, an event or a child."""
    SUCCEEDED = "succeeded"
    """The body returned."""
    FAILED = "failed"
    """The body raised."""
    CANCELLED = "cancelled"
    """Somebody cancelled it; the body had its chance to compensate unless forced."""
    DEAD = "dead"
    """Operon stopped it; an operator can mend the cause and resume it."""

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen to the run any more by itself."""
        return self in FINAL


FINAL = frozenset({
    RunStatus.SUCCEEDED,
    RunStatus.FAILED,
    RunStatus.CANCELLED,
    RunStatus.DEAD,
})

LIVE = (RunStatus.ENQUEUED, RunStatus.RUNNING, RunStatus.WAITING)
"""Not final, in the order in which partial indexes spell them."""
