"""The keeper: brings runs to threads, and leaves none behind.

One thread per process. It claims what is due and what other executors left, looks
after runs that the database says are here and are not, and makes sure that no
finish can be forgotten by a crash of the server.
"""

import logging
import random
import threading
from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from functools import partial

from sqlalchemy import exc

from operon import registry
from operon.engine.record import timed_out
from operon.engine.services import Services
from operon.executor.heartbeat import Heartbeat
from operon.executor.planner import Planner
from operon.executor.retention import Retention
from operon.executor.workers import Workers
from operon.store import claims
from operon.store import deadlines
from operon.store import executors
from operon.store import orphans
from operon.store import waits
from operon.store.glance import ToDo
from operon.store.glance import glance
from operon.store.limited import Place
from operon.store.limited import claim_limited

_logger = logging.getLogger("operon.executor")

_BUSY_POLL = 0.02  # seconds between claims while there is work
_IDLE_POLL = 1.0  # seconds between claims when there was none for a while
_RESERVE_POLL = 0.25  # seconds between looks at runs that wait for a thread here
_HELD = 0.25  # seconds in which a place that gave nothing is not asked again
_MOST_PLACES = 32  # queues and partitions with limits asked in one round
_THOROUGH = 0.8  # seconds between two looks at every run that waits for another


@dataclass
class Keeper:
    """Claims runs and lets workers execute them, from `start` to `stop`."""

    services: Services
    heartbeat: Heartbeat
    workers: Workers
    planner: Planner
    retention: Retention
    queues: Collection[str]
    """What is claimed from; empty: claim nothing, only look after what is here."""
    is_thorough: bool = False
    """Whether every look is at everything."""
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _woken: threading.Event = field(default_factory=threading.Event)
    _stopped: bool = False
    _thread: threading.Thread | None = None
    _confirmed_at: float = 0.0
    _happened: set[str] = field(default_factory=set[str])
    _backlog: bool = False
    """Whether there may be more than could be claimed."""
    _due: Collection[str] = ()
    """Queues without limits where runs were due at the last look."""
    _places: Collection[Place] = ()
    """Queues and partitions with limits where they were."""
    _held_until: dict[Place, float] = field(default_factory=dict[Place, float])
    """Until when those of them are not asked again that gave nothing."""
    _limited_first: bool = False
    _looked_at: float = float("-inf")

    def __post_init__(self) -> None:
        """Listen to the workers."""
        self.workers.on_end = self._one_has_ended

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(
            target=self._go_on, name="operon-keeper", daemon=True
        )
        self._thread.start()

    def wake(self) -> None:
        """Look for work now: some was just started."""
        self._woken.set()

    def hear(self, on: Collection[str]) -> None:
        """Look for work now: something happened at the addresses *on*."""
        with self._mutex:
            self._happened.update(on)
        self.wake()

    def stop(self, timeout: timedelta) -> bool:
        """Stop claiming; return whether every run had stopped within *timeout*."""
        self._stopped = True
        self.workers.stop()
        self.wake()
        deadline = self.services.clock.monotonic() + timeout.total_seconds()
        if self._thread is not None:
            self._thread.join(timeout.total_seconds())
        while self.workers.busy and self.services.clock.monotonic() < deadline:
            self._woken.clear()
            self.services.clock.wait(self._woken, 0.05)
        return self.workers.busy == 0

    def _go_on(self) -> None:
        pause = _BUSY_POLL
        while not self._stopped:
            found = self._round()
            pause = _BUSY_POLL if found else min(pause * 2, self._longest_pause())
            # jitter keeps executors that started together from colliding for ever
            self.services.clock.wait(self._woken, pause * random.uniform(0.75, 1))  # noqa: S311 - jitter, no secret
            if self._woken.is_set():
                self._woken.clear()
                pause = _BUSY_POLL

    def _longest_pause(self) -> float:
        return _RESERVE_POLL if self.workers.have_reserve else _IDLE_POLL

    def _round(self) -> int:
        """Do everything once; return how many runs were found to work on."""
        found = 0
        try:
            found = self.look()
            self._confirm_finishes()
        except exc.SQLAlchemyError as error:
            _logger.warning("claiming failed: %s", error)
        except Exception:
            _logger.exception("claiming failed")
        return found

    def look(self) -> int:
        """Look for work, and bring it to threads; return how much was found."""
        self.workers.measure()
        self.workers.give_back()
        found = self._adopt_strays()
        found += self._claim_orphans()
        if self.queues and self._may_look(found):
            found += self._look_around()
            self.retention.round()
        return found

    @property
    def is_held_back(self) -> bool:
        """Whether, at the last look, runs were due in queues that have limits."""
        return bool(self._places)

    def _one_has_ended(self, *, worthwhile: bool) -> None:
        """Claim again if there is more than there was room for."""
        self._held_until.clear()  # its slot may be another's now
        if self._stopped or (self._backlog and worthwhile):
            self.wake()

    def _may_look(self, found: int) -> bool:
        """Whether there is a thread for what else there is, or it is time to see."""
        return not (found and self.workers.is_crowded()) or self._is_time_to_look()

    def _look_around(self) -> int:
        """See what there is to do, and do it; return how much it was."""
        with self._mutex:
            happened, self._happened = self._happened, set()
        woken = self._wake(on=happened)
        if woken or self._backlog:  # there is something: no need to look for it
            found = self._claim({*woken, *self._due}, self._places)
            if found:
                return found
        if self.workers.is_crowded() and not self._is_time_to_look():
            self._backlog = True  # whatever there is has to wait for a thread
            return 0
        to_do = self._glance()
        self._enforce(to_do.overdue)
        done = len(to_do.overdue) + self.planner.fire(to_do.schedules)
        self._due, self._places = to_do.due, to_do.places
        due = {*to_do.due, *self._wake(to_do.over)}
        return self._claim(due, to_do.places) + done

    def _glance(self) -> ToDo:
        """Look what there is to do; at everything once in a while."""
        services = self.services
        thoroughly = self._is_time_to_look()
        if thoroughly:
            self._looked_at = services.clock.monotonic()
        with services.database.reading() as connection:
            return glance(
                connection,
                services.database.backend,
                known=registry.known(),
                queues=self.queues,
                clock=services.clock,
                thoroughly=thoroughly,
            )

    def _is_time_to_look(self) -> bool:
        """Whether everything has not been looked at for a while."""
        since = self.services.clock.monotonic() - self._looked_at
        return self.is_thorough or since >= _THOROUGH

    def _wake(
        self, runs: Collection[str] = (), *, on: Collection[str] = ()
    ) -> Collection[str]:
        """Enqueue waiting runs whose wait is over; return their queues."""
        if not runs and not on:
            return ()
        services = self.services
        with services.database.transaction() as connection:
            woken = waits.wake(
                connection,
                services.database.backend,
                clock=services.clock,
                runs=runs,
                on=on,
            )
        return set(woken.values()).intersection(self.queues)

    def _enforce(self, overdue: Collection[str]) -> None:
        """Tell runs to end whose deadline has passed."""
        if not overdue:
            return
        services = self.services
        with services.database.transaction() as connection:
            deadlines.enforce(
                connection,
                services.database.backend,
                overdue,
                reason=partial(timed_out, payloads=services.payloads),
                clock=services.clock,
            )
        for run in services.active.each():
            run.interrupt()

    def _claim(self, queues: Collection[str], places: Collection[Place]) -> int:
        """Claim what is due in *queues* and *places*; return how much it was."""
        room = self.workers.room
        now = self.services.clock.monotonic()
        asked = [each for each in places if self._held_until.get(each, now) <= now]
        some = random.sample(asked, min(len(asked), _MOST_PLACES))
        self._limited_first = not self._limited_first  # neither keeps the other waiting
        found = 0 if self._limited_first else self._claim_due(queues)
        found += sum(self._claim_at(place) for place in some)
        found += self._claim_due(queues) if self._limited_first else 0
        # whether more is left is seen when a thread is free again
        self._backlog = bool(places) or found >= room
        return found

    def _claim_due(self, queues: Collection[str]) -> int:
        room = self.workers.room
        known = registry.known()
        if room <= 0 or not known or not queues:
            return 0
        services = self.services
        shuffled = random.sample(sorted(queues), len(queues))
        with services.database.transaction() as connection:
            claimed = claims.claim_due(
                connection,
                services.database.backend,
                services.executor,
                known=known,
                queues=shuffled,
                limit=room,
                clock=services.clock,
            )
        return self.workers.employ(claimed)

    def _claim_at(self, place: Place) -> int:
        """Claim from a queue that has limits, or from one partition of it."""
        free = self.workers.free
        if free <= 0:
            return 0
        services = self.services
        with services.database.transaction() as connection:
            claimed = claim_limited(
                connection,
                services.database.backend,
                services.executor,
                place,
                known=registry.known(),
                limit=free,
                clock=services.clock,
            )
        if not claimed:  # its limits, or somebody else's claim, keep it back
            self._held_until[place] = services.clock.monotonic() + _HELD
        return self.workers.employ(claimed)

    def _claim_orphans(self) -> int:
        services = self.services
        gone = self.heartbeat.peers.gone()
        room = self.workers.room
        known = registry.known()
        if not gone or not self.queues or room <= 0 or not known:
            return 0
        backend = services.database.backend
        with services.database.transaction() as connection:
            claimed = orphans.claim_orphans(
                connection,
                backend,
                services.executor,
                gone=gone,
                known=known,
                limit=room,
                clock=services.clock,
            )
            if not claimed:
                executors.forget_idle(connection, gone)
        if claimed:
            ids = ", ".join(repr(each.id) for each in claimed)
            _logger.warning("%d runs are taken over: %s", len(claimed), ids)
        return self.workers.employ(claimed)

    def _adopt_strays(self) -> int:
        """Continue, finish or release the runs that are here only by their rows."""
        strays, self.heartbeat.strays = self.heartbeat.strays, {}
        unconfirmed = self.services.finisher.unconfirmed()
        found = 0
        for run_id in strays:
            if run_id in unconfirmed:
                self.services.finisher.finish(unconfirmed[run_id])
            elif run_id not in self.services.active:
                found += self._adopt(run_id)
        return found

    def _adopt(self, run_id: str) -> int:
        services = self.services
        backend = services.database.backend
        with services.database.transaction() as connection:
            claimed = claims.claim_again(
                connection, backend, services.executor, run_id, clock=services.clock
            )
            employable = bool(self.queues) and not self.workers.is_crowded()
            if claimed is not None and not employable:
                claims.release(connection, backend, claimed.lease, clock=services.clock)
        if claimed is None or not employable:
            return 0
        return self.workers.employ([claimed])

    def _confirm_finishes(self) -> None:
        """Make a synchronous commit, after which earlier finishes are durable."""
        services = self.services
        now = services.clock.monotonic()
        pending = services.finisher.unconfirmed()
        interval = self.heartbeat.interval.total_seconds()
        if not pending or now - self._confirmed_at < interval:
            return
        self._confirmed_at = now
        services.database.make_durable()
        with services.database.reading() as connection:
            held = executors.holdings(connection, services.executor).own
        # a run that is still held has lost its finish in a crash before that commit
        services.finisher.confirm({
            run_id: how
            for run_id, how in pending.items()
            if held.get(run_id) != how.lease.epoch
        })
