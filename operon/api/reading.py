"""Reading: runs, their histories, executors, queues and schedules, as rows."""

from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime

from operon.api.base import Part
from operon.errors import RunNotFoundError
from operon.models import Checkpoint
from operon.models import ExecutorRecord
from operon.models import QueueRecord
from operon.models import ScheduleRecord
from operon.models import WorkflowRun
from operon.status import RunStatus
from operon.store import checkpoints
from operon.store import executors
from operon.store import queues
from operon.store import runs
from operon.store import schedules
from operon.store.runs import Attribute
from operon.store.runs import Filter


class Reading(Part):
    """What the database says, as rows that belong to no session any more."""

    def find_run(self, run_id: str) -> WorkflowRun | None:
        """Return the row of *run_id*, detached; None if there is no such run."""
        return self._read(lambda session: runs.find(session, run_id))

    def get_run(self, run_id: str) -> WorkflowRun:
        """Return the row of *run_id*, detached.

        Raises:
            RunNotFoundError: There is no such run.
        """
        found = self.find_run(run_id)
        if found is None:
            raise RunNotFoundError(run_id)
        return found

    def list_runs(
        self,
        *,
        status: RunStatus | Sequence[RunStatus] = (),
        workflow: str | None = None,
        queue: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        principal: Mapping[str, str | None] | None = None,
        older_than: tuple[datetime, str] | None = None,
        limit: int = 100,
    ) -> list[WorkflowRun]:
        """Return up to *limit* runs that match every condition, the newest first.

        *principal* are members that theirs has to have, such as the tenant.
        *older_than*, creation and id of the last run of a page, gives the next one.
        """
        wanted = Filter(
            statuses=(status,) if isinstance(status, RunStatus) else tuple(status),
            workflow=workflow,
            queue=queue,
            attributes=attributes,
            created_after=created_after,
            created_before=created_before,
            principal=principal,
            older_than=older_than,
        )
        return self._read(lambda s: runs.list_matching(s, wanted, limit=limit))

    def list_steps(self, run_id: str) -> list[Checkpoint]:
        """Return the history of *run_id*, in order of position.

        Raises:
            RunNotFoundError: There is no such run.
        """
        self.get_run(run_id)
        return self._read(lambda session: checkpoints.list_of(session, run_id))

    def list_executors(self) -> list[ExecutorRecord]:
        """Return the processes that work on runs, the newest heartbeat first."""
        return self._read(executors.list_all)

    def list_queues(self) -> list[QueueRecord]:
        """Return the queues with their limits of this moment, in order of name."""
        return self._read(queues.list_all)

    def list_schedules(self) -> list[ScheduleRecord]:
        """Return the schedules, and how far they have come, in order of name."""
        return self._read(schedules.list_all)
