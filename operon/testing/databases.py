"""Databases of the tests' own: made from a template, and gone in the end."""

import shutil
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import URL
from sqlalchemy import Engine
from sqlalchemy import create_engine
from sqlalchemy import make_url

from operon import Operon
from operon.errors import ConfigurationError
from operon.store.creation import create_database
from operon.store.creation import drop_database

_NAME = "operon_test_{}"
_LOCK_TIMEOUT = "5s"
"""Whoever waits for a test's own lock would wait for ever; SQLite's driver gives up."""


@dataclass(frozen=True)
class OwnDatabase:
    """A database of one test's own, on which everything is committed.

    Attributes:
        url: Where it is, with the password.
        engine: On it.
        operon: The runtime's twin on it; not launched.
    """

    url: str
    engine: Engine
    operon: Operon


class Databases:
    """Makes databases: files in a folder, or on a server of PostgreSQL's."""

    def __init__(self, folder: Path, server: str | None = None) -> None:
        """Make files of SQLite's in *folder*, unless *server* is the URL of a server.

        Raises:
            ConfigurationError: *server* is none of PostgreSQL's.
        """
        self._folder = folder
        self._server = server
        if server and make_url(server).get_backend_name() != "postgresql":
            raise ConfigurationError(
                "--operon-database-url",
                "is no URL of PostgreSQL's",
                cure="write postgresql+psycopg://user@host/name, or leave it out for "
                "SQLite",
            )

    @contextmanager
    def made(self, template: str | None = None) -> Generator[str, None, None]:
        """Make a database, and drop it after the block.

        Args:
            template: The URL of one to copy, to which nobody is connected.
        """
        name = _NAME.format(uuid4().hex)
        if self._server is None:
            yield self._file(name, template)
            return
        origin = {} if template is None else {"template": _name(template)}
        url = create_database(self._server, name, **origin, lock_timeout=_LOCK_TIMEOUT)
        try:
            yield _told(url)
        finally:
            drop_database(url, self._server)

    @contextmanager
    def template(
        self, migrate: Callable[[Engine], object]
    ) -> Generator[str, None, None]:
        """Make a database that *migrate* has given tables, and drop it after."""
        with self.made() as url:
            with engine_on(url) as engine:
                migrate(engine)
            yield url

    def _file(self, name: str, template: str | None) -> str:
        path = self._folder / f"{name}.db"
        if template is not None:
            shutil.copyfile(_name(template), path)
        return f"sqlite:///{path}"


@contextmanager
def engine_on(url: str) -> Generator[Engine, None, None]:
    """Make an engine on *url*, whose connections are closed after the block."""
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _name(url: str) -> str:
    """Return what the server calls the database at *url*, or its file's path."""
    return str(make_url(url).database)


def _told(url: URL) -> str:
    return url.render_as_string(hide_password=False)
