"""What it costs that somebody may listen, and that somebody does."""

from contextlib import nullcontext

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import Batch
from tests.benchmarks.pairing import ratios
from tests.benchmarks.rows.row import Measure
from tests.benchmarks.rows.row import Row
from tests.telemetry.receiver import receiving

STEPS = 200
AWAY = "http://127.0.0.1:9"  # the discard port, where nobody listens


def of_an_idle_step(bench: Bench) -> list[float]:
    """Return which part of a step that does nothing is the question for hooks."""
    url = f"sqlite:///{bench.folder()}/seam.db"
    program = bench.program("operon", url=url)
    program.ask("seam", steps=STEPS)
    answers = [program.ask("seam", steps=STEPS) for _ in bench.rounds()]
    return [100 * each["seam"] / each["seconds"] for each in answers]


def exporting(a: str | None, b: str | None) -> Measure:
    """Return a measure: a run that exports to *a* beside one that does to *b*.

    None is no endpoint, an empty text a receiver that is there.
    """

    def measure(bench: Bench) -> list[float]:
        with receiving() if "" in {a, b} else nullcontext() as receiver:
            there = "" if receiver is None else receiver.url
            batches = [
                Batch(bench.program("operon", *([] if to is None else [to or there])))
                for to in (a, b)
            ]
            return ratios(bench.measured(*batches))

    return measure


ROWS = (
    Row(
        name="hook seam without hooks, part of a step that does nothing",
        a="hook seam",
        b="step on SQLite",
        measure=of_an_idle_step,
        wanted=Wanted("at most", 1.0, "%"),
        unit="%",
    ),
    Row(
        name="one-step run, exporting to a receiver that is down",
        a="OTLP endpoint down",
        b="OTLP endpoint up",
        measure=exporting(AWAY, ""),
        wanted=Wanted("at most", 1.05),
    ),
    Row(
        name="one-step run, exporting spans, metrics and logs",
        a="OTLP endpoint up",
        b="no endpoint",
        measure=exporting("", None),
    ),
)
