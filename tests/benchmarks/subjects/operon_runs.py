"""Operon: each step is a step of a run, remembered in the same commit.

python -m tests.benchmarks.subjects.operon_runs URL [OTLP ENDPOINT]
"""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from timeit import timeit
from typing import Any

from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon import current
from operon import step
from operon import transaction
from operon.engine.services import Services
from operon.hooks import Hooks
from operon.schema import upgrade
from operon.telemetry import configure
from tests.benchmarks.subjects.counting import counting
from tests.benchmarks.subjects.rows import create_tables
from tests.benchmarks.subjects.rows import place
from tests.benchmarks.subjects.serving import serve
from tests.benchmarks.subjects.timing import timed
from tests.sent import watching_direct


class BenchmarkSteps(Workflow):
    """Some steps, each of which writes one order."""

    steps: int = 1

    @step
    def place(self, session: Session) -> int:
        return place(session, current().run_id)

    def run(self) -> int:
        order_id = 0
        for _ in range(self.steps):
            order_id = self.place()
        return order_id


class Idle(Workflow):
    """Steps that do nothing."""

    steps: int = 1

    @step
    def rest(self, session: Session) -> None:
        """Do nothing."""

    def run(self) -> None:
        for _ in range(self.steps):
            self.rest()


@dataclass
class CountingHooks(Hooks):
    """No hooks, and how often somebody asked whether there are any."""

    asked: int = 0

    def __bool__(self) -> bool:
        self.asked += 1
        return False


def _cost_of_asking(services: Services) -> float:
    """Return the seconds of one question whether there are hooks, and its detour."""

    def direct(attempt: int) -> int:
        return attempt

    def asked(services: Services, attempt: int) -> int:
        if not services.hooks:
            return direct(attempt)
        return 0

    times = 20_000
    whole = timeit(lambda: asked(services, 1), number=times)
    return (whole - timeit(lambda: direct(1), number=times)) / times


@transaction
def benchmark_transaction(session: Session, reference: str) -> int:
    return place(session, reference)


class Runs:
    """The scenarios."""

    def __init__(self, operon: Operon) -> None:
        self._operon = operon

    def steps(self, count: int, threads: int = 1, steps: int = 1) -> Mapping[str, Any]:
        """Time *count* runs of *steps* steps, each executed by who asks for it."""
        workflow = BenchmarkSteps(steps)
        return timed(lambda key: self._operon.run(workflow, id=key), count, threads)

    def run(self, run_id: str, steps: int) -> Mapping[str, Any]:
        """Time the run *run_id*, which may have been begun by somebody else."""
        began = time.perf_counter()
        self._operon.run(BenchmarkSteps(steps), id=run_id)
        return {"seconds": time.perf_counter() - began}

    def start(self, run_id: str, steps: int) -> Mapping[str, Any]:
        """Start a run that nobody executes until an executor is launched."""
        self._operon.start(BenchmarkSteps(steps), id=run_id)
        return {}

    def transaction(self, count: int, threads: int = 1) -> Mapping[str, Any]:
        """Time *count* runs of a `@transaction`."""

        def work(key: str) -> int:
            return self._operon.run(benchmark_transaction(key), id=key)

        return timed(work, count, threads)

    def seam(self, steps: int) -> Mapping[str, Any]:
        """Time a run of steps that do nothing, and what is asked for hooks in it."""
        services = self._operon._process.made().services
        begun = Idle(steps)
        self._operon.run(begun)
        began = time.perf_counter()
        self._operon.run(begun)
        seconds = time.perf_counter() - began
        hooks, services.hooks = services.hooks, CountingHooks()
        self._operon.run(begun)
        asked, services.hooks = services.hooks.asked, hooks
        return {"seconds": seconds, "seam": asked * _cost_of_asking(services)}

    def count(self, steps: int) -> Mapping[str, Any]:
        """Count what one run of *steps* steps sends."""
        with counting(watch=watching_direct) as counts:
            self._operon.run(BenchmarkSteps(steps))
        return counts

    def count_started(self, steps: int) -> Mapping[str, Any]:
        """Count what the start of a run sends, and then its execution in a thread."""
        self._operon.launch()
        self._operon.start(BenchmarkSteps(steps)).result()  # everything once before
        with counting(everywhere=True, watch=watching_direct) as counts:
            self._operon.start(BenchmarkSteps(steps)).result()
        self._operon.shutdown()
        return counts

    def enqueue(
        self, count: int, threads: int = 1, steps: int = 1
    ) -> Mapping[str, Any]:
        """Time the starting of *count* runs of *steps* steps."""
        workflow = BenchmarkSteps(steps)
        return timed(lambda key: self._operon.start(workflow, id=key), count, threads)

    def launch(self) -> Mapping[str, Any]:
        """Begin to execute what is started."""
        self._operon.launch()
        return {}

    def shutdown(self) -> Mapping[str, Any]:
        """Stop executing what is started."""
        self._operon.shutdown()
        return {}

    def rest(self) -> Mapping[str, Any]:
        """Close the pooled connections, so that the server has their statistics."""
        self._operon.engine.dispose()
        return {}


NAMES = (
    "steps",
    "run",
    "start",
    "transaction",
    "seam",
    "count",
    "count_started",
    "enqueue",
    "launch",
    "shutdown",
    "rest",
)


def main() -> None:
    if len(sys.argv) > 2:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sys.argv[2]
        configure()
    operon = Operon(sys.argv[1])
    upgrade(operon.engine)
    create_tables(operon.engine)
    runs = Runs(operon)
    scenarios = {name: getattr(runs, name) for name in NAMES}
    serve(scenarios, "operon", "sqlalchemy")


if __name__ == "__main__":
    main()
