"""Whatever one engine sends to its database, by SQLAlchemy or directly."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import event

from operon.store.direct import Direct
from operon.store.direct import Statement
from operon.store.exchange import Ahead


@dataclass(frozen=True)
class Sent:
    """A statement that is about to be sent, or that was answered."""

    text: str
    commits: bool = False
    """Whether it is a transaction by itself."""
    parameters: Any = None
    driver: Any = None


Told = Callable[[Sent], None]


def _nobody(sent: Sent) -> None:
    del sent


@contextmanager
def watching(engine: Engine, before: Told, after: Told = _nobody) -> Iterator[None]:
    """Tell *before* and *after* of every statement on *engine* within the block."""

    def execute(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        before(Sent(statement))

    def executed(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        after(Sent(statement))

    event.listen(engine, "before_cursor_execute", execute)
    event.listen(engine, "after_cursor_execute", executed)
    try:
        with watching_direct(before, after, lambda each: each is engine.dialect):
            yield
    finally:
        event.remove(engine, "before_cursor_execute", execute)
        event.remove(engine, "after_cursor_execute", executed)


@contextmanager
def watching_direct(
    before: Told, after: Told = _nobody, concerns: Callable[[Any], bool] = bool
) -> Iterator[None]:
    """Tell of what passes SQLAlchemy by, on engines whose dialect is of concern."""
    real = Direct.rows

    def rows(self: Direct, statement: Statement, values: Any) -> Any:
        if not concerns(self.dialect):
            return real(self, statement, values)
        sent = Sent(
            statement.text,
            commits=_is_alone(self),
            parameters=statement.parameters(values),
            driver=self.driver,
        )
        before(sent)
        found = real(self, statement, values)
        after(sent)
        return found

    Direct.rows = rows  # type: ignore[method-assign] # watched
    try:
        yield
    finally:
        Direct.rows = real  # type: ignore[method-assign] # as it was


def _is_alone(way: Direct) -> bool:
    """Whether a statement sent that way is a transaction by itself."""
    if way.dialect.name == "postgresql":
        return way.driver.autocommit or isinstance(way, Ahead)
    return not way.driver.in_transaction
