"""Workers: the threads that execute claimed runs, and a few more runs in reserve.

A claim costs the same for one run as for many, and more than a short run's own work.
So while runs end quickly, more of them are claimed than there are threads: as many as
will probably have begun within a moment. A thread that is done goes on with one of
those at once. What waits longer, since others took longer than the last ones did, is
given back for other executors.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from functools import partial
from typing import Protocol

from sqlalchemy import exc

from operon import registry
from operon.engine.execution import NOTHING
from operon.engine.execution import Recollection
from operon.engine.execution import activate
from operon.engine.execution import attend
from operon.engine.execution import give_back
from operon.engine.execution import load
from operon.engine.services import Services
from operon.executor.threads import Threads
from operon.points import Point
from operon.store.checkpoints import Lease
from operon.store.claims import Claimed

_logger = logging.getLogger("operon.executor")

_AHEAD = 0.1  # seconds; as many runs are in reserve as began within that time lately
_LONGEST = 0.5  # seconds after which a run in reserve is given back
_SHARE = 4  # a fourth of the threads is worth a claim


class OnEnd(Protocol):
    """What is done after each run."""

    def __call__(self, *, worthwhile: bool) -> None:
        """Do it; it may be *worthwhile* to claim more."""
        ...


def _nobody(*, worthwhile: bool) -> None:
    del worthwhile


@dataclass(frozen=True)
class _Work:
    """A claimed run, with what was before."""

    claimed: Claimed
    before: Recollection
    since: float
    """When it was claimed, by the monotonic clock."""


@dataclass
class Workers:
    """Executes claimed runs in at most *most* threads."""

    services: Services
    most: int
    on_end: OnEnd = _nobody
    """Called after each run, and told whether it is worth claiming again."""
    _threads: Threads = field(default_factory=Threads)
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _busy: int = 0
    _reserve: deque[_Work] = field(default_factory=deque[_Work])
    _begun: int = 0
    """How many runs have begun since that was last measured."""
    _measured_at: float = float("-inf")
    _rate: float = 0.0
    """How many runs begin in a second, lately."""
    _stopped: bool = False

    @property
    def busy(self) -> int:
        """How many threads have a run."""
        return self._busy

    @property
    def free(self) -> int:
        """How many have none."""
        return self.most - self._busy

    def is_crowded(self) -> bool:
        """Whether every thread is taken."""
        return self._busy >= self.most

    @property
    def room(self) -> int:
        """How many runs there would be something to do with soon."""
        return self.free + self._ahead - len(self._reserve)

    @property
    def _ahead(self) -> int:
        return int(self._rate * _AHEAD)

    @property
    def have_reserve(self) -> bool:
        """Whether a run waits for a thread."""
        return bool(self._reserve)

    def measure(self) -> None:
        """Take note, once in a while, of how fast runs begin: `room` follows it."""
        now = self.services.clock.monotonic()
        elapsed = now - self._measured_at
        if elapsed < _AHEAD:
            return
        with self._mutex:
            begun, self._begun = self._begun, 0
        self._measured_at = now
        self._rate = (self._rate + begun / elapsed) / 2

    def employ(self, claimed: list[Claimed]) -> int:
        """Execute each run, in a thread that does not hold the process; count them.

        If their histories cannot be read, the heartbeat finds the runs again: their
        rows say that they are here.
        """
        before = load(self.services, claimed)
        now = self.services.clock.monotonic()
        for each in claimed:
            self.services.probe(Point.CLAIMED, each.id)
            if self.services.active.enter(each.id):
                self._begin(_Work(each, before.get(each.id, NOTHING), now))
            else:
                self._release(each.lease)
        return len(claimed)

    def give_back(self) -> None:
        """Release the runs that are in reserve for too long."""
        oldest = self.services.clock.monotonic() - _LONGEST
        with self._mutex:
            late = [each for each in self._reserve if each.since < oldest]
            for each in late:
                self._reserve.remove(each)
            if late:
                self._rate = 0.0
        self._release_all(late)

    def stop(self) -> None:
        """Begin nothing more; what is in reserve is given back."""
        self._threads.close()
        with self._mutex:
            self._stopped = True
            late = list(self._reserve)
            self._reserve.clear()
        self._release_all(late)

    def _release(self, lease: Lease, *, after: timedelta = timedelta(0)) -> None:
        try:
            give_back(self.services, lease, after=after)
        except exc.SQLAlchemyError as error:
            _logger.warning("run %r could not be released: %s", lease.run_id, error)

    def _begin(self, work: _Work) -> None:
        with self._mutex:
            begins = self._busy < self.most
            if not begins and not self._stopped:
                self._reserve.append(work)
                return
            self._busy += begins
            self._begun += begins
        if begins:
            self._dispatch(work)
        else:
            self._release_all([work])

    def _dispatch(self, work: _Work) -> None:
        """Execute *work*, and what is in reserve then, in a thread."""
        self._threads.execute(_name(work), partial(self._go_on, work))

    def _go_on(self, work: _Work | None) -> None:
        """Execute *work*, then what is in reserve."""
        while work is not None:
            threading.current_thread().name = _name(work)
            self._execute(work)
            work = self._next()

    def _execute(self, work: _Work) -> None:
        claimed = work.claimed
        try:
            declared = registry.find(claimed.workflow, claimed.version)
            if declared is not None:
                run = activate(
                    self.services, declared, claimed, work.before, since=work.since
                )
                attend(run)
        except BaseException as problem:  # noqa: BLE001 - it ends the thread, and no run
            self._leave(claimed, problem)
        finally:
            self.services.active.leave(claimed.id)

    def _leave(self, claimed: Claimed, problem: BaseException) -> None:
        """Give back the run of *claimed*, whose body has raised what ends a thread."""
        message = "run %r was left: the body ended the thread"
        _logger.error(message, claimed.id, exc_info=problem)
        self._release(claimed.lease, after=timedelta(seconds=1))

    def _next(self) -> _Work | None:
        """Return what this thread goes on with; None if there is nothing."""
        with self._mutex:
            work = self._reserve.popleft() if self._reserve else None
            if work is None:
                self._busy -= 1
            else:
                self._begun += 1
        self.on_end(worthwhile=self._is_hungry)
        return work

    @property
    def _is_hungry(self) -> bool:
        """Whether to claim pays: for each run alone it would cost a commit a run."""
        if self.free * _SHARE >= self.most:
            return True
        return bool(self._ahead) and len(self._reserve) * 2 <= self._ahead

    def _release_all(self, late: Iterable[_Work]) -> None:
        for each in late:
            self._release(each.claimed.lease)
            self.services.active.leave(each.claimed.id)


def _name(work: _Work) -> str:
    return f"operon-run-{work.claimed.id}"
