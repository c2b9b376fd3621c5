"""The guard of a step's transaction: whoever ends it is refused.

A session class in front of the user's own refuses `commit`, `rollback` and
`close`; listeners on the connection refuse the same from below, and transaction
control sent as text. Savepoints pass.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from typing import NoReturn
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import ExceptionContext
from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

UNIT_OPTION = "operon_unit"
"""Execution option of a step's connection: its unit of work."""

_SUSPECT = re.compile(
    r"\b(?:BEGIN|START|COMMIT|END|ABORT|ROLLBACK|PREPARE)\b", re.IGNORECASE
)
# a lone */ closes a comment within a comment, which PostgreSQL allows
_QUOTED = re.compile(
    r"""\bE'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
        | --[^\n]* | /\*.*?\*/ | \*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_CONTROL = re.compile(
    r"""(?:^|;)\s*(?P<word>BEGIN|START\s+TRANSACTION|COMMIT|END|ABORT
        |ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)|PREPARE\s+TRANSACTION)\b""",
    re.VERBOSE | re.IGNORECASE,
)


def transaction_control(statement: str) -> str | None:
    """Return the words in *statement* that would begin or end a transaction."""
    if _SUSPECT.search(statement) is None:
        return None
    found = _CONTROL.search(_QUOTED.sub(" ", statement))
    return None if found is None else found["word"]


class Unit(Protocol):
    """What the guard tells of a step's transaction, and asks about it."""

    step: str
    ending: bool
    """Whether Operon itself is ending the transaction now."""
    flushing: bool
    touched: bool
    """Whether any statement was sent."""
    rolled_back: bool
    first_error: BaseException | None

    def refuse_unless_ending(self, call: str) -> None:
        """Raise `CommitInStepError` for *call* while the step uses the transaction."""
        ...

    def refuse(self, call: str) -> NoReturn:
        """Raise `CommitInStepError` for *call*, whoever makes it."""
        ...

    def send_record(self, connection: Connection) -> None:
        """Send what belongs right before COMMIT."""
        ...

    def release(self, connection: Connection) -> None:
        """A savepoint is about to be released."""
        ...

    def forgive(self) -> None:
        """A savepoint has undone the latest error."""
        ...

    def notice(self, context: ExceptionContext) -> None:
        """The database has reported an error."""
        ...


class GuardedSession(Session):
    """A session whose transaction belongs to Operon."""

    operon_unit: Unit

    def commit(self) -> None:
        """Refuse: Operon commits when the step returns."""
        self.operon_unit.refuse_unless_ending("session.commit()")
        super().commit()

    def rollback(self) -> None:
        """Refuse: Operon rolls back when the step raises."""
        self.operon_unit.refuse_unless_ending("session.rollback()")
        super().rollback()

    def close(self) -> None:
        """Refuse: Operon closes the session after the step."""
        self.operon_unit.refuse_unless_ending("session.close()")
        super().close()

    def reset(self) -> None:
        """Refuse, as `close`."""
        self.operon_unit.refuse_unless_ending("session.reset()")
        super().reset()

    def invalidate(self) -> None:
        """Refuse, as `close`."""
        self.operon_unit.refuse_unless_ending("session.invalidate()")
        super().invalidate()

    def flush(self, objects: Any = None) -> None:
        """Flush; a rollback meanwhile is SQLAlchemy's own."""
        self.operon_unit.flushing = True
        try:
            super().flush(objects)
        finally:
            self.operon_unit.flushing = False


def guarded(factory: sessionmaker[Any]) -> Callable[..., GuardedSession]:
    """Return a factory of the same sessions as *factory*'s, guarded.

    The user's class, its listeners, `info`, `autoflush` and `expire_on_commit` stay.
    """
    options = {key: value for key, value in factory.kw.items() if key != "bind"}
    cls = type(factory.class_.__name__, (GuardedSession, factory.class_), {})
    return sessionmaker(class_=cls, **options)


def watch(target: Engine | Connection) -> None:
    """Let the units of work on *target* see what happens on their connections."""
    for name, listener in _LISTENERS.items():
        event.listen(target, name, listener)
    if not event.contains(target.dialect, "handle_error", _on_error):
        event.listen(target.dialect, "handle_error", _on_error)


def watch_around(connection: Connection) -> None:
    """Let units of work within the transaction of *connection* see what happens there.

    Whoever tries to end that transaction in a step is refused before SQLAlchemy, which
    would take it for ended.
    """
    watch(connection)
    for name in _ENDINGS:
        setattr(connection, name, partial(_end, connection, name))


def unwatch_around(connection: Connection) -> None:
    """Undo what `watch_around` did."""
    for name in _ENDINGS:
        delattr(connection, name)
    for name, listener in _LISTENERS.items():
        event.remove(connection, name, listener)


_ENDINGS = ("commit", "rollback", "close")


def _end(connection: Connection, name: str) -> None:
    """Call the method *name* of *connection*, unless a step does."""
    unit = _unit(connection)
    if unit is not None:
        unit.refuse(f"connection.{name}()")
    getattr(type(connection), name)(connection)


def _unit(connection: Connection | None) -> Unit | None:
    if connection is None:
        return None
    return connection.get_execution_options().get(UNIT_OPTION)


def _before_execute(connection: Connection, _: Any, statement: str, *__: Any) -> None:
    unit = _unit(connection)
    if unit is None:
        return
    unit.touched = True
    words = transaction_control(statement)
    if words is not None:
        unit.refuse(f"the statement {words.upper()!r}")


def _on_commit(connection: Connection) -> None:
    unit = _unit(connection)
    if unit is not None:
        unit.refuse_unless_ending("commit()")
        unit.send_record(connection)


def _on_rollback(connection: Connection) -> None:
    unit = _unit(connection)
    if unit is None or unit.ending:
        return
    if unit.flushing or unit.first_error is not None:
        unit.rolled_back = True
        return
    unit.refuse_unless_ending("rollback()")


def _on_rollback_savepoint(connection: Connection, *_: Any) -> None:
    unit = _unit(connection)
    if unit is not None:
        unit.forgive()


def _on_release_savepoint(connection: Connection, *_: Any) -> None:
    unit = _unit(connection)
    if unit is not None:
        unit.release(connection)


def _on_error(context: ExceptionContext) -> None:
    unit = _unit(context.connection)
    if unit is not None:
        unit.notice(context)


_LISTENERS: dict[str, Callable[..., None]] = {
    "before_cursor_execute": _before_execute,
    "commit": _on_commit,
    "rollback": _on_rollback,
    "rollback_savepoint": _on_rollback_savepoint,
    "release_savepoint": _on_release_savepoint,
}
