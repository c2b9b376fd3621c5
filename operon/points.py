"""The engine's named points: where a test may stop, kill or observe it.

Each point is one call of a plain function, which does nothing unless somebody
put a probe there. A probe may end the process or raise a BaseException; the
engine treats both as the process dying there and cleans nothing up for it. On SQLite
a step's points are reached while its process holds the right to write, so a probe
must not wait there for another thread's writing.
"""

from enum import StrEnum
from typing import Protocol


class Point(StrEnum):
    """The boundaries of a run's work, in the order they are reached."""

    CLAIMED = "claimed"
    """The claim has committed: the run is this executor's."""
    LOADED = "loaded"
    """The claimed run's history is in memory."""
    BEGAN = "began"
    """A step's transaction is open; no statement of the user was sent."""
    BODY_DONE = "body done"
    """The step's or activity's function has returned or raised."""
    FLUSHED = "flushed"
    """The step's pending rows were sent; the checkpoint was not."""
    RECORDED = "recorded"
    """The checkpoint was sent; COMMIT was not.

    On PostgreSQL they leave in one message: it is about to be sent.
    """
    COMMITTED = "committed"
    """The database has acknowledged the operation's COMMIT."""
    EFFECT_DONE = "effect done"
    """The activity has happened in the outside world; nothing records it yet."""
    FINISHED = "finished"
    """The run's final status has been acknowledged by the database."""


class Probe(Protocol):
    """What is called at each point."""

    def __call__(self, point: Point, run_id: str) -> None:
        """Take notice that *run_id* has reached *point*."""
        ...


def unobserved(point: Point, run_id: str) -> None:
    """Do nothing: the probe of a process nobody watches."""
