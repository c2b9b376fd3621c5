"""What the testing kit costs: the sample application's tests use nothing else."""

import subprocess
import sys
import time
from collections.abc import Callable

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.rows.row import Row
from tests.processes import ROOT

EXPLORE = "test_no_crash_changes_what_comes_of_an_order"


class Tests:
    """Tests of the sample application, in processes of pytest's own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "sample_app/tests"]
        self._command = [*command, *options]

    def prepare(self, target: float) -> None:
        """Let the bytecode be compiled, and the files be read once."""
        del target
        self.measure()

    def measure(self) -> float:
        """Return the seconds of the whole command."""
        began = time.perf_counter()
        subprocess.check_output(self._command, cwd=ROOT)
        return time.perf_counter() - began


def seconds_of(*options: str) -> Callable[[Bench], list[float]]:
    """Tell how long pytest takes with *options*, on SQLite."""

    def measure(bench: Bench) -> list[float]:
        return [times[0] for times in bench.measured(Tests(*options))]

    return measure


ROWS = (
    Row(
        name="all tests of the sample application",
        a="pytest -n 2",
        b="seconds",
        measure=seconds_of("-n", "2"),
        wanted=Wanted("at most", 20, "s"),
        unit="s",
    ),
    Row(
        name="crashing the sample's checkout at every COMMIT",
        a="pytest",
        b="seconds",
        measure=seconds_of("-k", EXPLORE),
        wanted=Wanted("at most", 30, "s"),
        unit="s",
    ),
)
