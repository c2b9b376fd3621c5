"""Procrastinate: each job is a function that commits one plain transaction.

    python -m tests.benchmarks.subjects.procrastinate_jobs URL [client]

Its worker is asynchronous, and calls plain functions in as many threads as Operon
has by default; jobs are deferred by its synchronous connector.
"""

# pyright: basic, reportMissingImports=false
# Its library is in an environment of its own, where no type checker looks.

import asyncio
import logging
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from procrastinate import App  # type: ignore[import-not-found] # as told above
from procrastinate import PsycopgConnector
from procrastinate import SyncPsycopgConnector
from psycopg import errors
from sqlalchemy import create_engine
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import sessionmaker

from tests.benchmarks.subjects.rows import ISOLATION
from tests.benchmarks.subjects.rows import create_tables
from tests.benchmarks.subjects.rows import place
from tests.benchmarks.subjects.serving import serve
from tests.benchmarks.subjects.timing import timed

THREADS = 16  # jobs that one worker executes at once, Operon's default
TASK = "benchmark_steps"


class Worker:
    """The scenarios of a process that executes jobs."""

    def __init__(self, url: str) -> None:
        engine = create_engine(url, pool_size=THREADS, isolation_level=ISOLATION)
        create_tables(engine)
        self._sessions = sessionmaker(engine)
        self._conninfo = conninfo(url)
        self._thread: threading.Thread | None = None
        with App(connector=SyncPsycopgConnector(conninfo=self._conninfo)).open() as app:
            app.schema_manager.apply_schema()

    def launch(self) -> Mapping[str, Any]:
        """Begin to execute what is deferred."""
        started = threading.Event()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._work(started),), daemon=True
        )
        self._thread.start()
        started.wait()
        return {}

    def shutdown(self) -> Mapping[str, Any]:
        """Stop executing what is deferred."""
        assert self._thread
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        return {}

    async def _work(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_default_executor(ThreadPoolExecutor(THREADS))
        pool = {"min_size": 4, "max_size": THREADS}
        app = App(connector=PsycopgConnector(conninfo=self._conninfo, **pool))
        app.task(name=TASK)(self._insert)
        async with app.open_async():
            worker = asyncio.create_task(
                app.run_worker_async(
                    concurrency=THREADS, install_signal_handlers=False, wait=True
                )
            )
            started.set()
            await self._stop.wait()
            worker.cancel()
            await asyncio.wait([worker])

    def _insert(self, key: str) -> None:
        while True:
            try:
                with self._sessions.begin() as session:
                    place(session, key)
            except OperationalError as error:
                # whoever chooses SERIALIZABLE tries again, as every library does
                if not isinstance(error.orig, errors.SerializationFailure):
                    raise
            else:
                return


class Client:
    """The scenarios of a process that only defers."""

    def __init__(self, url: str) -> None:
        pool = {"min_size": 4, "max_size": THREADS}
        self._app = App(connector=SyncPsycopgConnector(conninfo=conninfo(url), **pool))
        self._app.open()

    def enqueue(self, count: int, threads: int = 1) -> Mapping[str, Any]:
        """Time the deferring of *count* jobs."""
        task = self._app.configure_task(TASK)
        return timed(lambda key: task.defer(key=key), count, threads)


def conninfo(url: str) -> str:
    """Return what psycopg calls the database."""
    plain = make_url(url).set(drivername="postgresql")
    return plain.render_as_string(hide_password=False)


def main() -> None:
    logging.disable()
    libraries = ("procrastinate", "psycopg", "sqlalchemy")
    if sys.argv[2:] == ["client"]:
        serve({"enqueue": Client(sys.argv[1]).enqueue}, *libraries)
    worker = Worker(sys.argv[1])
    serve({"launch": worker.launch, "shutdown": worker.shutdown}, *libraries)


if __name__ == "__main__":
    main()
