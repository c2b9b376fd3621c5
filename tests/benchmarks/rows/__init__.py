"""The rows of the table, in order."""

from tests.benchmarks.rows import counts
from tests.benchmarks.rows import far
from tests.benchmarks.rows import histories
from tests.benchmarks.rows import imports
from tests.benchmarks.rows import kit
from tests.benchmarks.rows import local
from tests.benchmarks.rows import queues
from tests.benchmarks.rows import runs
from tests.benchmarks.rows import telemetry

ROWS = (
    *runs.ROWS,
    *queues.ROWS,
    *counts.ROWS,
    *far.ROWS,
    *histories.ROWS,
    *local.ROWS,
    *imports.ROWS,
    *telemetry.ROWS,
    *kit.ROWS,
)
