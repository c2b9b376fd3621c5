"""A row of the table: what is compared, what is wanted, and how it is measured."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted

Measure = Callable[[Bench], Sequence[float]]
"""Measures a row; returns one value for each round."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison."""

    name: str
    """What happens; `--rows` looks for its pattern here."""
    a: str
    b: str
    """What is compared, or what is counted and by whom."""
    measure: Measure
    wanted: Wanted | None = None
    """The figure to be reached; None: it is only told."""
    unit: str = "x"
    library: str | None = None
    """The other library that takes part, if one does."""
