"""Enqueued by one process and meanwhile executed by another."""

import time
from collections.abc import Mapping
from collections.abc import Sequence

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Wanted
from tests.benchmarks.pairing import throughputs
from tests.benchmarks.programs import PATIENCE
from tests.benchmarks.rows.row import Measure
from tests.benchmarks.rows.row import Row
from tests.postgres import DatabaseServer

FIRST = 32  # runs to warm up with, as they are before each batch
LONG = 4  # batches are so many times longer: their ends are less sharp
CLIENTS = 8  # threads that enqueue
MOST_GROWTH = 8  # of a batch, while its length is sought
LOOK = 0.01  # seconds between two looks at what is left

UNFINISHED: Mapping[str, Sequence[str]] = {
    "operon": [
        "operon_runs WHERE status = 'enqueued'",
        "operon_runs WHERE status = 'running'",
        "operon_runs WHERE status = 'waiting'",
    ],
    "dbos": ["dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"],
    "procrastinate": [
        "procrastinate_jobs WHERE status = 'todo'",
        "procrastinate_jobs WHERE status = 'doing' AND worker_id IS NOT NULL",
    ],
}
"""Where each library has the runs that have not ended: what its indexes answer."""


class Drain:
    """Runs that a client starts and an executor, launched before, executes."""

    def __init__(self, bench: Bench, subject: str, database: str | None = None) -> None:
        self._database = database or bench.database(subject)
        url = bench.server.url(self._database)
        self._server, self._subject = bench.server, subject
        self._executor = bench.program(subject, url=url)
        self._client = bench.program(subject, "client", url=url)
        self._count = FIRST

    def prepare(self, target: float) -> None:
        """Warm up, and find out how many runs take some times *target* seconds."""
        while (seconds := self._seconds()) < LONG * target:
            growth = min(MOST_GROWTH, 1.2 * LONG * target / seconds)
            self._count = round(self._count * growth) + 1

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
        await_end(self._server, self._database, self._subject)
        return time.perf_counter() - began


def await_end(server: DatabaseServer, database: str, subject: str) -> None:
    """Return when every run of *subject* in *database* has ended.

    Raises:
        TimeoutError: That takes too long.
    """
    parts = (f"EXISTS (SELECT FROM {each})" for each in UNFINISHED[subject])
    query = f"SELECT {' OR '.join(parts)}".encode()
    deadline = time.monotonic() + PATIENCE
    with server.connect(database) as connection:
        while connection.execute(query).fetchone() == (True,):
            if time.monotonic() > deadline:
                raise TimeoutError(f"runs of {subject} do not end in {PATIENCE:.0f} s")
            time.sleep(LOOK)


def against(library: str) -> Measure:
    """Tell how many runs Operon drains while *library* drains one."""

    def measure(bench: Bench) -> list[float]:
        drains = (Drain(bench, "operon"), Drain(bench, library))
        return throughputs(bench.measured(*drains))

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
