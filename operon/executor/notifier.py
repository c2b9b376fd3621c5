"""The notifier: tells other processes that something happened, and hears them.

What many threads tell within a moment is one notice. Telling needs no thread until
somebody tells; hearing begins when the process is launched. Where the database has
no notices, or a pooler would lose them, only this process's own keeper is told.
"""

import logging
import threading
from collections.abc import Callable
from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import field

from sqlalchemy import exc

from operon.engine.services import Services
from operon.store import notices
from operon.store.database import Detached

_logger = logging.getLogger("operon.executor")

_GATHER = 0.003  # seconds in which notices become one
_IDLE = 3600.0  # seconds between two looks, if nobody tells
_LISTEN = 1.0  # seconds between two looks whether to stop
_RECONNECT = 1.0  # seconds after a lost connection


@dataclass
class Notifier:
    """Passes on what happened, from anybody's `tell` to everybody's keeper."""

    services: Services
    heard: Callable[[Collection[str]], None]
    """Called with the addresses at which something happened; empty: look around."""
    enabled: bool
    """Whether other processes can be told."""
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _pending: set[str] = field(default_factory=set[str])
    _asked: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _sender: threading.Thread | None = None
    _listener: threading.Thread | None = None

    def tell(self, *on: str) -> None:
        """Tell every executor that something happened at the addresses *on*."""
        if not on:
            return
        self.heard(on)
        self._send_soon(on)

    def tell_due(self) -> None:
        """Tell every executor that a run was enqueued."""
        self.heard(())
        self._send_soon(("",))

    def listen(self) -> None:
        """Hear what other processes tell, from now on, in a thread."""
        if not self.enabled or self._listener is not None:
            return
        self._listener = threading.Thread(
            target=self._go_on, name="operon-listener", daemon=True
        )
        self._listener.start()

    def stop(self) -> None:
        """Tell what is still to be told, and end."""
        self._stopped.set()
        self._asked.set()
        for thread in (self._sender, self._listener):
            if thread is not None:
                thread.join()

    def _send_soon(self, on: Collection[str]) -> None:
        if not self.enabled:
            return
        with self._mutex:
            self._pending.update(on)
            if self._sender is None:
                self._sender = threading.Thread(
                    target=self._send_all, name="operon-notifier", daemon=True
                )
                self._sender.start()
        self._asked.set()

    def _send_all(self) -> None:
        clock = self.services.clock
        while True:
            clock.wait(self._asked, _IDLE)
            if self._asked.is_set():
                clock.wait(self._stopped, _GATHER)
            self._asked.clear()
            stopping = self._stopped.is_set()  # after that: it was set before `asked`
            with self._mutex:
                told, self._pending = self._pending, set()
            if told:
                self._send(told)
            if stopping:
                return

    def _send(self, told: set[str]) -> None:
        database = self.services.database
        try:
            with database.single() as connection:
                notices.send(
                    connection, database.backend, self.services.executor, sorted(told)
                )
        except exc.SQLAlchemyError as error:
            _logger.debug("a notice was not sent: %s", error)

    def _go_on(self) -> None:
        while not self._stopped.is_set():
            connection: Detached | None = None
            try:
                connection = self.services.database.listening()
                self._hear(connection)
            except Exception as error:  # noqa: BLE001 - SQLAlchemy's or the driver's; polling goes on
                _logger.warning("listening was interrupted: %s", error)
                self.services.clock.wait(self._stopped, _RECONNECT)
            finally:
                if connection is not None:
                    connection.close()

    def _hear(self, own: Detached) -> None:
        notices.listen(own.connection)
        self.heard(())  # what was told before
        while not self._stopped.is_set():
            for notice in notices.hear(own.connection, timeout=_LISTEN):
                if notice.sender != self.services.executor:
                    self.heard([each for each in notice.on if each])
