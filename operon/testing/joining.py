"""Sessions of the application, joined to the transaction of a test.

Whatever makes the application's sessions (a sessionmaker, a scoped session, that of
Flask-SQLAlchemy) makes them on the test's connection meanwhile, as savepoints.

Source:
    SQLAlchemy, "Joining a Session into an External Transaction".
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm import sessionmaker

from operon.errors import MisuseError

Sessions = sessionmaker[Any] | scoped_session[Any]


@contextmanager
def joined(sessions: Sessions, connection: Connection) -> Generator[None, None, None]:
    """Let *sessions* work on *connection* within the block; commits are savepoints.

    Raises:
        MisuseError: It makes no sessions.
    """
    factory = _factory(sessions)
    before_class, before = factory.class_, dict(factory.kw)

    def get_bind(self: Any, *args: Any, **kwargs: Any) -> Connection:
        del self, args, kwargs  # whatever is asked for is there
        return connection

    _remove(sessions)
    factory.class_ = type(
        before_class.__name__, (before_class,), {"get_bind": get_bind}
    )
    factory.kw["join_transaction_mode"] = "create_savepoint"
    try:
        yield
    finally:
        _remove(sessions)
        factory.class_ = before_class
        factory.kw.clear()
        factory.kw.update(before)


def _factory(sessions: Any) -> "sessionmaker[Any]":
    found = getattr(sessions, "session_factory", sessions)
    if isinstance(found, sessionmaker):
        return found  # pyright: ignore[reportUnknownVariableType]  # of whatever it is
    raise MisuseError(
        f"{sessions!r}",
        "makes no sessions",
        cure="give a sessionmaker or a scoped_session, such as db.session",
    )


def _remove(sessions: Sessions) -> None:
    """Forget the session that a registry keeps: it is on another connection."""
    if isinstance(sessions, scoped_session):
        registry: Any = sessions.registry
        try:
            is_kept = registry.has()
        except RuntimeError:  # Flask-SQLAlchemy's scope, outside of an application
            return
        if is_kept:
            sessions.remove()
