"""How often, and how long apart, an operation is tried again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from operon.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A policy: how many attempts, the waits between them, and after which errors."""

    attempts: int = 1
    """How often the operation is tried in all, from 1."""
    delay: timedelta = timedelta(seconds=1)
    """The wait after the first failed attempt."""
    factor: float = 2.0
    """By how much each further wait is longer than the one before, from 1."""
    cap: timedelta = timedelta(seconds=60)
    """No wait is longer than this, jitter aside."""
    jitter: float = 0.1
    """Each wait is longer or shorter by up to this share of itself, from 0 to 1."""
    retry_on: tuple[type[Exception], ...] = (Exception,)
    """Only after these errors is there another attempt."""

    def __post_init__(self) -> None:
        """Refuse a policy that cannot be followed."""
        rules = (
            (self.attempts >= 1, "attempts", "must be at least 1"),
            (self.delay >= timedelta(0), "delay", "must not be negative"),
            (self.factor >= 1, "factor", "must be at least 1"),
            (self.cap >= timedelta(0), "cap", "must not be negative"),
            (0 <= self.jitter <= 1, "jitter", "must lie between 0 and 1"),
            (_are_errors(self.retry_on), "retry_on", "must be Exception classes"),
        )
        for holds, field, rule in rules:
            if not holds:
                raise ConfigurationError(
                    f"Retry({field}={getattr(self, field)!r})",
                    f"is impossible: {field} {rule}",
                    cure=f"give {field} a value that fits",
                )

    def allows(self, error: Exception, attempt: int) -> bool:
        """Tell whether another attempt follows *attempt*, which ended in *error*."""
        return attempt < self.attempts and isinstance(error, self.retry_on)

    def wait_after(
        self,
        attempt: int,
        *,
        uniform: Callable[[float, float], float] = random.uniform,  # noqa: S311 - jitter
    ) -> timedelta:
        """Return how long to wait after *attempt* (from 1) failed."""
        seconds = min(
            self.cap.total_seconds(),
            self.delay.total_seconds() * self.factor ** min(attempt - 1, 64),
        )
        return timedelta(seconds=seconds * (1 + uniform(-self.jitter, self.jitter)))


def _are_errors(classes: object) -> bool:
    """Tell whether *classes* is a tuple of subclasses of Exception."""
    return isinstance(classes, tuple) and all(
        isinstance(each, type) and issubclass(each, Exception)
        for each in cast("tuple[object, ...]", classes)
    )


ONCE = Retry()
"""One attempt."""
