"""The present time, as an expression in a statement."""

from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy import Interval
from sqlalchemy import bindparam
from sqlalchemy import func
from sqlalchemy import type_coerce

from operon.models import UTCDateTime


def told_or_asked(now: datetime | None) -> ColumnElement[datetime]:
    """Return *now* as the parameter `now`; if it is None, the server's clock."""
    if now is None:
        return present(told=False)
    return bindparam("now", now, type_=UTCDateTime())


def present(*, told: bool) -> ColumnElement[datetime]:
    """Return the present time in a statement that is made once and used again.

    Either the server's clock, or the parameter `now`, which `Backend.told` fills.
    """
    if told:
        return bindparam("now", type_=UTCDateTime())
    return func.clock_timestamp(type_=UTCDateTime())


def present_in(parameter: str) -> ColumnElement[datetime]:
    """Return the server's time and the duration that *parameter* holds, likewise."""
    later = func.clock_timestamp() + bindparam(parameter, type_=Interval())
    return type_coerce(later, UTCDateTime())
