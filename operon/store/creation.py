"""Whole databases on a server of PostgreSQL's: created for a test, and dropped."""

from collections.abc import Callable

from sqlalchemy import URL
from sqlalchemy import Connection
from sqlalchemy import create_engine
from sqlalchemy import make_url
from sqlalchemy import text

_WITH_STRATEGY = (15,)  # older servers copy files without being told to
_FASTEST = "STRATEGY file_copy"


def create_database(
    server: str | URL, name: str, template: str = "template1", **settings: str
) -> URL:
    """Create the database *name* as a copy of *template*; return its URL.

    Args:
        server: The URL of a database on the same server, as whose user it is done.
        name: It must not exist.
        template: To which nobody may be connected.
        settings: What they are in every session there, such as `lock_timeout`.

    Raises:
        SQLAlchemyError: The server does not do it.
    """

    def create(connection: Connection) -> None:
        version = connection.dialect.server_version_info or ()
        quoted = connection.dialect.identifier_preparer.quote_identifier
        how = _FASTEST if version >= _WITH_STRATEGY else ""
        connection.execute(
            text(f"CREATE DATABASE {quoted(name)} TEMPLATE {quoted(template)} {how}")
        )
        for key, value in settings.items():
            connection.execute(
                text(f"ALTER DATABASE {quoted(name)} SET {key} = '{value}'")
            )

    return _on(server, create).set(database=name)


def drop_database(url: str | URL, server: str | URL) -> None:
    """Drop the database of *url*, whoever is connected to it.

    Args:
        url: It need not exist.
        server: The URL of another database on the same server.

    Raises:
        SQLAlchemyError: The server does not do it.
    """

    def drop(connection: Connection) -> None:
        quoted = connection.dialect.identifier_preparer.quote_identifier
        name = quoted(make_url(url).database or "")
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    _on(server, drop)


def _on(server: str | URL, action: Callable[[Connection], None]) -> URL:
    """Do *action* on *server*, outside of every transaction; return its URL."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            action(connection)
    finally:
        engine.dispose()
    return engine.url
