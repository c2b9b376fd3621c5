"""Where an issuer's keys are found: given once, or fetched and kept for a while."""

import logging
import math
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Protocol

from operon.clock import Clock
from operon.flask.tokens.keys import KeyName
from operon.flask.tokens.keys import Keys
from operon.flask.tokens.refusals import KeysUnavailable
from operon.flask.tokens.signature import PreparedKey

_logger = logging.getLogger("operon.tokens")

FRESH = 600.0  # seconds for which keys are used without asking again
STALE = 86_400.0  # seconds after which keys that could not be renewed are not used
PAUSE = 30.0  # seconds between two fetches, whoever asks for what
HURRIED_PAUSE = 5.0  # the same while there are no keys to go on with
_PATIENCE = 5.0  # seconds for which a request waits for a fetch that is under way
_LOST = 15.0  # seconds after which a fetch is given up, and another may begin


class KeySet(Protocol):
    """Finds the key that a token names."""

    def find(self, name: KeyName) -> PreparedKey | None:
        """Return the issuer's key of exactly *name*, or None.

        Raises:
            KeysUnavailable: Nobody can say now.
        """
        ...


@dataclass(frozen=True)
class FixedKeys:
    """Keys that were configured, and stay what they are."""

    keys: Keys

    def find(self, name: KeyName) -> PreparedKey | None:
        """Return the key of exactly *name*, or None."""
        return self.keys.usable.get(name)


@dataclass(frozen=True)
class _Kept:
    keys: Keys
    since: float


@dataclass
class _Fetch:
    """A fetch under way, in a thread of its own, for all who wait for it."""

    began: float
    done: threading.Event = field(default_factory=threading.Event)


class FetchedKeys:
    """Keys that are fetched when first needed, and again before they are too old.

    Every fetch has a thread of its own, so that a request waits for at most 5 s
    whatever the other side does, and no more than one is under way. Requests whose key
    is known wait for nothing. Nothing is opened, started or locked before `find`.
    """

    def __init__(self, name: str, fetch: Callable[[], Keys], clock: Clock) -> None:
        """Keep what *fetch* returns; *name* is the issuer's, for the log."""
        self._name = name
        self._fetch = fetch
        self._clock = clock
        self._kept: _Kept | None = None
        self.renew()
        _fetched_keys.add(self)

    def renew(self) -> None:
        """Forget what only threads of the process before a fork could end."""
        self._lock = threading.Lock()
        self._under_way: _Fetch | None = None
        self._tried = -math.inf

    def find(self, name: KeyName) -> PreparedKey | None:
        """Return the issuer's key of exactly *name*, or None.

        Keys older than 10 min are renewed in the background; an unknown *name* makes
        the request wait for newer ones, at most every 30 s.

        Raises:
            KeysUnavailable: They cannot be fetched, and were not for 24 h.
        """
        found = self._known(name)
        if found is not None:
            if self._age() > FRESH:
                self._begin()
            return found
        under_way = self._begin()
        if under_way is not None:
            under_way.done.wait(_PATIENCE)
            found = self._known(name)
        if found is None and self._age() > STALE:
            raise KeysUnavailable(self._seconds_left())
        return found

    def _known(self, name: KeyName) -> PreparedKey | None:
        kept = self._kept
        if kept is None or self._age() > STALE:
            return None
        return kept.keys.usable.get(name)

    def _age(self) -> float:
        kept = self._kept
        return math.inf if kept is None else self._clock.monotonic() - kept.since

    def _pause(self) -> float:
        return HURRIED_PAUSE if self._age() > STALE else PAUSE

    def _seconds_left(self) -> int:
        """Return whole seconds until the next fetch may begin, at least 1."""
        left = self._tried + self._pause() - self._clock.monotonic()
        return max(1, math.ceil(left))

    def _begin(self) -> _Fetch | None:
        """Return the fetch under way, or a new one, or None if it is too early."""
        now = self._clock.monotonic()
        with self._lock:
            under_way = self._under_way
            if under_way is not None and now - under_way.began < _LOST:
                return under_way
            if now - self._tried < self._pause():
                return None
            self._tried = now
            begun = self._under_way = _Fetch(now)
        self._start(begun)
        return begun

    def _start(self, begun: _Fetch) -> None:
        thread = threading.Thread(
            target=self._run, args=(begun,), name="operon-keys", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the process ends, or has too many threads
            _logger.warning("no thread for the keys of %r can be started", self._name)
            self._end(begun, None)

    def _run(self, begun: _Fetch) -> None:
        keys = None
        try:
            keys = self._fetch()
            for problem in keys.refused:
                _logger.warning("issuer %r: %s; it is not used", self._name, problem)
        except Exception as error:  # noqa: BLE001 - the keys known so far are still good
            _logger.warning("the keys of %r are not fetched: %s", self._name, error)
        finally:
            self._end(begun, keys)

    def _end(self, begun: _Fetch, keys: Keys | None) -> None:
        """Let what *begun* brought be used, unless it was given up meanwhile."""
        with self._lock:
            if self._under_way is begun:
                self._under_way = None
                if keys is not None:
                    self._kept = _Kept(keys, begun.began)
        begun.done.set()


_fetched_keys: weakref.WeakSet[FetchedKeys] = weakref.WeakSet()


def _renew_all() -> None:
    for each in list(_fetched_keys):
        each.renew()


os.register_at_fork(after_in_child=_renew_all)
