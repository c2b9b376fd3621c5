"""A server that seems far away, by exactly as much as is wanted."""

import statistics
import subprocess
import sys
import time
from types import TracebackType
from typing import Any
from typing import Self

import psycopg
from sqlalchemy import make_url

from tests.processes import ROOT

TRIALS = 100  # round trips that one look at the distance takes
ROUNDS = 5  # looks until the delay must fit
CLOSE_ENOUGH = 0.02  # of the wanted distance


class Distance:
    """The latency proxy in a process of its own, set by what it really costs.

    A proxy adds more than it was told to, because threads have to be woken; so its
    delay is made shorter until a `SELECT 1` takes *wanted* seconds more than without.
    """

    def __init__(self, url: str, wanted: float) -> None:
        self._url = make_url(url)
        self._wanted = wanted
        self.extra = 0.0
        """Seconds that a round trip took more, when it was last looked at."""

    def __enter__(self) -> Self:
        here = [str(self._url.host), str(self._url.port)]
        command = [sys.executable, "-m", "tests.benchmarks.latency", *here]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout
        port = int(self._process.stdout.readline())
        self._far = self._url.set(port=port)
        self._adjust()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL, the long way round."""
        return self._far.render_as_string(hide_password=False)

    def look(self) -> float:
        """Return how many seconds more a round trip takes."""
        with _connect(self._url) as near, _connect(self._far) as far:
            times = [(_round_trip(near), _round_trip(far)) for _ in range(TRIALS)]
        self.extra = statistics.median(there - here for here, there in times)
        return self.extra

    def _adjust(self) -> None:
        delay = self._wanted / 2
        for _ in range(ROUNDS):
            self._tell(delay)
            surplus = self.look() - self._wanted
            if abs(surplus) < CLOSE_ENOUGH * self._wanted:
                return
            delay = max(0.0, delay - surplus / 2)

    def _tell(self, delay: float) -> None:
        assert self._process.stdin
        print(delay, file=self._process.stdin, flush=True)


def _connect(url: Any) -> psycopg.Connection[Any]:
    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(conninfo, autocommit=True)


def _round_trip(connection: psycopg.Connection[Any]) -> float:
    began = time.perf_counter()
    connection.execute("SELECT 1")
    return time.perf_counter() - began
