"""What is in the tables already: finished runs, orphaned ones, and long histories."""

import time
from collections.abc import Callable
from uuid import uuid4

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import Batch
from tests.benchmarks.pairing import Measurable
from tests.benchmarks.pairing import ratios
from tests.benchmarks.programs import Program
from tests.benchmarks.rows.queues import Drain
from tests.benchmarks.rows.queues import await_end
from tests.benchmarks.rows.row import Row
from tests.benchmarks.seeding import ENQUEUED
from tests.benchmarks.seeding import Changes
from tests.benchmarks.seeding import Seeds

MILLION = 1_000_000
ORPHANS = 10_000
LONG = 10_000
CLAIMED = 200  # runs whose claims are replayed at once
STEPS = 3  # of a run that is taken over,
RECORDED = (1, 2)  # and the positions that its history holds
RECOVERIES = 3  # rounds of what takes very long

LONG_AGO: Changes = {
    "created_at": "template.created_at - number * interval '1 second'",
    "started_at": "template.started_at - number * interval '1 second'",
    "finished_at": "template.finished_at - number * interval '1 second'",
    "due_at": "template.due_at - number * interval '1 second'",
}


def seeds_in(bench: Bench, database: str, program: Program, steps: int) -> Seeds:
    """Return what copies a run of *steps* steps that *program* has executed."""
    template = str(uuid4())
    program.ask("run", run_id=template, steps=steps)
    return Seeds(bench.server, database, template)


def crowded(bench: Bench) -> str:
    """Return the database that holds a million finished runs and their checkpoints."""

    def fill(name: str) -> None:
        with bench.fresh_program("operon", bench.server.url(name)) as program:
            seeds = seeds_in(bench, name, program, 1)
        count = bench.scale.reduced(MILLION)
        seeds.sow("finished", count, [1], LONG_AGO)
        seeds.settle()

    return bench.lasting("crowded", fill)


class Replays:
    """Runs with two steps recorded that wait to be claimed, and are then finished."""

    def __init__(self, bench: Bench, database: str) -> None:
        self._bench = bench
        self._database = database
        self._count = bench.scale.reduced(CLAIMED)
        self._program = bench.program("operon", url=bench.server.url(database))
        self._seeds = seeds_in(bench, database, self._program, STEPS)

    def prepare(self, target: float) -> None:
        """Warm up."""
        del target
        self.measure()

    def measure(self) -> float:
        """Return the seconds of one run, from the launch of the executor on."""
        self._seeds.sow(str(uuid4()), self._count, RECORDED, ENQUEUED)
        began = time.perf_counter()
        self._program.ask("launch")
        await_end(self._bench.server, self._database, "operon")
        seconds = time.perf_counter() - began
        self._program.ask("shutdown")
        return seconds / self._count


def compare_crowded(
    make: Callable[[Bench, str], Measurable],
) -> Callable[[Bench], list[float]]:
    """Compare what *make* measures with a million runs in the tables, and without."""

    def measure(bench: Bench) -> list[float]:
        databases = (crowded(bench), bench.database("empty"))
        return ratios(bench.measured(*(make(bench, each) for each in databases)))

    return measure


def one_step(bench: Bench, database: str) -> Measurable:
    """Return one-step runs in *database*."""
    return Batch(bench.program("operon", url=bench.server.url(database)))


def drain(bench: Bench, database: str) -> Measurable:
    """Return started and drained runs in *database*."""
    return Drain(bench, "operon", database)


def recover(bench: Bench) -> list[float]:
    """Tell how many orphaned runs a second an executor brings to their end."""
    count = bench.scale.reduced(ORPHANS)
    speeds: list[float] = []
    for number in bench.rounds(RECOVERIES):
        database = bench.database("orphans")
        with bench.fresh_program("operon", bench.server.url(database)) as lost:
            lost.ask("launch")
            seeds = seeds_in(bench, database, lost, STEPS)
        orphaned = {**ENQUEUED, "status": "'running'", "executor": "template.executor"}
        seeds.sow(str(number), count, RECORDED, orphaned)
        seeds.settle()
        executor = bench.program("operon", url=bench.server.url(database))
        began = time.perf_counter()
        executor.ask("launch")
        await_end(bench.server, database, "operon")
        speeds.append(count / (time.perf_counter() - began))
        executor.kill()
    return speeds


class Replay:
    """One run whose whole history is recorded, of which only the end is missing."""

    def __init__(
        self, bench: Bench, database: str, program: Program, steps: int
    ) -> None:
        self._steps = bench.scale.reduced(steps)
        self._program = program
        template, history = str(uuid4()), str(uuid4())
        program.ask("start", run_id=template, steps=self._steps)
        program.ask("run", run_id=history, steps=1)
        self._seeds = Seeds(bench.server, database, template, history)

    def prepare(self, target: float) -> None:
        """Warm up."""
        del target
        self.measure()

    def measure(self) -> float:
        """Return the seconds from the call until the run has ended."""
        run_id = str(uuid4())
        self._seeds.sow_long(run_id, self._steps, ENQUEUED)
        answer = self._program.ask("run", run_id=run_id, steps=self._steps)
        return float(answer["seconds"])


def replay(steps: int) -> Callable[[Bench], list[float]]:
    """Tell how long the replay of *steps* steps takes."""

    def measure(bench: Bench) -> list[float]:
        return [times[0] for times in bench.measured(*_replays(bench, steps))]

    return measure


def linearity(bench: Bench) -> list[float]:
    """Compare a step's share of a long replay with its share of a short one."""
    short = LONG // 4
    times = bench.measured(*_replays(bench, LONG, short))
    return [ratio * short / LONG for ratio in ratios(times)]


def _replays(bench: Bench, *sizes: int) -> list[Measurable]:
    database = bench.database("replay")
    program = bench.program("operon", url=bench.server.url(database))
    return [Replay(bench, database, program, steps) for steps in sizes]


ROWS = (
    *(
        Row(
            name=f"{what}, a million finished runs in the tables",
            a="with them",
            b="empty tables",
            measure=compare_crowded(make),
            wanted=Wanted("at most", 1.1),
        )
        for what, make in (
            ("one-step run", one_step),
            ("start and drain", drain),
            ("replay of claimed runs", Replays),
        )
    ),
    Row(
        name="recovery of 10 000 orphaned three-step runs, two steps recorded",
        a="one executor",
        b="runs finished a second",
        measure=recover,
        wanted=Wanted("at least", 500, "runs/s"),
        unit="runs/s",
    ),
    *(
        Row(
            name=f"replay of a run of {steps:_} steps".replace("_", " "),
            a="operon.run",
            b="seconds",
            measure=replay(steps),
            wanted=Wanted("at most", 1.0, "s") if steps == LONG else None,
            unit="s",
        )
        for steps in (LONG // 4, LONG // 2, LONG)
    ),
    Row(
        name="replay is linear: each step of 10 000",
        a="10 000 steps",
        b="each step of 2 500",
        measure=linearity,
        wanted=Wanted("at most", 1.2),
    ),
)
