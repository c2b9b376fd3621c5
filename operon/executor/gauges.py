"""Gauges: what hooks may ask of this process at any time."""

from collections.abc import Sequence
from dataclasses import dataclass

from operon.engine.services import Services
from operon.executor.heartbeat import Heartbeat
from operon.executor.workers import Workers
from operon.hooks import QueueState
from operon.store.backlog import backlog


@dataclass(frozen=True, eq=False)
class Gauges:
    """How things stand for one Operon in this process."""

    services: Services
    workers: Workers
    heartbeat: Heartbeat

    def queues(self) -> Sequence[QueueState]:
        """Return what there is to do, of all queues.

        Raises:
            SQLAlchemyError: The database does not answer.
        """
        database = self.services.database
        with database.reading() as connection:
            return backlog(connection, database.backend, clock=self.services.clock)

    def slots(self) -> tuple[int, int]:
        """Return how many threads for claimed runs are busy, and how many are free."""
        return self.workers.busy, self.workers.free

    def silence(self) -> float | None:
        """Return the seconds since the last heartbeat; None before the first."""
        return self.heartbeat.silence
