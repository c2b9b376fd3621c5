"""Plain SQLAlchemy: each step is a transaction of a Session, and nothing remembers it.

python -m tests.benchmarks.subjects.plain URL
"""

import sys
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import sessionmaker

from tests.benchmarks.subjects.counting import counting
from tests.benchmarks.subjects.rows import ISOLATION
from tests.benchmarks.subjects.rows import create_tables
from tests.benchmarks.subjects.rows import place
from tests.benchmarks.subjects.serving import Scenario
from tests.benchmarks.subjects.serving import serve
from tests.benchmarks.subjects.timing import timed

POOL = 16
SERIALIZATION_FAILURE = "40001"


class Plain:
    """The scenarios."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions = sessionmaker(engine)

    def steps(self, count: int, threads: int = 1, steps: int = 1) -> Mapping[str, Any]:
        """Time *count* times *steps* transactions."""

        def work(key: str) -> None:
            for _ in range(steps):
                self._transact(key)

        return timed(work, count, threads)

    def count(self, steps: int) -> Mapping[str, Any]:
        """Count what *steps* transactions send."""
        with counting() as counts:
            for _ in range(steps):
                self._transact("counted")
        return counts

    def rest(self) -> Mapping[str, Any]:
        """Close the pooled connections, so that the server has their statistics."""
        self._engine.dispose()
        return {}

    def _transact(self, key: str) -> int:
        while True:
            try:
                with self._sessions.begin() as session:
                    return place(session, key)
            except OperationalError as error:
                # whoever chooses SERIALIZABLE tries again, as every library does
                if getattr(error.orig, "sqlstate", None) != SERIALIZATION_FAILURE:
                    raise


def make_engine(url: str) -> Engine:
    """Return an engine whose transactions are as durable and isolated as Operon's."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=POOL, isolation_level=ISOLATION)
    engine = create_engine(url, pool_size=POOL)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver shall not begin by itself
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def main() -> None:
    engine = make_engine(sys.argv[1])
    create_tables(engine)
    plain = Plain(engine)
    scenarios: dict[str, Scenario] = {
        "steps": plain.steps,
        "count": plain.count,
        "rest": plain.rest,
    }
    serve(scenarios, "sqlalchemy")


if __name__ == "__main__":
    main()
