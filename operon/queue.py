"""Queues as a program declares them: their names and limits, nothing of a database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from operon.errors import ConfigurationError

DEFAULT_QUEUE = "default"
"""Where runs wait whose starter names no queue; it has no limits."""
MOST_URGENT = 0
LEAST_URGENT = 32_767
"""Priorities; the smaller is claimed first."""


@dataclass(frozen=True)
class Rate:
    """How many runs may begin within a time."""

    limit: int
    """At most so many first claims …"""
    period: timedelta
    """… within any span of this length."""

    def __post_init__(self) -> None:
        """Refuse a rate that nothing can keep."""
        _refuse_unless(_is_count(self.limit), "Rate(limit=…)", self.limit)
        _refuse_unless(_is_period(self.period), "Rate(period=…)", self.period)


@dataclass(frozen=True)
class Queue:
    """A queue and its limits, which hold across all executors.

    Limits are stored when a process is launched and can be edited from then on; a
    later launch overwrites the edits only if the program itself says something new.
    """

    name: str
    concurrency: int | None = None
    """How many of its runs execute at once; None is without limit."""
    per_executor: int | None = None
    """How many of them on one executor; None is without limit."""
    rate: Rate | None = None
    """How many begin within a time; None is without limit."""
    partitioned: bool = False
    """Whether the limits hold for each partition, which every start then names."""

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep."""
        checked_queue_name(self.name)
        for name in ("concurrency", "per_executor"):
            value = getattr(self, name)
            holds = value is None or _is_count(value)
            _refuse_unless(holds, f"Queue({self.name!r}, {name}=…)", value)
        _refuse_unless(_is_rate(self.rate), f"Queue({self.name!r}, rate=…)", self.rate)
        if self.name == DEFAULT_QUEUE and (self.is_limited or self.partitioned):
            raise ConfigurationError(
                f"Queue({self.name!r})",
                "has limits, but runs that `run` began and another process recovers "
                "wait there too",
                cure="give the limits to a queue with another name",
            )

    @property
    def is_limited(self) -> bool:
        """Whether it has any limit."""
        return (self.concurrency, self.per_executor, self.rate) != (None, None, None)

    @property
    def as_declared(self) -> Mapping[str, Any]:
        """What the program says of it, as plain JSON values."""
        rate = self.rate
        return {
            "concurrency": self.concurrency,
            "per_executor": self.per_executor,
            "rate": None if rate is None else [rate.limit, rate.period.total_seconds()],
            "partitioned": self.partitioned,
        }


def as_queue(named: "str | Queue") -> Queue:
    """Return the queue that *named* is, without limits if it is only a name."""
    return named if isinstance(named, Queue) else Queue(named)


def checked_queue_name(name: object) -> str:
    """Return *name* if a queue can have it.

    Raises:
        ConfigurationError: It is no text of printable characters.
    """
    if isinstance(name, str) and name.strip() and name.isprintable():
        return name
    raise ConfigurationError(
        f"the queue name {name!r}",
        "cannot work",
        cure="use text of printable characters",
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_period(value: object) -> bool:
    return isinstance(value, timedelta) and value > timedelta(0)


def _is_rate(value: object) -> bool:
    return value is None or isinstance(value, Rate)


def _refuse_unless(holds: bool, setting: str, value: object) -> None:  # noqa: FBT001 - a condition reads best first
    if not holds:
        raise ConfigurationError(
            f"{setting.replace('…', repr(value))}",
            "cannot work",
            cure="use a whole number from 1, a Rate(limit, period) of a positive "
            "period, or None",
        )
