"""What Operon costs, beside plain SQLAlchemy and other libraries: one table.

    python -m tests.benchmarks [--rows PATTERN] [--rounds N] [--quick] …

Absolute times differ from machine to machine and from minute to minute, so each row
measures two things in turn and tells their ratio; or it counts. A PostgreSQL server
of its own, durable as in production, is started for it.
"""

import re
import sys
import tempfile
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.progress import TaskID

from tests.benchmarks import report
from tests.benchmarks.bench import Bench
from tests.benchmarks.bench import Scale
from tests.benchmarks.chart import write_chart
from tests.benchmarks.disk import is_in_memory
from tests.benchmarks.environments import NEEDS
from tests.benchmarks.results import Result
from tests.benchmarks.rows import ROWS
from tests.benchmarks.rows.row import Row

FULL = Scale(rounds=9, seconds=0.5)
QUICK = Scale(rounds=2, seconds=0.02, divisor=100)
WIDTH = 190  # of the table where no terminal says its own


@click.command()
@click.option("--rows", "pattern", default="", help="Only rows whose name matches.")
@click.option("--rounds", type=click.IntRange(1), help="How often each is measured.")
@click.option("--quick", is_flag=True, help="Measure next to nothing, judge nothing.")
@click.option(
    "--against",
    default=",".join(NEEDS),
    show_default=True,
    help="Other libraries to measure; they are installed at first. May be empty.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/benchmarks"),
    show_default=True,
    help="Where benchmarks.json and benchmarks.svg are written.",
)
@click.option(
    "--environments",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(tempfile.gettempdir()) / "operon-benchmark-environments",
    show_default=True,
    help="Where other libraries are installed, and found the next time.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(tempfile.gettempdir()),
    show_default=True,
    help="Where the databases lie; it has to be on a disk.",
)
def main(
    *,
    pattern: str,
    rounds: int | None,
    quick: bool,
    against: str,
    output: Path,
    environments: Path,
    data: Path,
) -> None:
    """Measure, and tell which of the wanted figures are reached."""
    base = QUICK if quick else FULL
    scale = Scale(rounds or base.rounds, base.seconds, base.divisor)
    libraries = set(filter(None, against.split(",")))
    if unknown := libraries.difference(NEEDS):
        raise click.UsageError(f"not known: {', '.join(sorted(unknown))}")
    try:
        chosen = choose(ROWS, pattern, libraries)
    except re.error as error:
        raise click.UsageError(f"--rows {pattern!r} is no pattern: {error}") from error
    if not quick and is_in_memory(data):
        raise click.UsageError(f"{data} is in memory: name a folder on disk by --data")
    output.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    with Bench(scale, environments, data) as bench:
        for result in measure_all(bench, chosen, judged=not quick):
            results.append(result)
            about = report.describe(bench.versions)
            report.write_json(output / "benchmarks.json", results, about)
    write_chart(output / "benchmarks.svg", results)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(report.table(results))
    if {"missed", "failed"}.intersection(each.verdict for each in results):
        sys.exit(1)


def choose(rows: Sequence[Row], pattern: str, libraries: set[str]) -> list[Row]:
    """Return the rows whose name matches and whose library may be measured."""
    return [
        row
        for row in rows
        if re.search(pattern, row.name, re.IGNORECASE)
        and (row.library is None or row.library in libraries)
    ]


def measure_all(bench: Bench, rows: Sequence[Row], *, judged: bool) -> Iterator[Result]:
    """Yield what becomes of each row; one that fails does not stop the others."""
    rounds = bench.scale.rounds
    with _progress(len(rows) * rounds) as (progress, task):
        bench.advance = lambda: progress.advance(task)
        for number, row in enumerate(rows):
            progress.update(task, completed=number * rounds, description=row.name)
            yield measure(bench, row, judged=judged)


def measure(bench: Bench, row: Row, *, judged: bool) -> Result:
    """Measure *row*, and clear the bench after it."""
    try:
        return Result(row, values=row.measure(bench), judged=judged)
    except Exception as error:  # noqa: BLE001 - the table says it, the others go on
        return Result(row, error=f"{type(error).__name__}: {error}")
    finally:
        bench.clear()


@contextmanager
def _progress(total: int) -> Generator[tuple[Progress, TaskID], None, None]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield progress, progress.add_task("", total=total)


if __name__ == "__main__":
    main()
