"""What became of a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.figures import Spread
from tests.benchmarks.rows.row import Row


@dataclass(frozen=True)
class Result:
    """A row with what was measured, or why it was not."""

    row: Row
    values: Sequence[float] = ()
    """One for each round."""
    error: str = ""
    judged: bool = True
    """Whether enough was measured to say that a figure is missed."""

    @property
    def spread(self) -> Spread | None:
        """The middle of the values and how far they are apart."""
        return Spread.of(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        """`reached`, `missed`, `failed`, or nothing where nothing is wanted."""
        if self.spread is None:
            return "failed"
        if self.row.wanted is None or not self.judged:
            return ""
        return (
            "reached" if self.row.wanted.is_reached_by(self.spread.median) else "missed"
        )

    @property
    def share(self) -> float | None:
        """How good it is: 1 reaches the wanted figure exactly, 2 twice over."""
        if self.spread is None or self.row.wanted is None:
            return None
        return _share(self.spread.median, self.row)

    @property
    def share_limits(self) -> tuple[float, float]:
        """The shares at both ends of the spread, the worse first."""
        assert self.spread
        ends = (_share(self.spread.low, self.row), _share(self.spread.high, self.row))
        return min(ends), max(ends)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        wanted, spread = self.row.wanted, self.spread
        return {
            "row": self.row.name,
            "a": self.row.a,
            "b": self.row.b,
            "unit": self.row.unit,
            "wanted": None if wanted is None else f"{wanted.bound} {wanted.value}",
            "median": None if spread is None else spread.median,
            "quartiles": None if spread is None else [spread.low, spread.high],
            "values": list(self.values),
            "verdict": self.verdict,
            "error": self.error,
        }


def _share(value: float, row: Row) -> float:
    assert row.wanted
    wanted = row.wanted.value
    if row.wanted.bound == "at least":
        value, wanted = wanted, value
    return 1.0 if value == wanted else wanted / value if value else float("inf")
