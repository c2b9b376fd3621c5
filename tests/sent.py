"""Whatever one engine sends to its database, by SQLAlchemy or directly."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import event

from operon.store.direct import Direct


@dataclass(frozen=True)
class Sent:
    """A statement that is about to be sent, or that was answered."""

    text: str
    commits: bool = False
    """Whether it is a transaction by itself, or its last statement with COMMIT."""


@contextmanager
def watching(
    engine: Engine,
    before: Callable[[Sent], None],
    after: Callable[[Sent], None] = lambda _: None,
) -> Iterator[None]:
    """Tell *before* and *after* of every statement on *engine* within the block."""

    def execute(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        before(Sent(statement))

    def executed(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        after(Sent(statement))

    real = Direct.rows

    def rows(self: Direct, statement: Any, values: Any) -> Any:
        if self.dialect is not engine.dialect:
            return real(self, statement, values)
        closing, alone = type(self) is not Direct, _is_alone(self.driver)
        sent = Sent(statement.text + "; COMMIT" * closing, commits=alone)
        before(sent)
        found = real(self, statement, values)
        after(sent)
        return found

    event.listen(engine, "before_cursor_execute", execute)
    event.listen(engine, "after_cursor_execute", executed)
    Direct.rows = rows  # type: ignore[method-assign]
    try:
        yield
    finally:
        Direct.rows = real  # type: ignore[method-assign]
        event.remove(engine, "before_cursor_execute", execute)
        event.remove(engine, "after_cursor_execute", executed)


def _is_alone(driver: Any) -> bool:
    """Whether a statement on *driver* would be a transaction by itself."""
    if hasattr(driver, "autocommit") and hasattr(driver, "pgconn"):
        return bool(driver.autocommit)
    return not driver.in_transaction
