"""The other executors, as seen from here: who of them is certainly or surely gone.

A peer's lease is judged by this process's monotonic clock alone: its heartbeat must
not have moved for a full lease, during which this process's own heartbeats all
succeeded. So neither a clock that jumps nor a database that was away for longer
than a lease makes anybody take over anything.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta

from operon.executor.process import Process
from operon.executor.process import is_gone
from operon.store.executors import Peer


@dataclass
class _Sight:
    heartbeat_at: datetime | None
    since: float
    peer: Peer | None


class Peers:
    """What this process has seen of the others since its own last gap."""

    def __init__(self, here: Process, lease: timedelta) -> None:
        self._here = here
        self._lease = lease.total_seconds()
        self._mutex = threading.Lock()
        self._sights: dict[str, _Sight] = {}
        self._observed_at = 0.0

    def observe(
        self, peers: Iterable[Peer], strangers: Iterable[str], *, at: float
    ) -> None:
        """Note what one successful heartbeat of this process saw.

        Args:
            peers: The executors that have a row.
            strangers: Holders of runs that have none.
            at: This process's monotonic clock, in seconds.
        """
        seen: dict[str, tuple[datetime | None, Peer | None]] = {
            peer.id: (peer.heartbeat_at, peer) for peer in peers
        }
        seen |= dict.fromkeys(strangers, (None, None))
        with self._mutex:
            self._observed_at = at
            self._sights = {
                name: self._seen(name, heartbeat_at, peer, at)
                for name, (heartbeat_at, peer) in seen.items()
            }

    def forget(self) -> None:
        """Begin anew: this process's own heartbeats had a gap."""
        with self._mutex:
            self._sights.clear()

    def gone(self) -> set[str]:
        """Return the executors whose runs may be taken over now.

        A peer is as old as the last look at it: the time since then says nothing,
        because this process may have been frozen, or the database away.
        """
        with self._mutex:
            return {
                name
                for name, sight in self._sights.items()
                if self._observed_at - sight.since >= self._lease
                or self._is_dead(sight)
            }

    def living(self) -> int:
        """Return how many others share the database and are not gone."""
        return len(self._sights) - len(self.gone())

    def _seen(
        self, name: str, heartbeat_at: datetime | None, peer: Peer | None, at: float
    ) -> _Sight:
        before = self._sights.get(name)
        if before is not None and before.heartbeat_at == heartbeat_at:
            return before
        return _Sight(heartbeat_at, at, peer)

    def _is_dead(self, sight: _Sight) -> bool:
        return sight.peer is not None and is_gone(sight.peer, here=self._here)
