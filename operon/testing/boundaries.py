"""The boundaries of a run: the COMMITs it makes, by number and in words.

What a COMMIT is called is read off the rows that it has written, so no part of the
engine has to say it.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from operon.status import RunStatus
from operon.store.contents import Rows

_Found = Mapping[tuple[Any, ...], Mapping[str, Any]]

_KEYS = {
    "operon_runs": ("id",),
    "operon_checkpoints": ("run_id", "position"),
    "operon_attempts": ("run_id", "position", "attempt"),
    "operon_messages": ("id",),
    "operon_events": ("run_id", "key"),
    "operon_streams": ("run_id", "stream", "offset"),
}


class When(StrEnum):
    """What happens to a COMMIT, in the order of boundaries."""

    BEFORE = "before"
    """The process dies before it is sent."""
    AFTER = "after"
    """The process dies when it has happened."""
    LOST = "lost reply to"
    """It happens, and the process is told that the connection broke."""


@dataclass(frozen=True, order=True)
class Boundary:
    """Where something goes wrong, counted from the beginning, or from the one before.

    Attributes:
        commit: The ordinal of the COMMIT, from 1.
        when: What happens to it.
    """

    commit: int
    when: When

    @classmethod
    def numbered(cls, number: int) -> "Boundary":
        """Return the boundary *number*, from 1."""
        commit, which = divmod(number - 1, len(When))
        return cls(commit + 1, list(When)[which])

    @property
    def number(self) -> int:
        """Its ordinal among all boundaries, from 1."""
        return (self.commit - 1) * len(When) + list(When).index(self.when) + 1

    def named(self, what: str) -> str:
        """Return it in words; its COMMIT is that of *what*."""
        return f"{self.when} COMMIT of {what}"


def described(before: Rows, after: Rows, root: str) -> str:
    """Return what a COMMIT has written, given the rows *before* and *after* it.

    Operations are those of the run *root* unless another is named.
    """
    said = list(_said(before, after, root))
    if said:
        return " and ".join(said)
    business = [
        table
        for table, rows in after.items()
        if not table.startswith("operon_") and rows != before.get(table, ())
    ]
    return f"rows of {', '.join(business)}" if business else "nothing"


def _said(before: Rows, after: Rows, root: str) -> Iterator[str]:
    for row in _changed(before, after, "operon_checkpoints"):
        of = _of(row["run_id"], root)
        yield f"{_operation(row)}, attempt {row['attempts']}{of}"
    for row in _changed(before, after, "operon_attempts"):
        of = _of(row["run_id"], root)
        yield f"the failure of {_operation(row)}, attempt {row['attempt']}{of}"
    runs = _keyed(before, "operon_runs")
    for row in _changed(before, after, "operon_runs"):
        yield from _change(runs.get((row["id"],)), row)
    if any(_changed(before, after, "operon_checkpoints")):
        return  # the operation's name tells what else it wrote
    for row in _changed(before, after, "operon_messages"):
        yield f"message {row['topic']!r} to run {row['run_id']!r}"
    for row in _changed(before, after, "operon_events"):
        yield f"event {row['key']!r} of run {row['run_id']!r}"
    for row in _changed(before, after, "operon_streams"):
        yield f"stream {row['stream']!r} of run {row['run_id']!r}"


def _operation(row: Mapping[str, Any]) -> str:
    return f"{row['kind']} {row['name']!r}, position {row['position']}"


def _of(run_id: str, root: str) -> str:
    return "" if run_id == root else f", of run {run_id!r}"


def _change(
    before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what has become of a run, if its status tells."""
    which, status = f"run {after['id']!r}", RunStatus(after["status"])
    if before is None:
        yield f"the start of {which}"
        if status.is_final:
            yield f"its end ({status})"
    elif before["status"] != status:
        match status:
            case RunStatus.WAITING:
                yield f"the wait ({after['wait_kind']}) of {which}"
            case RunStatus.RUNNING:
                yield f"the claim of {which}"
            case RunStatus.ENQUEUED:
                woken = before["status"] == RunStatus.WAITING
                yield f"the {'wake-up' if woken else 'release'} of {which}"
            case _:
                yield f"the end ({status}) of {which}"
    elif before["epoch"] != after["epoch"]:
        yield f"another claim of {which}"


def _changed(before: Rows, after: Rows, table: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of *table* that are new, or not what they were."""
    old = _keyed(before, table)
    for key, row in _keyed(after, table).items():
        if old.get(key) != row:
            yield row


def _keyed(rows: Rows, table: str) -> _Found:
    columns = _KEYS[table]
    return {
        tuple(row[column] for column in columns): row for row in rows.get(table, ())
    }
