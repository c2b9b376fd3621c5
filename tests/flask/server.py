"""Gunicorn with the shop of `served`, in processes of its own, and who calls it."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import Self

import httpx

from operon.executor.process import started
from operon.flask.tokens import issue
from tests.fix_db import Database
from tests.flask import served
from tests.processes import Child
from tests.processes import eventually

SKU = "book"
REPLAYED = "Idempotent-Replayed"

_LISTENING = re.compile(r"Listening at: (http://127\.0\.0\.1:\d+)")
_PATIENCE = 120.0  # seconds for an answer, on a busy machine
_OPTIONS = [
    "--bind=127.0.0.1:0",
    "--worker-class=gthread",
    "--threads=16",
    f"--timeout={_PATIENCE:.0f}",  # until a worker that is frozen is killed
    "--graceful-timeout=20",
    "--no-control-socket",
    "--worker-tmp-dir=/dev/shm",
]


def authorization() -> dict[str, str]:
    """Return the headers of a customer's request."""
    token = issue(
        issuer=served.ISSUER,
        audience=served.AUDIENCE,
        subject="ada",
        key=served.SECRET,
        scopes=[served.SCOPE],
    )
    return {"Authorization": f"Bearer {token}"}


def asked(key: str, **headers: str) -> dict[str, Any]:
    """Return the one request that tests send, under *key*."""
    return {"json": {"sku": SKU}, "headers": {"Idempotency-Key": key, **headers}}


class Server:
    """Gunicorn's master and its workers.

    Args:
        database: What they work on.
        workers: How many.
        preload: The application is loaded before the workers are forked.
        isolation: Of transactions and steps; Operon's own default if None.
        blow: The file that says where one of them is struck; by default nowhere.
    """

    def __init__(
        self,
        database: Database,
        *,
        workers: int = 1,
        preload: bool = False,
        isolation: str | None = None,
        blow: Path | None = None,
    ) -> None:
        arguments = [*_OPTIONS, f"--workers={workers}"]
        if preload:
            arguments.append("--preload")
        settings = {
            "OPERON_DATABASE_URL": database.url,
            "OPERON_MIGRATE": "never",
            "OPERON_THREADS": "4",
            "OPERON_HEARTBEAT": "0.5",
        }
        if blow is not None:
            settings[served.BLOW] = str(blow)
        if isolation is not None:
            settings["OPERON_ISOLATION"] = isolation
        self._workers = workers
        self._child = Child(
            "gunicorn",
            [*arguments, "tests.flask.served:create_app()"],
            settings,
        )

    def __enter__(self) -> Self:
        self._child.__enter__()
        try:
            eventually(self._is_listening, timeout=60, saying="gunicorn listens")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            print(self.output())
        try:
            self.stop()
        finally:
            self._child.__exit__(kind, error, traceback)

    @property
    def url(self) -> str:
        """Where it listens."""
        found = _LISTENING.search(self.output())
        assert found is not None, self.output()
        return found[1]

    def stop(self) -> None:
        """Shut it down in order, and wait until it has ended; a dead one has."""
        if self._child.running:
            self.thaw()
            self._child.terminate()
            self._child.wait(60)

    def kill(self) -> None:
        """Kill the master and every worker, and wait until all are gone."""
        self._child.stop()  # so that it starts no other worker
        pids = [self._child.pid, *self.workers()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self._child.wait()
        eventually(lambda: not any(map(started, pids)), saying="all are gone")

    def thaw(self) -> None:
        """Let workers that were frozen go on."""
        for pid in self.workers():
            os.kill(pid, signal.SIGCONT)

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        pid = self._child.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in children.split()]

    def output(self) -> str:
        """Return what its processes have written so far."""
        return self._child.output()

    @contextmanager
    def client(
        self, transport: httpx.BaseTransport | None = None
    ) -> Iterator[httpx.Client]:
        """Lend a client that knows the way and has a token; by default httpx's own."""
        with httpx.Client(
            base_url=self.url,
            headers=authorization(),
            timeout=_PATIENCE,
            transport=transport,
        ) as client:
            yield client

    def post_at_once(
        self, path: str, key: str, *, times: int
    ) -> Sequence[httpx.Response]:
        """Send one request *times* times at the same moment; return what each got."""

        async def send() -> Sequence[httpx.Response]:
            async with httpx.AsyncClient(
                base_url=self.url,
                headers=authorization(),
                timeout=_PATIENCE,
                limits=httpx.Limits(max_connections=times),
            ) as client:
                sent = (client.post(path, **asked(key)) for _ in range(times))
                return await asyncio.gather(*sent)

        return asyncio.run(send())

    def _is_listening(self) -> bool:
        assert self._child.running, self.output()
        return len(self.workers()) == self._workers and "Booting" in self.output()
