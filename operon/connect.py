"""From what the user gives to what the engine works with: URL, Engine, sessionmaker."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

from operon.config import Settings
from operon.config import database_url
from operon.errors import ConfigurationError

_SPARE_CONNECTIONS = 6  # beside one per thread: heartbeat, keeper, notices, callers


def connect(
    database: "str | URL | Engine | sessionmaker[Any] | None", settings: Settings
) -> "tuple[Engine, sessionmaker[Any]]":
    """Return the engine and the session factory behind *database*; nothing is opened.

    Raises:
        ConfigurationError: Operon cannot keep its promises on it.
    """
    if isinstance(database, sessionmaker):
        return _bound(database), database
    if isinstance(database, Engine):
        engine = database
    elif isinstance(database, str | URL) or database is None:
        engine = _engine(_url(database), settings)
    else:
        raise ConfigurationError(
            f"database={database!r}",
            "is no database",
            cure="give a URL, an Engine or a sessionmaker",
        )
    if settings.pooler == "transaction":
        event.listen(engine, "connect", _never_prepare)
    return engine, sessionmaker(engine)


def lease_of(engine: Engine, settings: Settings) -> timedelta:
    """Return how long this process may be silent."""
    if settings.lease is not None:
        return settings.lease
    return timedelta(seconds=30 if engine.dialect.name == "sqlite" else 10)


def _url(database: str | URL | None) -> URL:
    try:
        url = make_url(database or database_url())
    except exc.ArgumentError as error:
        raise ConfigurationError(
            "the database URL",  # not shown: it may hold a password
            "cannot be read",
            cure="write it as postgresql+psycopg://user@host/name or sqlite:///file.db",
        ) from error
    if url.drivername in {"postgresql", "postgres"}:
        better = url.set(drivername="postgresql+psycopg")
        raise ConfigurationError(
            f"the database URL {url.render_as_string()!r}",
            "names no driver",
            cure=f"write {better.render_as_string()!r}",
        )
    return url


def _engine(url: URL, settings: Settings) -> Engine:
    try:
        # no pre-ping: a lost connection is noticed, and survived, anyway
        return create_engine(url, pool_size=settings.threads + _SPARE_CONNECTIONS)
    except (exc.ArgumentError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            f"the database URL {url.render_as_string()!r}",
            f"cannot be used: {error}",
            cure="use a postgresql+psycopg:// or sqlite:/// URL",
        ) from error


def _bound(factory: "sessionmaker[Any]") -> Engine:
    bind = factory.kw.get("bind")
    if factory.kw.get("binds"):
        problem, cure = (
            "has binds",
            "one step commits on one database: give it one bind",
        )
    elif factory.kw.get("twophase"):
        problem, cure = "has twophase=True", "leave twophase out: one database commits"
    elif not isinstance(bind, Engine):
        problem, cure = "is bound to no Engine", "bind it: sessionmaker(engine)"
    elif not issubclass(factory.class_, Session):
        problem, cure = "makes no Sessions", "use sqlalchemy.orm.sessionmaker"
    else:
        return bind
    raise ConfigurationError("the sessionmaker", problem, cure=cure)


def _never_prepare(connection: Any, _: object) -> None:
    """Keep psycopg from preparing: the server behind a pooler changes under it."""
    connection.prepare_threshold = None
