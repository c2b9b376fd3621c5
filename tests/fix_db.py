"""Databases for tests: one of its own for each, gone when the test is over.

PostgreSQL is started at the first test that needs it (once per xdist worker) unless
`--database-url` or `OPERON_TEST_DATABASE_URL` names a server. A test that needs it
and cannot have it fails; it is never skipped.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy import create_engine
from sqlalchemy import make_url

from tests.postgres import DatabaseServer
from tests.postgres import PostgresServer

DIALECTS = ["sqlite", "postgresql"]


@dataclass(frozen=True)
class Database:
    """One test's own database."""

    url: str
    dialect: str
    _engines: list[Engine] = field(default_factory=list, repr=False, compare=False)

    def engine(self, **options: Any) -> Engine:
        """Create an engine on the database, disposed of when the test is over."""
        engine = create_engine(self.url, **options)
        self._engines.append(engine)
        return engine

    def dispose(self) -> None:
        """Close the pooled connections of every engine that `engine` made."""
        for engine in self._engines:
            engine.dispose()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database-url",
        default=os.environ.get("OPERON_TEST_DATABASE_URL"),
        help="a PostgreSQL server in which the tests may create databases "
        "(default: $OPERON_TEST_DATABASE_URL, else one is started)",
    )


def pytest_configure(config: pytest.Config) -> None:
    url = config.getoption("database_url")
    if url and make_url(url).get_backend_name() != "postgresql":
        raise pytest.UsageError("--database-url must be a postgresql:// URL")


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """The server all tests of this process share; they must not stop it."""
    url = request.config.getoption("database_url")
    if url:
        yield DatabaseServer(url)
        return
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server for this test alone, which may stop, kill and restart it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: DatabaseServer) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    with _postgres_database(postgres_server) as database:
        _migrate(database)
        yield _name(database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a migrated database that nobody has open."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(_sqlite_database(path))
    return path


@pytest.fixture
def postgres_database(
    postgres_server: DatabaseServer, postgres_template: str
) -> Iterator[Database]:
    """A migrated database on PostgreSQL."""
    with _postgres_database(postgres_server, postgres_template) as database:
        yield database


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """A migrated database in a file of SQLite's."""
    path = tmp_path / "operon.db"
    shutil.copyfile(sqlite_template, path)
    database = _sqlite_database(path)
    yield database
    database.dispose()


@pytest.fixture(params=DIALECTS)
def database(request: pytest.FixtureRequest) -> Database:
    """A migrated database; the test runs once on each dialect."""
    prefix = {"sqlite": "sqlite", "postgresql": "postgres"}[request.param]
    return request.getfixturevalue(f"{prefix}_database")


@pytest.fixture(params=DIALECTS)
def empty_database(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Database]:
    """A database without Operon's tables; the test runs once on each dialect."""
    if request.param == "sqlite":
        database = _sqlite_database(tmp_path / "empty.db")
        yield database
        database.dispose()
        return
    with _postgres_database(request.getfixturevalue("postgres_server")) as database:
        yield database


@contextmanager
def _postgres_database(
    server: DatabaseServer, template: str | None = None
) -> Iterator[Database]:
    """Create a database whose name nobody else has, and drop it in the end."""
    name = f"operon_test_{uuid4().hex}"
    server.create_database(name, template)
    database = Database(server.url(name), "postgresql")
    try:
        yield database
    finally:
        database.dispose()
        server.drop_database(name)


def _sqlite_database(path: Path) -> Database:
    return Database(f"sqlite:///{path}", "sqlite")


def _name(database: Database) -> str:
    """Return what the server calls *database*."""
    return str(make_url(database.url).database)


def _migrate(database: Database) -> None:
    """Create Operon's tables in *database* and leave nobody connected to it."""
    from operon.schema import upgrade  # noqa: PLC0415 - most plumbing tests need none

    upgrade(database.engine())
    database.dispose()
