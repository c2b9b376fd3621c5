"""Retention: removing what ended long ago, batch by batch, on demand or by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from datetime import timedelta
from functools import partial

from operon.engine.patience import insist
from operon.engine.services import Services
from operon.store import purge
from operon.store import schedules

_BATCH = 500  # runs in one transaction
_PAUSE = 3600.0  # seconds between two purges that happen by themselves


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


@dataclass
class Retention:
    """Purges by itself: a batch now and then, so that nothing else waits for it."""

    services: Services
    keep: timedelta | None
    """How long ended runs are kept; None for ever."""
    _at: float = field(default=float("-inf"))
    _before: datetime | None = None
    _after: str | None = None

    def round(self) -> None:
        """Remove one batch, if a purge is under way or due."""
        if self.keep is None:
            return
        now = self.services.clock.monotonic()
        if self._before is None:
            if now - self._at < _PAUSE:
                return
            self._at = now
            self._before, _ = _begin(self.services, self.keep)
        done = _remove(self.services, self._before, self._after, _BATCH)
        self._after = done.last
        if done.last is None:
            self._before = None


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
