"""What importing Operon costs, and what it leaves out."""

import subprocess
import sys

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import in_turn
from tests.benchmarks.rows.row import Row
from tests.processes import ROOT

PROGRAM = """
import sys, time
began = time.perf_counter()
import {modules}
print(time.perf_counter() - began, *sys.modules)
"""

BASE = "sqlalchemy, sqlalchemy.orm"
LEFT_OUT = ("flask", "pydantic", "alembic", "opentelemetry")
"""Imported only by who uses them."""


class Import:
    """Fresh interpreters that import something."""

    def __init__(self, modules: str) -> None:
        self._program = PROGRAM.format(modules=modules)
        self.loaded: set[str] = set()

    def prepare(self, target: float) -> None:
        """Let the bytecode be compiled, and the files be read once."""
        del target
        self.measure()

    def measure(self) -> float:
        """Return the seconds that the import took."""
        command = [sys.executable, "-c", self._program]
        said = subprocess.check_output(command, cwd=ROOT, text=True)
        seconds, *modules = said.split()
        self.loaded = set(modules)
        return float(seconds)


def import_time(bench: Bench) -> list[float]:
    """Tell how many milliseconds `import operon` takes beyond SQLAlchemy's import."""
    operon, base = Import("operon"), Import(BASE)
    return [(a - b) * 1000 for a, b in bench.measured(operon, base)]


def import_extent(bench: Bench) -> list[float]:
    """Count the libraries that are loaded although nobody asked for them."""
    operon = Import("operon")
    in_turn([operon], [None])
    loaded = [name for name in LEFT_OUT if name in operon.loaded]
    return [float(len(loaded)) for _ in bench.rounds()]


ROWS = (
    Row(
        name="import time beyond SQLAlchemy's",
        a="import operon",
        b=f"import {BASE}",
        measure=import_time,
        wanted=Wanted("at most", 150, "ms"),
        unit="ms",
    ),
    Row(
        name="libraries imported early (Flask, pydantic, Alembic, OpenTelemetry)",
        a="import operon",
        b="counted",
        measure=import_extent,
        wanted=Wanted("at most", 0, "libraries"),
        unit="libraries",
    ),
)
