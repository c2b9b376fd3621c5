"""Operon: each step is a step of a run, remembered in the same commit.

python -m tests.benchmarks.subjects.operon_runs URL
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon import current
from operon import step
from operon import transaction
from operon.schema import upgrade
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
    "count",
    "count_started",
    "enqueue",
    "launch",
    "shutdown",
    "rest",
)


def main() -> None:
    operon = Operon(sys.argv[1])
    upgrade(operon.engine)
    create_tables(operon.engine)
    runs = Runs(operon)
    scenarios = {name: getattr(runs, name) for name in NAMES}
    serve(scenarios, "operon", "sqlalchemy")


if __name__ == "__main__":
    main()
