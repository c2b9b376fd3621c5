"""DBOS: each step is a transaction of its SQLAlchemy datasource, in a workflow.

    python -m tests.benchmarks.subjects.dbos_workflows URL [client]

It is as fast as its documentation lets it be: one database for everything, no ping
before each use of a connection, pools that are large enough, no logs and no
telemetry, and a queue that is asked ten times a second instead of once.
"""

# pyright: basic, reportMissingImports=false
# Its library is in an environment of its own, where no type checker looks.

import sys
from collections.abc import Mapping
from typing import Any

from dbos import DBOS  # type: ignore[import-not-found] # as told above
from dbos import DBOSClient
from dbos import DBOSConfig
from dbos import SetWorkflowID
from dbos import SQLAlchemyDatasource
from sqlalchemy import Engine
from sqlalchemy import create_engine

from tests.benchmarks.subjects.counting import counting
from tests.benchmarks.subjects.rows import ISOLATION
from tests.benchmarks.subjects.rows import create_tables
from tests.benchmarks.subjects.rows import place
from tests.benchmarks.subjects.serving import serve
from tests.benchmarks.subjects.timing import timed

POOL = 32
THREADS = 16  # runs that one executor executes at once, Operon's default
NAME = "benchmark_steps"
QUEUE = "benchmark"
POLL = 0.1  # seconds; from 0.01 to 0.5 its throughput is the same

LIBRARIES = ("dbos", "sqlalchemy")


class Workflows:
    """The scenarios of a process that executes workflows."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = make_engine(url)
        create_tables(self._engine)
        source = SQLAlchemyDatasource.create(url, engine=self._engine)

        @source.transaction(isolation_level=ISOLATION)  # type: ignore[untyped-decorator]
        def insert() -> int:
            return place(source.sql_session(), str(DBOS.workflow_id))

        @DBOS.workflow(name=NAME)  # type: ignore[untyped-decorator]
        def run(steps: int) -> int:
            order_id = 0
            for _ in range(steps):
                order_id = insert()
            return order_id

        self._run = run
        self._launch()

    def steps(self, count: int, threads: int = 1, steps: int = 1) -> Mapping[str, Any]:
        """Time *count* workflows of *steps* steps, each executed by who calls it."""

        def work(key: str) -> None:
            with SetWorkflowID(key):
                self._run(steps)

        return timed(work, count, threads)

    def count(self, steps: int) -> Mapping[str, Any]:
        """Count what one workflow of *steps* steps sends."""
        with counting() as counts:
            self._run(steps)
        return counts

    def launch(self) -> Mapping[str, Any]:
        """Begin to execute what is enqueued."""
        DBOS.destroy()
        self._launch(POLL)
        return {}

    def shutdown(self) -> Mapping[str, Any]:
        """Stop executing what is enqueued."""
        DBOS.destroy()
        return {}

    def rest(self) -> Mapping[str, Any]:
        """Close the pooled connections, so that the server has their statistics."""
        self._engine.dispose()
        return {}

    def _launch(self, poll: float | None = None) -> None:
        config: DBOSConfig = {
            "name": "benchmark",
            "system_database_url": self._url,
            "system_database_engine": self._engine,
            "application_version": "1",
            "log_level": "CRITICAL",
            "console_log_level": "CRITICAL",
            "max_executor_threads": THREADS,
            "enable_otlp": False,
        }
        DBOS(config=config)
        DBOS.launch()
        if poll is not None:
            DBOS.register_queue(QUEUE, polling_interval_sec=poll)


class Client:
    """The scenarios of a process that only enqueues."""

    def __init__(self, url: str) -> None:
        self._client = DBOSClient(system_database_engine=make_engine(url))

    def enqueue(
        self, count: int, threads: int = 1, steps: int = 1
    ) -> Mapping[str, Any]:
        """Time the enqueueing of *count* workflows of *steps* steps."""

        def work(key: str) -> None:
            self._client.enqueue(
                {
                    "workflow_name": NAME,
                    "queue_name": QUEUE,
                    "workflow_id": key,
                },
                steps,
            )

        return timed(work, count, threads)


def make_engine(url: str) -> Engine:
    """Return an engine as DBOS makes it, without its ping before each use."""
    return create_engine(url, pool_size=POOL, max_overflow=0)


def main() -> None:
    if sys.argv[2:] == ["client"]:
        serve({"enqueue": Client(sys.argv[1]).enqueue}, *LIBRARIES)
    workflows = Workflows(sys.argv[1])
    names = ("steps", "count", "launch", "shutdown", "rest")
    serve({name: getattr(workflows, name) for name in names}, *LIBRARIES)


if __name__ == "__main__":
    main()
