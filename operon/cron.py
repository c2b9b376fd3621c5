"""Cron lines: the ticks they mean, in the time zone they are meant in.

A tick that the clock skips in spring comes right after the gap; one that it repeats
in autumn comes once, as Debian's cron does it. This file knows no database.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from zoneinfo import ZoneInfo
from zoneinfo import ZoneInfoNotFoundError

from cronsim import CronSim
from cronsim import CronSimError

from operon.errors import ConfigurationError

_FIELDS = 5


@dataclass(frozen=True)
class Cron:
    """A cron line in a time zone; every time that goes in or out is aware, in UTC."""

    line: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse a line or zone that is none, or a line without any tick."""
        try:
            if len(self.line.split()) != _FIELDS:  # CronSim takes seconds as well
                raise CronSimError("it has other than five fields")  # noqa: TRY301 - told as its own
            next(CronSim(self.line, datetime.now(self._zone())))
        except (CronSimError, StopIteration, AttributeError, TypeError) as error:
            reason = str(error) or "it has no tick"
            raise ConfigurationError(
                f"the cron line {self.line!r}",
                f"cannot be read: {reason}",
                cure="write five fields, such as '0 9 * * 1-5' for weekdays at nine",
            ) from error

    def next_after(self, moment: datetime) -> datetime:
        """Return the first tick after *moment*."""
        ticks = CronSim(self.line, moment.astimezone(self._zone()))
        return next(ticks).astimezone(UTC)

    def last_until(self, moment: datetime) -> datetime | None:
        """Return the last tick that is not after *moment*; None if there is none."""
        later = self.next_after(moment).astimezone(self._zone())
        for tick in CronSim(self.line, later, reverse=True):
            found = tick.astimezone(UTC)
            if found <= moment:
                return found
        return None

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the ticks after *after* up to and including *until*, in order."""
        for tick in CronSim(self.line, after.astimezone(self._zone())):
            found = tick.astimezone(UTC)
            if found > until:
                return
            yield found

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
            raise ConfigurationError(
                f"the time zone {self.timezone!r}",
                "is not known",
                cure="use an IANA name, such as 'Europe/Paris'; where the system has "
                "none, install the package tzdata",
            ) from error
