"""What a run sends and what the server writes for it: counts, not times."""

import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from tests.benchmarks.bench import Bench
from tests.benchmarks.counters import Counters
from tests.benchmarks.counters import read_counters
from tests.benchmarks.figures import Wanted
from tests.benchmarks.programs import Program
from tests.benchmarks.rows.row import Measure
from tests.benchmarks.rows.row import Row

WARM = 30  # runs before anything is counted: the plans are prepared by then
COUNTED = 200  # runs over which the server's counters are averaged
SETTLE = 0.3  # seconds in which ended backends have added what they counted

SUBJECTS = {
    "plain": "plain transaction",
    "operon": "operon.run",
    "dbos": "DBOS workflow",
}


def sent(subject: str, steps: int, counted: str, scenario: str = "count") -> Measure:
    """Count what one run of *steps* steps sends, in the process that sends it."""

    def measure(bench: Bench) -> list[float]:
        program = bench.program(subject)
        program.ask("steps", count=WARM, steps=steps)
        answers = [program.ask(scenario, steps=steps) for _ in bench.rounds()]
        return [float(each.get(counted, 0)) for each in answers]

    return measure


def written(subject: str, per_run: Callable[[Counters], float]) -> Measure:
    """Count by the server what one-step runs, one after another, cost each."""

    def measure(bench: Bench) -> list[float]:
        database = bench.database(subject)
        program = bench.program(subject, url=bench.server.url(database))
        program.ask("steps", count=WARM)
        count = bench.scale.reduced(COUNTED)
        values: list[float] = []
        for _ in bench.rounds():
            before = _settled(bench, program, database)
            program.ask("steps", count=count)
            after = _settled(bench, program, database)
            values.append(per_run(after.since(before)) / count)
        return values

    return measure


def _settled(bench: Bench, program: Program, database: str) -> Counters:
    program.ask("rest")
    time.sleep(SETTLE)
    return read_counters(bench.server, database)


def _exact(steps: int) -> tuple[Row, ...]:
    one = f"{steps}-step run" if steps > 1 else "one-step run"
    common: Mapping[str, Any] = {"a": "operon.run", "b": "counted"}
    return (
        Row(
            name=f"statements beyond the user's, {one}",
            measure=sent("operon", steps, "other statements"),
            wanted=Wanted("at most", steps + 2, "statements"),
            unit="statements",
            **common,
        ),
        Row(
            name=f"synchronous commits, {one}",
            measure=sent("operon", steps, "synchronous commits"),
            wanted=Wanted("at most", steps, "commits"),
            unit="commits",
            **common,
        ),
        Row(
            name=f"synchronous commits, {one}, started",
            a="operon.start",
            b="counted",
            measure=sent("operon", steps, "synchronous commits", "count_started"),
            wanted=Wanted("at most", steps + 1, "commits"),
            unit="commits",
        ),
    )


def _told(name: str, unit: str, measure: Callable[[str], Measure]) -> tuple[Row, ...]:
    return tuple(
        Row(
            name=f"{name}, one-step run",
            a=title,
            b="counted",
            measure=measure(subject),
            unit=unit,
            library="dbos" if subject == "dbos" else None,
        )
        for subject, title in SUBJECTS.items()
    )


ROWS = (
    *_exact(1),
    *_exact(10),
    *_told(
        "all statements",
        "statements",
        lambda subject: sent(subject, 1, "statements"),
    ),
    *_told(
        "WAL bytes",
        "bytes",
        lambda subject: written(subject, lambda counted: counted.wal_bytes),
    ),
    *_told(
        "WAL syncs",
        "syncs",
        lambda subject: written(subject, lambda counted: counted.wal_syncs),
    ),
    *_told(
        "transactions committed",
        "commits",
        lambda subject: written(subject, lambda counted: counted.commits),
    ),
)
