"""Gauges: how things stand whenever metrics are collected."""

import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions
from opentelemetry.metrics import Meter
from opentelemetry.metrics import Observation

from operon import hooks
from operon.hooks import Source
from operon.telemetry import names

Sources = weakref.WeakSet[Any]
"""Whom to ask, as long as they are there; each is a `Source`."""

_FRESH = 5.0  # seconds for which what the database said of the queues is told again


def observe(meter: Meter, sources: Sources) -> None:
    """Make the instruments of *meter* that ask *sources*."""
    gauges = _Gauges(sources)
    for name, unit, read in (
        ("operon.queue.depth", "{run}", gauges.depth),
        ("operon.queue.oldest_age", "s", gauges.oldest),
        ("operon.executor.slots", "{slot}", gauges.slots),
        ("operon.executor.heartbeat_age", "s", gauges.silence),
    ):
        meter.create_observable_gauge(name, [read], unit)


class _Gauges:
    """Asks all sources how things stand, when metrics are collected."""

    def __init__(self, sources: Sources) -> None:
        self._all = sources
        self._mutex = threading.Lock()
        self._read: tuple[float, list[hooks.QueueState]] = float("-inf"), []

    def depth(self, _: CallbackOptions) -> Iterator[Observation]:
        for state in self._queues():
            yield Observation(state.due, {names.QUEUE_NAME: state.name})

    def oldest(self, _: CallbackOptions) -> Iterator[Observation]:
        for state in self._queues():
            yield Observation(state.oldest, {names.QUEUE_NAME: state.name})

    def slots(self, _: CallbackOptions) -> Iterator[Observation]:
        for source in self._sources():
            busy, free = source.slots()
            yield Observation(busy, {names.SLOT_STATE: "busy"})
            yield Observation(free, {names.SLOT_STATE: "free"})

    def silence(self, _: CallbackOptions) -> Iterator[Observation]:
        for source in self._sources():
            silence = source.silence()
            if silence is not None:
                yield Observation(silence)

    def _sources(self) -> Iterable[Source]:
        return list(self._all)

    def _queues(self) -> list[hooks.QueueState]:
        """Return what the database says, asked once for all that is collected now."""
        with self._mutex:
            at, found = self._read
            if time.monotonic() - at > _FRESH:
                found = [each for one in self._sources() for each in _of(one.queues)]
                self._read = time.monotonic(), found
            return found


def _of(read: Callable[[], Iterable[hooks.QueueState]]) -> Iterable[hooks.QueueState]:
    try:
        return read()
    except Exception:  # noqa: BLE001 - a database that is away has no backlog to tell
        return []
