"""Two states of a database compared, whatever is not the same twice set aside.

Times, executors, epochs and counters are not compared. What is random (a UUID, a
payment provider's reference) is different in two crash-free runs, too: that is how it
is told. It may be another value in each state, as long as the same places hold the same
one, so that whatever refers to a row still has to.
"""

import json
import re
from collections import Counter
from collections import defaultdict
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from datetime import datetime
from datetime import time
from typing import Any

from operon.store.contents import Rows

_UNCOMPARED_TABLES = {"operon_executors", "operon_partitions"}
_UNCOMPARED = {  # of Operon's tables
    "executor", "epoch", "recoveries", "due_at", "created_at", "started_at",
    "finished_at", "failed_at", "next_at", "transaction_id", "snapshot", "traceback",
    "wait_kind", "wait_on", "wait_key", "wait_position", "wait_until", "wake_at",
    "sent_at", "published_at", "written_at", "deadline_at", "cancel_requested_at",
}  # fmt: skip

_STRUCTURE = {  # of Operon's tables: never random
    "kind", "name", "position", "attempt", "attempts", "status", "workflow", "version",
}  # fmt: skip

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b\d\d:\d\d:\d\d(?:\.\d+)?\b"
)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_ROUNDS = 4  # how far from a difference a row may be that shows it

Place = tuple[str, str]
"""A table and one of its columns."""


@dataclass(frozen=True)
class Row:
    """One row, as it is compared.

    Attributes:
        table: Where it is.
        shown: What is told of it.
        cells: Its columns with what their values consist of: constants and tokens.
    """

    table: str
    shown: str
    cells: tuple[tuple[str, tuple[str, ...]], ...]


class State:
    """The rows of a database at one moment."""

    def __init__(self, rows: Rows, ignore: Collection[str] = ()) -> None:
        """Take *rows*, but for the columns that *ignore* names, as `orders.stamp`."""
        self.rows = [
            _row(table, row, set(ignore))
            for table, found in rows.items()
            if table not in _UNCOMPARED_TABLES and table not in ignore
            for row in found
        ]

    def tokens(self) -> set[tuple[Place, str]]:
        """Return all that values consist of, and where."""
        return {
            ((row.table, column), part)
            for row in self.rows
            for column, parts in row.cells
            for part in parts
        }


@dataclass(frozen=True)
class Difference:
    """Rows that only one of two states has."""

    missing: tuple[Row, ...]
    """Those of the first."""
    surplus: tuple[Row, ...]
    """Those of the second."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus)

    def told(self, first: str, second: str) -> str:
        """Return it as text; *first* and *second* say what the states are."""
        tables = sorted({row.table for row in (*self.missing, *self.surplus)})
        lines: list[str] = []
        for table in tables:
            for which, rows in ((first, self.missing), (second, self.surplus)):
                lines += [
                    f"  {table}, only {which}: {row.shown}"
                    for row in rows
                    if row.table == table
                ]
        return "\n".join(lines)


class Comparison:
    """Compares states with each other, given two that ought to be the same."""

    def __init__(self, one: State, other: State) -> None:
        """Take for constant what *one* and *other* have in common."""
        self._constant = one.tokens() & other.tokens()

    def compare(self, first: State, second: State) -> Difference:
        """Return what only one of them has.

        Values that are not constant are told apart by where else they are, step by
        step: the first step at which the states differ tells the fewest rows.
        """
        pairs = zip(self._colours(first), self._colours(second), strict=True)
        for one, other in pairs:
            difference = Difference(
                _left(first, one, Counter(other)), _left(second, other, Counter(one))
            )
            if difference:
                return difference
        return Difference((), ())

    def _colours(self, state: State) -> Iterator[list[int]]:
        """Yield the colour of each row, in rounds that see farther and farther.

        Source:
            Weisfeiler and Leman, "The reduction of a graph to canonical form" (1968).
        """
        of_tokens: dict[str, int] = {}
        for _ in range(_ROUNDS):
            of_rows = [self._colour(row, of_tokens) for row in state.rows]
            yield of_rows
            seen: dict[str, list[int]] = defaultdict(list)
            for row, colour in zip(state.rows, of_rows, strict=True):
                for column, number, part in self._changing(row):
                    seen[part].append(hash((colour, column, number)))
            of_tokens = {part: hash(tuple(sorted(at))) for part, at in seen.items()}

    def _changing(self, row: Row) -> Iterator[tuple[str, int, str]]:
        """Yield the parts of *row* that are not constant, and where they are."""
        for column, parts in row.cells:
            for number, part in enumerate(parts):
                if not self._is_constant(row, column, part):
                    yield column, number, part

    def _colour(self, row: Row, of_tokens: Mapping[str, int]) -> int:
        cells = tuple(
            (column, part)
            if self._is_constant(row, column, part)
            else (column, of_tokens.get(part, 0))
            for column, parts in row.cells
            for part in parts
        )
        return hash((row.table, cells))

    def _is_constant(self, row: Row, column: str, part: str) -> bool:
        if not _TOKEN.fullmatch(part):
            return True
        if row.table.startswith("operon_") and column in _STRUCTURE:
            return True
        return ((row.table, column), part) in self._constant


def _left(state: State, colours: list[int], others: Counter[int]) -> tuple[Row, ...]:
    """Return the rows of *state* that are not among the *others*."""
    left: list[Row] = []
    for row, colour in zip(state.rows, colours, strict=True):
        if others[colour]:
            others[colour] -= 1
        else:
            left.append(row)
    return tuple(left)


def _row(table: str, values: Mapping[str, Any], ignore: Collection[str]) -> Row:
    """Return what of a row with *values* is compared."""
    compared = {
        column: _text(value)
        for column, value in values.items()
        if f"{table}.{column}" not in ignore
        and not (table.startswith("operon_") and column in _UNCOMPARED)
    }
    shown = ", ".join(f"{name}={text}" for name, text in compared.items() if text)
    cells = tuple((name, _parts(text)) for name, text in compared.items())
    return Row(table, shown, cells)


def _text(value: Any) -> str:
    """Return *value* as text; empty only if it is NULL."""
    match value:
        case None:
            return ""
        case datetime() | date() | time():
            return "a time"
        case str():
            return _TIME.sub("a time", value) or "''"
        case bytes():
            return value.hex() or "''"
        case dict() | list():
            return _TIME.sub("a time", json.dumps(value, default=str, sort_keys=True))
        case _:
            return str(value)


def _parts(text: str) -> tuple[str, ...]:
    """Return *text* in pieces, each of which is a token or has none in it."""
    parts: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        parts += [text[end : found.start()], found.group()]
        end = found.end()
    return (*parts, text[end:])
