"""What waiting costs, and how fast a message wakes a run in another process.

    python -m tests.benchmarks.waiting [RUNS]

On a PostgreSQL of its own it lets RUNS runs (10 000) sleep in one executor, makes all
of them due at once, and then sends messages to runs that wait. It prints threads and
memory of that executor, how long the runs took to finish, and the latency from a
message's commit to the record of its receipt, by the database's clock.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any
from typing import Self

from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import Operon
from operon import RunStatus
from operon import Workflow
from operon.models import Checkpoint
from operon.models import Message
from operon.models import WorkflowRun
from operon.schema import upgrade
from tests.postgres import PostgresServer
from tests.processes import ROOT

MESSAGES = 40
NEVER = threading.Event()


class Sleeper(Workflow):
    until: datetime

    def run(self) -> None:
        self.sleep_until(self.until)


class Receiver(Workflow):
    def run(self) -> Any:
        return self.receive("go")


def main() -> None:
    if sys.argv[1:2] == ["executor"]:
        execute(*sys.argv[2:])
        return
    runs = int(sys.argv[1]) if sys.argv[1:] else 10_000
    with PostgresServer() as server:
        server.create_database("waiting", None)
        url = server.url("waiting")
        operon = Operon(url, migrate="never")
        upgrade(operon.engine)
        with Executor(url) as executor:
            print(json.dumps(measure_sleeping(operon, executor, runs), indent=2))
            print(json.dumps(measure_latency(operon, "LISTEN/NOTIFY"), indent=2))
        with Executor(url, "transaction"):
            print(json.dumps(measure_latency(operon, "polling"), indent=2))
        operon.shutdown()
        operon.engine.dispose()


def execute(url: str, pooler: str = "") -> None:
    """Be an executor that tells its threads and memory for every line it is sent."""
    operon = Operon(url, migrate="never", pooler=pooler or None)
    operon.run(Sleeper(datetime.now(UTC)))
    operon.launch()
    for _ in sys.stdin:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        resident = next(line for line in status.splitlines() if "VmRSS" in line)
        kilobytes = int(resident.split()[1])
        print(threading.active_count(), kilobytes / 1024, flush=True)
    operon.shutdown()


class Executor:
    """An executor in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", __spec__.name, "executor", *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def __enter__(self) -> Self:
        self.weigh()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def weigh(self) -> tuple[int, float]:
        """Return its number of threads, and its resident memory in MiB."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        threads, megabytes = self._process.stdout.readline().split()
        return int(threads), float(megabytes)


def measure_sleeping(operon: Operon, executor: Executor, runs: int) -> dict[str, Any]:
    _, idle = executor.weigh()
    until = datetime.now(UTC) + timedelta(days=1)
    with ThreadPoolExecutor(8) as starters:
        list(starters.map(lambda _: operon.start(Sleeper(until)), range(runs)))
    began = time.monotonic()
    weights = _until(operon, executor, RunStatus.WAITING, runs)
    suspended = time.monotonic() - began
    past = func.now() - text("interval '1 s'")
    with Session(operon.engine) as session, session.begin():
        waiting = WorkflowRun.status == RunStatus.WAITING
        session.execute(
            update(WorkflowRun).where(waiting).values(wake_at=past, wait_until=past)
        )
    began = time.monotonic()
    weights += _until(operon, executor, RunStatus.SUCCEEDED, runs + 1)
    return {
        "sleeping runs": runs,
        "threads at most": max(threads for threads, _ in weights),
        "memory over idle, MiB": round(max(each for _, each in weights) - idle, 1),
        "suspended after, s": round(suspended, 1),
        "all finished after they became due, s": round(time.monotonic() - began, 1),
    }


def measure_latency(operon: Operon, how: str) -> dict[str, Any]:
    latencies = []
    for _ in range(MESSAGES):
        handle = operon.start(Receiver())
        while handle.status() is not RunStatus.WAITING:
            NEVER.wait(0.05)
        handle.send("go", 1)
        handle.result()
        with Session(operon.engine) as session:
            query = (
                select(Checkpoint.finished_at, Message.sent_at)
                .join(Message, Message.run_id == Checkpoint.run_id)
                .where(Checkpoint.run_id == handle.id)
            )
            received, sent = session.execute(query).one()
        latencies.append((received - sent).total_seconds() * 1000)
    return {
        "woken by": how,
        "messages": MESSAGES,
        "latency ms, median": round(statistics.median(latencies), 1),
        "latency ms, 90 %": round(statistics.quantiles(latencies, n=10)[-1], 1),
    }


def _until(
    operon: Operon, executor: Executor, status: RunStatus, count: int
) -> list[tuple[int, float]]:
    """Wait until *count* runs stand in *status*; return what the executor weighed."""
    weights = []
    query = select(func.count()).where(WorkflowRun.status == status)
    while True:
        weights.append(executor.weigh())
        with Session(operon.engine) as session:
            if session.scalar(query) == count:
                return weights
        NEVER.wait(0.2)


if __name__ == "__main__":
    main()
