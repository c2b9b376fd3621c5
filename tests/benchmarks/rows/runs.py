"""Runs that their caller executes, against plain transactions and against DBOS."""

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import Batch
from tests.benchmarks.pairing import ratios
from tests.benchmarks.pairing import throughputs
from tests.benchmarks.rows.row import Measure
from tests.benchmarks.rows.row import Row

MANY = 10  # steps of a longer run


def against_plain(scenario: str, threads: int) -> Measure:
    """Compare a run of one step with the same transaction."""

    def measure(bench: Bench) -> list[float]:
        operon = Batch(bench.program("operon"), scenario, threads)
        plain = Batch(bench.program("plain"), threads=threads)
        return ratios(bench.measured(operon, plain))

    return measure


def each_further_step(bench: Bench) -> list[float]:
    """Compare what a step adds to a run with a transaction."""
    operon = bench.program("operon")
    many = Batch(operon, options={"steps": MANY})
    times = bench.measured(many, Batch(operon), Batch(bench.program("plain")))
    return [(ten - one) / (MANY - 1) / each for ten, one, each in times]


def against_dbos(steps: int, threads: int) -> Measure:
    """Tell how many runs Operon executes while DBOS executes one."""

    def measure(bench: Bench) -> list[float]:
        candidates = (
            Batch(bench.program(name), threads=threads, options={"steps": steps})
            for name in ("operon", "dbos")
        )
        return throughputs(bench.measured(*candidates))

    return measure


ROWS = (
    *(
        Row(
            name=f"one-step run, {threads} thread{'s' * (threads > 1)}",
            a="operon.run",
            b="plain transaction",
            measure=against_plain("steps", threads),
            wanted=Wanted("at most", 2.0),
        )
        for threads in (1, 8)
    ),
    *(
        Row(
            name=f"@transaction, {threads} thread{'s' * (threads > 1)}",
            a="operon.run",
            b="plain transaction",
            measure=against_plain("transaction", threads),
            wanted=Wanted("at most", 1.5),
        )
        for threads in (1, 8)
    ),
    Row(
        name="each further step",
        a="(ten-step run - one-step run) / 9",
        b="plain transaction",
        measure=each_further_step,
        wanted=Wanted("at most", 1.4),
    ),
    *(
        Row(
            name=f"{word}-step run, {threads} thread{'s' * (threads > 1)}: throughput",
            a="operon.run",
            b="DBOS workflow",
            measure=against_dbos(steps, threads),
            wanted=Wanted("at least", least),
            library="dbos",
        )
        for word, steps, least in (("one", 1, 6.5), ("ten", MANY, 6.0))
        for threads in (1, 8)
    ),
)
