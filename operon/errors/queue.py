"""Errors about queues: what they do not have, and what they have already."""

from collections.abc import Sequence

from operon.errors.base import OperonError


class QueueError(OperonError):
    """Something is the matter with a queue.

    Attributes:
        queue: Its name.
    """

    code = "queue"
    queue: str

    def __init__(self, queue: str, fact: str, *, hint: str, **facts: object) -> None:
        super().__init__(f"queue {queue!r} {fact}", hint=hint, queue=queue, **facts)


class UnknownQueueError(QueueError):
    """Nobody serves a queue of this name, or ever has.

    Attributes:
        known: The queues there are, in order.
    """

    code = "unknown-queue"
    known: Sequence[str]

    def __init__(self, queue: str, *, known: Sequence[str]) -> None:
        super().__init__(
            queue,
            "is not known",
            hint=f"{_one_of(known)}declare it with Operon(queues=[…]) here or in an "
            "executor",
            known=tuple(known),
        )


class DuplicateRunError(QueueError):
    """Another live run of the queue has this deduplication key.

    Attributes:
        key: The key.
        holder: The id of that run.
    """

    code = "duplicate-run"
    key: str
    holder: str

    def __init__(self, queue: str, key: str, *, holder: str) -> None:
        super().__init__(
            queue,
            f"has a live run with the deduplication key {key!r} already: {holder}",
            hint="wait until it has ended, or join it with on_conflict='return' if it "
            "is of the same workflow",
            key=key,
            holder=holder,
        )


class UnknownScheduleError(OperonError):
    """There is no schedule of this name.

    Attributes:
        schedule: The name.
        known: The schedules there are, in order.
    """

    code = "unknown-schedule"
    schedule: str
    known: Sequence[str]

    def __init__(self, schedule: str, *, known: Sequence[str]) -> None:
        super().__init__(
            f"schedule {schedule!r} is not known",
            hint=f"{_one_of(known)}declare it with operon.schedule, and launch",
            schedule=schedule,
            known=tuple(known),
        )


def _one_of(known: Sequence[str]) -> str:
    """Return the beginning of a hint that names what there is, if anything is."""
    return f"use one of {', '.join(map(repr, known))}, or " if known else ""
