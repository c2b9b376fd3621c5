"""Retention: removing what is old, batch by batch, on demand or by itself.

Runs that ended long ago, and the answers and keys of requests made long ago.
"""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from datetime import timedelta
from functools import partial
from typing import Self

from operon.config import Settings
from operon.engine.patience import insist
from operon.engine.services import Services
from operon.store import purge
from operon.store import requests
from operon.store import schedules

_BATCH = 500  # runs, or requests, in one transaction
_PAUSE = 3600.0  # seconds between two purges that happen by themselves


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """How long what is kept."""

    runs: timedelta | None
    """From their end; None for ever."""
    answers: timedelta
    """From the request."""
    keys: timedelta
    """From the request, for refusing the key to others."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what *settings* say."""
        return cls(
            runs=settings.retention,
            answers=settings.answer_retention,
            keys=settings.key_retention,
        )


@dataclass(frozen=True)
class Purged:
    """What a purge came to."""

    removed: int
    referenced: int
    """Runs that stay because rows of the application refer to them."""


def purge_all(
    services: Services,
    older_than: timedelta,
    *,
    batch: int = _BATCH,
    progress: Callable[[int, int], None],
) -> Purged:
    """Remove every run that ended longer ago than *older_than*; see `Operon.purge`."""
    clock, patience = services.clock, services.patience
    before, total = insist(clock, patience, partial(_begin, services, older_than))
    removed = referenced = 0
    after: str | None = None
    while True:
        done = insist(clock, patience, partial(_remove, services, before, after, batch))
        if done.last is None:
            return Purged(removed, referenced)
        removed, referenced = removed + done.removed, referenced + done.referenced
        after = done.last
        progress(removed + referenced, max(total, removed + referenced))


def prune_all(services: Services, keeping: Keeping, *, batch: int = _BATCH) -> None:
    """Drop the answers and keys of requests that are older than what is kept."""
    prune = partial(_prune, services, keeping, batch)
    while insist(services.clock, services.patience, prune):
        pass


@dataclass
class Retention:
    """Purges by itself: a batch now and then, so that nothing else waits for it."""

    services: Services
    keeping: Keeping
    _at: float = field(default=float("-inf"))
    _prunes: bool = False
    _before: datetime | None = None
    _after: str | None = None

    def round(self) -> None:
        """Remove one batch of each, if a purge is under way or due."""
        now = self.services.clock.monotonic()
        if self._before is None and not self._prunes and now - self._at >= _PAUSE:
            self._at, self._prunes = now, True
            if self.keeping.runs is not None:
                self._before, _ = _begin(self.services, self.keeping.runs)
        if self._prunes:
            self._prunes = _prune(self.services, self.keeping, _BATCH)
        if self._before is not None:
            done = _remove(self.services, self._before, self._after, _BATCH)
            self._after = done.last
            self._before = None if done.last is None else self._before


def _prune(services: Services, keeping: Keeping, limit: int) -> bool:
    """Prune a batch of requests; tell whether there may be more."""
    database = services.database
    with database.transaction() as connection:
        changed = requests.prune(
            connection,
            database.backend,
            answers=keeping.answers,
            keys=keeping.keys,
            most=limit,
            clock=services.clock,
        )
    return changed >= limit


def _begin(services: Services, older_than: timedelta) -> tuple[datetime, int]:
    """Return which runs are old now, and how many there are."""
    database = services.database
    with database.reading() as connection:
        now = schedules.present(connection, database.backend, services.clock)
        return now - older_than, purge.count(connection, now - older_than)


def _remove(
    services: Services, before: datetime, after: str | None, limit: int
) -> purge.Batch:
    with services.database.transaction() as connection:
        return purge.remove(connection, before, after=after, limit=limit)
