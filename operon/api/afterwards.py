"""Doing something once a session's transaction has ended: telling, never writing."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.orm import SessionTransaction

_KEY = "operon_afterwards"


def after_commit(session: Session, action: Callable[[], Any]) -> None:
    """Call *action* when the outermost transaction of *session* has ended.

    Also when it was rolled back: whoever is told only looks, and finds nothing.
    """
    waiting: list[Callable[[], Any]] | None = session.info.get(_KEY)
    if waiting is None:
        waiting = session.info[_KEY] = []
        event.listen(session, "after_transaction_end", _after_transaction_end)
    waiting.append(action)


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    waiting: list[Callable[[], Any]] = session.info.get(_KEY, [])
    actions, waiting[:] = list(waiting), []
    for action in actions:
        action()
