"""Arguments of calls, checked at the call: texts, durations, moments."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

from operon.errors import MisuseError

_LONGEST = 255  # characters of a name, as of a run's id


def checked_text(called: str, name: str, value: object) -> str:
    """Return *value* if it can name something.

    Raises:
        MisuseError: It is no text of 1 to 255 printable characters.
    """
    if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable():
        return value
    raise MisuseError(
        called,
        f"was given {name}={value!r}",
        cure=f"use text of 1 to {_LONGEST} printable characters",
    )


def checked_duration(called: str, name: str, value: object) -> timedelta:
    """Return *value* if it is a timedelta of zero or longer.

    Raises:
        MisuseError: It is not.
    """
    if isinstance(value, timedelta) and value >= timedelta(0):
        return value
    raise MisuseError(
        called,
        f"was given {name}={value!r}",
        cure="use a timedelta that is not negative",
    )


def checked_timeout(called: str, value: object) -> timedelta | None:
    """Return *value* if it is None or a timedelta of zero or longer.

    Raises:
        MisuseError: It is neither.
    """
    return None if value is None else checked_duration(called, "timeout", value)


def checked_moment(called: str, value: object) -> datetime:
    """Return *value* in UTC if it is an aware datetime.

    Raises:
        MisuseError: It is not.
    """
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return value.astimezone(UTC)
    raise MisuseError(
        called,
        f"was given {value!r}",
        cure="use a datetime with a time zone, such as datetime.now(UTC)",
    )
