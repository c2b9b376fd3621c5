"""Enqueued by one process and meanwhile executed by another."""

import time
from collections.abc import Mapping

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import ratios
from tests.benchmarks.programs import PATIENCE
from tests.benchmarks.rows.row import Measure
from tests.benchmarks.rows.row import Row

FIRST = 32  # runs to warm up with, as they are before each batch
LONG = 4  # batches are so many times longer: their ends are less sharp
CLIENTS = 8  # threads that enqueue
LOOK = 0.01  # seconds between two looks at what is left

UNFINISHED: Mapping[str, str] = {
    "operon": "operon_runs WHERE status IN ('enqueued', 'running', 'waiting')",
    "dbos": "dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')",
    "procrastinate": "procrastinate_jobs WHERE status IN ('todo', 'doing')",
}
"""Where each library has the runs that have not ended."""


class Drain:
    """Runs that a client starts and an executor, launched before, executes."""

    def __init__(self, bench: Bench, subject: str) -> None:
        self._database = bench.database(subject)
        url = bench.server.url(self._database)
        self._server = bench.server
        self._left = f"SELECT EXISTS (SELECT FROM {UNFINISHED[subject]})"
        self._executor = bench.program(subject, url=url)
        self._client = bench.program(subject, "client", url=url)
        self._count = FIRST

    def prepare(self, target: float) -> None:
        """Warm up, and find out how many runs take some times *target* seconds."""
        while (seconds := self._seconds()) < LONG * target:
            self._count = round(self._count * min(8, 1.2 * LONG * target / seconds)) + 1

    def measure(self) -> float:
        """Return the seconds of one run, from the first start to the last end."""
        return self._seconds() / self._count

    def _seconds(self) -> float:
        self._executor.ask("launch")
        self._drain(FIRST)
        seconds = self._drain(self._count)
        self._executor.ask("shutdown")
        return seconds

    def _drain(self, count: int) -> float:
        began = time.perf_counter()
        self._client.ask("enqueue", count=count, threads=CLIENTS)
        with self._server.connect(self._database) as connection:
            while _first(connection.execute(self._left).fetchone()):
                if time.perf_counter() - began > PATIENCE:
                    raise TimeoutError(f"not all of {count} runs end: {self._left}")
                time.sleep(LOOK)
        return time.perf_counter() - began


def _first(row: tuple[bool, ...] | None) -> bool:
    return row is not None and row[0]


def against(library: str) -> Measure:
    """Tell how many runs Operon drains while *library* drains one."""

    def measure(bench: Bench) -> list[float]:
        drains = (Drain(bench, "operon"), Drain(bench, library))
        return ratios(bench.measured(*drains), lambda operon, other: other / operon)

    return measure


ROWS = tuple(
    Row(
        name=f"enqueue and drain one-step runs: throughput beside {title}",
        a="operon.start and an executor",
        b=what,
        measure=against(library),
        wanted=Wanted("at least", least),
        library=library,
    )
    for library, title, what, least in (
        ("dbos", "DBOS", "DBOS queue", 8.0),
        ("procrastinate", "Procrastinate", "Procrastinate jobs", 1.5),
    )
)
