"""What can go wrong on the wire, at one command: `tests.wire` makes it happen."""

import re
import threading
from collections.abc import Callable
from typing import Protocol

PATIENCE = 60.0  # seconds that a hold waits for a verdict

#: A predicate on SQL, or the beginning of it as a regular expression, in any case.
Pattern = str | Callable[[str], bool]


class Link(Protocol):
    """A connection as a fault sees it."""

    def sever(self) -> None:
        """Cut both sides."""

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until *condition* holds or *timeout* ends; raises if cut meanwhile."""


class CutError(ConnectionAbortedError):
    """The connection was cut on cue; ends the thread that serves it."""


class Fault:
    """Something that goes wrong once, at a command that matches.

    `happened` is set when it did. `answer` is then what the server said to the
    command, if it got it: the command tag or the SQLSTATE of its error.
    """

    def __init__(self, changed: threading.Condition, pattern: Pattern) -> None:
        self.happened = threading.Event()
        self.sql: str | None = None
        self.answer: str | None = None
        self._changed = changed
        self._matches = _predicate(pattern)
        self._used = False

    def take(self, sql: str) -> bool:
        """Whether this is the command to strike; if so, strike no other."""
        if self._used or not self._matches(sql):
            return False
        self._used, self.sql = True, sql
        return True

    def spare(self) -> None:
        """Wait for another command: the server skipped the one that matched."""
        self._used, self.sql = False, None

    def strike(self, link: Link) -> None:
        """Cut *link*; called by the thread that serves it.

        Raises:
            CutError: Always.
        """
        self.happened.set()  # first, so that a client who sees the cut sees this
        link.sever()
        raise CutError


class Hold(Fault):
    """Messages kept back until they are released or their connection is cut.

    A hold that is forgotten cuts after `PATIENCE`, so that no test hangs.
    """

    def __init__(self, changed: threading.Condition, pattern: Pattern) -> None:
        super().__init__(changed, pattern)
        self._verdict: str | None = None

    def release(self) -> None:
        """Let the messages go on, also those that are still to be caught."""
        self._decide("release")

    def cut(self) -> None:
        """Cut the connection; the messages are lost."""
        self._decide("cut")

    def _decide(self, verdict: str) -> None:
        with self._changed:
            self._verdict = verdict
            self._changed.notify_all()

    def strike(self, link: Link) -> None:
        """Block the serving thread until there is a verdict.

        Raises:
            CutError: The verdict was to cut, or *link* was cut meanwhile.
        """
        self.happened.set()
        link.wait(lambda: self._verdict is not None, PATIENCE)
        if self._verdict != "release":
            link.sever()
            raise CutError


def _predicate(pattern: Pattern) -> Callable[[str], bool]:
    """Turn *pattern* into a predicate on SQL."""
    if not isinstance(pattern, str):
        return pattern
    beginning = re.compile(rf"\s*(?:{pattern})", re.IGNORECASE | re.DOTALL)
    return lambda sql: beginning.match(sql) is not None
