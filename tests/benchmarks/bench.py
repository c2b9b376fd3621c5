"""The bench on which everything is measured: a server, its databases, the subjects."""

import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from types import TracebackType
from typing import Self
from typing import TypeVar

from tests.benchmarks.environments import NEEDS
from tests.benchmarks.environments import interpreter
from tests.benchmarks.pairing import Measurable
from tests.benchmarks.pairing import in_turn
from tests.benchmarks.programs import Program
from tests.postgres import PostgresServer

T = TypeVar("T")

MODULES = {
    "plain": "plain",
    "operon": "operon_runs",
    "dbos": "dbos_workflows",
    "procrastinate": "procrastinate_jobs",
}
"""The subjects' modules by their names."""

SETTINGS = {
    "fsync": "on",  # what is measured is durable
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "1GB",
    "min_wal_size": "1GB",
    "max_wal_size": "8GB",  # no checkpoint falls into one batch and not into its twin
    "checkpoint_timeout": "30min",
    "max_connections": "300",
}
SEGMENT = 16  # megabytes, as everywhere else; smaller ones are synced too often


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int
    seconds: float
    """How long a batch takes at least."""
    divisor: int = 1
    """By how much fixed counts are made smaller."""

    def reduced(self, count: int) -> int:
        """Return the fixed *count* at this scale."""
        return max(1, count // self.divisor)


@dataclass
class Bench:
    """A server, and the subjects and databases of the row that is being measured.

    Attributes:
        scale: How much is measured.
        environments: Where other libraries' environments are.
        data: Where the server's data lies.
        advance: Called when a part of the row is done.
        versions: Of every subject that took part.
    """

    scale: Scale
    environments: Path
    data: Path
    advance: Callable[[], None] = lambda: None
    versions: dict[str, dict[str, str]] = field(
        default_factory=dict[str, dict[str, str]]
    )

    def __enter__(self) -> Self:
        self.server = PostgresServer(SETTINGS, folder=self.data, segment=SEGMENT)
        self.server.__enter__()
        version = self.server.execute("SHOW server_version")[0][0]
        self.versions["server"] = {"postgresql": str(version)}
        self._row = ExitStack()
        self._made = 0
        self._current: set[str] = set()
        self._lasting: set[str] = set()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.clear()
        finally:
            self.server.close()

    def clear(self) -> None:
        """End the row's subjects, and drop its databases."""
        self._row.close()
        self._current.clear()

    def keep(self, context: AbstractContextManager[T]) -> T:
        """Enter *context* and leave it when the row is over."""
        return self._row.enter_context(context)

    def database(self, name: str) -> str:
        """Create an empty database for the row; return what the server calls it."""
        self._made += 1
        database = f"{name}_{self._made}"
        self.server.create_database(database)
        self._current.add(database)
        self._row.callback(self.server.drop_database, database)
        return database

    def lasting(self, name: str, fill: Callable[[str], None]) -> str:
        """Return a database that several rows use, filled by the first of them."""
        if name not in self._lasting:
            self.server.create_database(name)
            fill(name)
            self._lasting.add(name)
        self._current.add(name)
        return name

    def folder(self) -> Path:
        """Return an empty folder for the row, beside the server's data."""
        return Path(self.keep(tempfile.TemporaryDirectory(dir=self.data)))

    def program(self, subject: str, *arguments: str, url: str | None = None) -> Program:
        """Start a subject for the row; without *url* on a database of its own."""
        if url is None:
            url = self.server.url(self.database(subject))
        program = self.keep(self.fresh_program(subject, url, *arguments))
        self.versions[subject] = program.ask("versions")
        return program

    def fresh_program(self, subject: str, url: str, *arguments: str) -> Program:
        """Return a subject that its with-block starts and ends."""
        python = interpreter(subject, self.environments) if subject in NEEDS else None
        return Program(MODULES[subject], url, *arguments, python=python)

    def rounds(self, most: int | None = None) -> Iterator[int]:
        """Count the rounds of the row; of what takes very long at *most* so many."""
        rounds = self.scale.rounds if most is None else min(most, self.scale.rounds)
        for number in range(rounds):
            yield number
            self.advance()

    def measured(self, *candidates: Measurable) -> list[tuple[float, ...]]:
        """Warm all *candidates* up, then measure them in turn, round by round."""
        for each in candidates:
            each.prepare(self.scale.seconds)
        for (
            database
        ) in self._current:  # whether autovacuum came by is no matter of luck
            self.server.execute("ANALYZE", database)
        return in_turn(candidates, self.rounds())
