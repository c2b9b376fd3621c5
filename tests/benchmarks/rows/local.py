"""SQLite, in a file on the disk."""

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import Batch
from tests.benchmarks.pairing import ratios
from tests.benchmarks.rows.row import Row


def on_sqlite(bench: Bench) -> list[float]:
    """Compare a run of one step with the same transaction, both as durable."""
    folder = bench.folder()
    batches = (
        Batch(bench.program(name, url=f"sqlite:///{folder / name}.db"))
        for name in ("operon", "plain")
    )
    return ratios(bench.measured(*batches))


ROWS = (
    Row(
        name="one-step run on SQLite",
        a="operon.run",
        b="plain, BEGIN IMMEDIATE, WAL, FULL",
        measure=on_sqlite,
        wanted=Wanted("at most", 2.0),
    ),
)
