"""What is wanted, what was measured, and whether the one reaches the other."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LEAST_FOR_QUARTILES = 4


@dataclass(frozen=True)
class Wanted:
    """A figure to be reached."""

    bound: Literal["at most", "at least"]
    value: float
    unit: str = "x"

    def is_reached_by(self, value: float) -> bool:
        """Tell whether *value* is good enough."""
        if self.bound == "at most":
            return value <= self.value
        return value >= self.value

    def __str__(self) -> str:
        sign = "≤" if self.bound == "at most" else "≥"
        return f"{sign} {shown(self.value)} {self.unit}"


@dataclass(frozen=True)
class Spread:
    """The middle of some values and how far they are apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return median and quartiles; of less than four values the extremes."""
        if len(values) < LEAST_FOR_QUARTILES:
            return cls(statistics.median(values), min(values), max(values))
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        if self.low == self.high:
            return shown(self.median)
        return f"{shown(self.median)} [{shown(self.low)} … {shown(self.high)}]"


def shown(value: float) -> str:
    """Return *value* with three significant digits, as plain digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return text.rstrip("0").rstrip(".") if "." in text else text
