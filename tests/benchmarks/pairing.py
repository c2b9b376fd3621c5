"""Measuring in turn: A B, B A, A B, …, because no time here is stable by itself."""

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

from tests.benchmarks.programs import Program

FIRST = 8  # calls of each thread in the first, coldest batch
GROWTH = 8  # how much longer the next batch may become
MOST = 100_000  # calls in one batch, whatever takes no time


class Measurable(Protocol):
    """Something whose time can be taken again and again."""

    def prepare(self, target: float) -> None:
        """Warm up, and find out how much makes a batch of *target* seconds."""
        ...

    def measure(self) -> float:
        """Take the time of one batch; return the seconds of each of its parts."""
        ...


@dataclass
class Batch:
    """Calls of one scenario of a subject."""

    program: Program
    scenario: str = "steps"
    threads: int = 1
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    count: int = 0

    def prepare(self, target: float) -> None:
        """Warm up, and find out how many calls take *target* seconds."""
        self.count = FIRST * self.threads
        while (seconds := self._seconds()) < target and self.count < MOST:
            needed = self.count * min(GROWTH, 1.1 * target / seconds)
            self.count = min(MOST, round(needed / self.threads + 1) * self.threads)

    def measure(self) -> float:
        """Return the seconds of one call."""
        return self._seconds() / self.count

    def _seconds(self) -> float:
        answer = self.program.ask(
            self.scenario, count=self.count, threads=self.threads, **self.options
        )
        return float(answer["seconds"])


def in_turn(
    candidates: Sequence[Measurable], rounds: Iterable[object]
) -> list[tuple[float, ...]]:
    """Measure all *candidates* once a round, every other round in reverse order."""
    found: list[tuple[float, ...]] = []
    for number, _ in enumerate(rounds):
        order = range(len(candidates))
        times = {
            index: candidates[index].measure()
            for index in (reversed(order) if number % 2 else order)
        }
        found.append(tuple(times[index] for index in order))
    return found


def ratios(pairs: Iterable[tuple[float, ...]]) -> list[float]:
    """Return how many times longer the first took than the second, for each round."""
    return [first / second for first, second in pairs]


def throughputs(pairs: Iterable[tuple[float, ...]]) -> list[float]:
    """Return how many times more the first did in the same time, for each round."""
    return [second / first for first, second in pairs]
