"""Times and durations in the words of a sentence."""

from datetime import datetime
from datetime import timedelta

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))  # seconds each


def moment(at: datetime, *, now: datetime) -> str:
    """Return when *at* was, without the day if that is today's."""
    form = "%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return at.strftime(form)


def span(duration: timedelta) -> str:
    """Return *duration* in its largest unit, such as `2 min`; never less than 0 s."""
    seconds = max(0.0, duration.total_seconds())
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds * 1000)} ms" if seconds else "0 s"


def count(number: int, noun: str) -> str:
    """Return *number* and *noun*, which gets an s unless there is exactly one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
