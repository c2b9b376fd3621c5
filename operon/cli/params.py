"""How arguments are written that are more than a word or a number.

Durations as `30d`, moments in ISO 8601, limits that may be `none`.
"""

import re
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any

import click

from operon.errors import ConfigurationError
from operon.queue import Rate

_NONE = "none"
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604_800}  # seconds
_DURATION = re.compile(r"(\d+)\s*([a-z]+)", re.ASCII)
_RATE = re.compile(r"(\d+)\s*/\s*(\d+(?:\.\d+)?)", re.ASCII)
_LONGEST = timedelta(days=36_525)
"""A century: moments so long ago are still moments."""


class Duration(click.ParamType[timedelta]):
    """A duration such as `30d`, `12h`, `15min` or `90s`."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the timedelta that *value* spells."""
        if isinstance(value, timedelta):
            return value
        form = _DURATION.fullmatch(str(value).strip().lower())
        if form is None or form[2] not in _UNITS:
            self.fail(f"{value!r} is no duration; write 30d, 12h or 90s", param, ctx)
        seconds = int(form[1]) * _UNITS[form[2]]
        if seconds > _LONGEST.total_seconds():
            self.fail(f"{value!r} is longer than a century", param, ctx)
        return timedelta(seconds=seconds)


class Moment(click.ParamType[datetime]):
    """A moment in ISO 8601; without an offset it is in UTC, as all answers are."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the aware time that *value* spells."""
        try:
            at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            form = "2030-05-06 or 2030-05-06T12:00:00+02:00"
            self.fail(f"{value!r} is no time; write it as {form}", param, ctx)


class Limit(click.ParamType[int | None]):
    """A whole number from 1, or `none` for no limit."""

    name = "N|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Return the limit that *value* spells; None is without limit."""
        text = str(value).strip()
        if text.lower() == _NONE:
            return None
        if not text.isdecimal() or int(text) < 1:
            problem = f"{value!r} is no limit; write a whole number from 1, or none"
            self.fail(problem, param, ctx)
        return int(text)


class RateLimit(click.ParamType[Rate | None]):
    """How many runs may begin in how many seconds, or `none` for no limit."""

    name = "N/SECONDS|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rate | None:
        """Return the rate that *value* spells; None is without limit."""
        if isinstance(value, Rate):
            return value
        text = str(value).strip()
        if text.lower() == _NONE:
            return None
        form = _RATE.fullmatch(text)
        problem = f"{value!r} is no rate; write N/SECONDS, such as 100/60, or none"
        if form is None:
            self.fail(problem, param, ctx)
        try:
            return Rate(int(form[1]), timedelta(seconds=float(form[2])))
        except (ConfigurationError, OverflowError):
            self.fail(problem, param, ctx)


def rate_words(rate: Rate | None) -> str | None:
    """Return *rate* as it is written on the command line."""
    if rate is None:
        return None
    return f"{rate.limit}/{rate.period.total_seconds():g}"
