"""Finishing runs: many at once, and again until the database cannot forget it.

Whoever comes first writes for all who came meanwhile. On PostgreSQL a finish commits
asynchronously; it stays in memory until a later synchronous commit was acknowledged,
so that the heartbeat can send it again after a crash of the server.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from sqlalchemy import exc

from operon.clock import Clock
from operon.status import RunStatus
from operon.store import claims
from operon.store import finishes
from operon.store.database import Database
from operon.store.finishes import Finish


@dataclass
class _Ticket:
    how: Finish
    done: bool = False
    held: bool = False
    error: BaseException | None = None


@dataclass
class Finisher:
    """Writes how runs ended, in batches that form by themselves."""

    database: Database
    clock: Clock
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _waiting: list[_Ticket] = field(default_factory=list[_Ticket])
    _unconfirmed: dict[str, Finish] = field(default_factory=dict[str, Finish])

    def finish(self, how: Finish) -> bool:
        """Write *how* a run ended; return whether its lease still held.

        Raises:
            SQLAlchemyError: Whether it was written is unknown; sending it again is
                harmless.
        """
        ticket = _Ticket(how)
        with self._mutex:
            self._waiting.append(ticket)
        with self._turn:
            if not ticket.done:
                self._write_all()
        if ticket.error is not None:
            raise ticket.error
        return ticket.held

    def unconfirmed(self) -> dict[str, Finish]:
        """Return the finishes that a crash of the server might still undo."""
        with self._mutex:
            return dict(self._unconfirmed)

    def confirm(self, finishes: dict[str, Finish]) -> None:
        """Forget *finishes*: a synchronous commit that came later is durable."""
        with self._mutex:
            for run_id, how in finishes.items():
                if self._unconfirmed.get(run_id) is how:
                    del self._unconfirmed[run_id]

    def _write_all(self) -> None:
        with self._mutex:
            batch, self._waiting = self._waiting, []
        try:
            written = self._write([ticket.how for ticket in batch])
        except exc.SQLAlchemyError as error:
            for ticket in batch:
                ticket.error = error
        else:
            for ticket in batch:
                ticket.held = ticket.how.lease.run_id in written
        for ticket in batch:
            ticket.done = True

    def _write(self, batch: Sequence[Finish]) -> set[str]:
        backend = self.database.backend
        with self.database.direct(lazily=True) as connection:
            written = finishes.finish(connection, backend, batch, clock=self.clock)
        missing = [how for how in batch if how.lease.run_id not in written]
        written |= self._written_before(missing)
        self._keep([how for how in batch if how.lease.run_id in written])
        return written

    def _written_before(self, missing: Sequence[Finish]) -> set[str]:
        """Return which of *missing* an earlier try, its reply lost, has written."""
        if not missing:
            return set()
        with self.database.reading() as connection:
            return {
                how.lease.run_id
                for how in missing
                if _says(claims.holding(connection, how.lease.run_id), how)
            }

    def _keep(self, finishes: Sequence[Finish]) -> None:
        if self.database.backend.name != "postgresql":
            return
        with self._mutex:
            self._unconfirmed.update({how.lease.run_id: how for how in finishes})


def _says(found: claims.Holding | None, how: Finish) -> bool:
    return (
        found is not None
        and found.epoch == how.lease.epoch
        and found.executor == how.lease.executor
        and RunStatus(found.status) is how.status
    )
