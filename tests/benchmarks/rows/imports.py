"""What importing Operon costs, and what it leaves out."""

import subprocess
import sys

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import in_turn
from tests.benchmarks.rows.row import Measure
from tests.benchmarks.rows.row import Row
from tests.processes import ROOT

PROGRAM = """
import sys, time
began = time.perf_counter()
{statement}
print(time.perf_counter() - began, *sys.modules)
"""

BASE = "import sqlalchemy, sqlalchemy.orm"
DECLARING = "import operon"
ALL = "from operon import Operon"
LEFT_OUT = ("flask", "pydantic", "alembic", "opentelemetry")
"""Imported only by who uses them."""


class Import:
    """Fresh interpreters that import something."""

    def __init__(self, statement: str) -> None:
        self._program = PROGRAM.format(statement=statement)
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


def beyond_base(statement: str) -> Measure:
    """Return a measure: how many milliseconds *statement* takes beyond SQLAlchemy."""

    def measure(bench: Bench) -> list[float]:
        operon, base = Import(statement), Import(BASE)
        return [(a - b) * 1000 for a, b in bench.measured(operon, base)]

    return measure


def extent(bench: Bench) -> list[float]:
    """Count the libraries that are loaded although nobody asked for them."""
    operon = Import(ALL)
    in_turn([operon], [None])
    loaded = [name for name in LEFT_OUT if name in operon.loaded]
    return [float(len(loaded)) for _ in bench.rounds()]


ROWS = (
    Row(
        name="import time beyond SQLAlchemy's, where workflows are declared",
        a=DECLARING,
        b=BASE,
        measure=beyond_base(DECLARING),
        wanted=Wanted("at most", 150, "ms"),
        unit="ms",
    ),
    Row(
        name="import time beyond SQLAlchemy's, with engine and executor",
        a=ALL,
        b=BASE,
        measure=beyond_base(ALL),
        unit="ms",
    ),
    Row(
        name="libraries imported early (Flask, pydantic, Alembic, OpenTelemetry)",
        a=ALL,
        b="counted",
        measure=extent,
        wanted=Wanted("at most", 0, "libraries"),
        unit="libraries",
    ),
)
