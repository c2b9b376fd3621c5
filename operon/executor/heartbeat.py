"""The heartbeat: proves that this process lives, and compares notes each time.

It has a thread and a connection of its own, so that neither long steps nor an
exhausted pool can stop it.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta

from sqlalchemy import Connection
from sqlalchemy import exc

from operon.engine.services import Services
from operon.executor.peers import Peers
from operon.store import executors
from operon.store.database import Detached
from operon.store.executors import Presence

_logger = logging.getLogger("operon.executor")


@dataclass
class Heartbeat:
    """Beats every interval, from `start` to `stop`."""

    services: Services
    peers: Peers
    presence: Callable[[], Presence]
    """What this executor says of itself now."""
    interval: timedelta
    strays: dict[str, int] = field(default_factory=dict[str, int])
    """Runs the database says are running here and are not, with their epochs."""
    _suspects: dict[str, int] = field(default_factory=dict[str, int])
    _last: float | None = None
    _own: Detached | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Beat once, here; then go on in a thread.

        Raises:
            SQLAlchemyError: The database does not answer.
        """
        try:
            self.beat()
        except exc.SQLAlchemyError:
            self._disconnect()
            raise
        self._thread = threading.Thread(
            target=self._go_on, name="operon-heartbeat", daemon=True
        )
        self._thread.start()

    def stop(self, *, leave: bool) -> None:
        """Stop beating; *leave* removes the row, because no run is held any more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        try:
            if leave:
                with self.services.database.transaction() as connection:
                    executors.forget(connection, self.services.executor)
        except exc.SQLAlchemyError:
            _logger.info("the executor's row stays until its lease is over")
        self._disconnect()

    @property
    def silence(self) -> float | None:
        """The seconds since the last one; None before the first."""
        if self._last is None:
            return None
        return self.services.clock.monotonic() - self._last

    def is_fresh(self) -> bool:
        """Whether less than half a lease has passed since the last beat."""
        silence = self.silence
        return silence is None or silence < self.services.lease.total_seconds() / 2

    def renew(self, connection: Connection) -> None:
        """Beat within the transaction of a step that may have kept the beat waiting.

        Only SQLite's single writer can do that; its other users wait for the same
        commit, and see the new heartbeat with it.
        """
        services, silence = self.services, self.silence
        if services.database.backend.name != "sqlite" or silence is None:
            return
        if silence > self.interval.total_seconds():
            executors.beat(
                connection,
                services.database.backend,
                self.presence(),
                clock=services.clock,
            )

    def tell(self) -> None:
        """Move the heartbeat at once, from any thread: what it says has changed."""
        services = self.services
        backend, presence = services.database.backend, self.presence()
        with services.database.transaction() as connection:
            executors.beat(connection, backend, presence, clock=services.clock)

    def beat(self) -> None:
        """Move the heartbeat, then see who else beats and what we hold.

        Raises:
            SQLAlchemyError: The database does not answer.
        """
        services = self.services
        connection = self._connected()
        with services.database.backend.writing():
            self._announce(connection)
            held = executors.holdings(connection, services.executor)
            others = executors.peers(connection, but=services.executor)
            connection.commit()
        now = services.clock.monotonic()
        if self._last is None or now - self._last > services.lease.total_seconds() / 2:
            self.peers.forget()
        self.peers.observe(others, held.strangers, at=now)
        self._compare(held.own)
        self._last = now  # last: whoever finds it fresh has been interrupted by then

    def _announce(self, connection: Connection) -> None:
        backend, clock = self.services.database.backend, self.services.clock
        presence = self.presence()
        if not executors.beat(connection, backend, presence, clock=clock):
            executors.announce(connection, backend, presence, clock=clock)

    def _compare(self, held: dict[str, int]) -> None:
        """Wake runs that changed hands, and find those that nobody here works on."""
        active = self.services.active
        for run in active.each():
            if held.get(run.lease.run_id) != run.lease.epoch:
                run.interrupt()
        suspects = {
            run_id: epoch for run_id, epoch in held.items() if run_id not in active
        }
        # a claim that is on its way to its thread looks like a stray once, not twice
        self.strays = {
            run_id: epoch
            for run_id, epoch in suspects.items()
            if self._suspects.get(run_id) == epoch
        }
        self._suspects = suspects

    def _go_on(self) -> None:
        seconds = self.interval.total_seconds()
        while not self.services.clock.wait(self._stopped, seconds):
            try:
                self.beat()
            except exc.SQLAlchemyError as error:
                _logger.warning("heartbeat failed: %s", error)
                self._disconnect()
            except Exception:
                _logger.exception("heartbeat failed")
                self._disconnect()
            self.services.database.commits.cut_overdue(self.services.database.backend)

    def _connected(self) -> Connection:
        if self._own is None:
            self._own = self.services.database.detached()
        return self._own.connection

    def _disconnect(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            own.close()
