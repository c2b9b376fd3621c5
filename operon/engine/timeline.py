"""The time of one run: what the database's clock says, and what its body knows."""

from datetime import datetime
from datetime import timedelta

from operon.clock import Clock


class Timeline:
    """Tells the time by the database's clock, without asking it again.

    It was told the time once, when the run was written or claimed; since then this
    process's monotonic clock has counted. So executors need not agree on the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: datetime | None = None
        self._at = 0.0
        self._known: datetime | None = None

    def begin(
        self, created_at: datetime, *, now: datetime, since: float | None = None
    ) -> None:
        """Take over when the run was created, and what time the database has *now*.

        It said so *since*, by the monotonic clock, if that is some time ago.
        """
        self._told = now
        self._at = self._clock.monotonic() if since is None else since
        if self._known is None:
            self._known = created_at

    def now(self) -> datetime:
        """Return the present time, as the database tells it."""
        turned = self._clock.database_time()
        if turned is not None:
            return turned
        if self._told is None:
            return self._clock.now()
        return self._told + timedelta(seconds=self._clock.monotonic() - self._at)

    def notice(self, at: datetime | None) -> None:
        """Note that the body was given something that was recorded *at* this time."""
        if at is not None and (self._known is None or at > self._known):
            self._known = at

    def forget_since(self, known: datetime | None) -> None:
        """Go back to what was *known*: the body is told the rest later."""
        self._known = known

    @property
    def known(self) -> datetime | None:
        """The latest time the body can know of, the same on every replay.

        None if nothing of the run was written yet.
        """
        return self._known
