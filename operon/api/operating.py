"""Operating on runs: one by one, many by a filter, and removing what has ended."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from operon import control
from operon.api.base import Part
from operon.arguments import checked_duration
from operon.control import Wish
from operon.engine.services import Services
from operon.errors import MisuseError
from operon.errors import RunError
from operon.executor.retention import Keeping
from operon.executor.retention import Purged
from operon.executor.retention import prune_all
from operon.executor.retention import purge_all
from operon.handle import Handle
from operon.status import LIVE
from operon.status import RunStatus
from operon.store import runs
from operon.store.runs import Attribute
from operon.store.runs import Filter

_OLDEST = timedelta(days=36_525)
_PAGE = 500  # ids read at once for a filter


@dataclass
class Bulk:
    """What a bulk operation came to."""

    done: list[str] = field(default_factory=list[str])
    """The ids of the runs for which it was granted."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Why it was not, by the id of the run."""


class Operating(Part):
    """What an operator may do to runs."""

    def cancel(
        self,
        run_id: str,
        *,
        children: bool = True,
        force: bool = False,
        session: Session | None = None,
    ) -> None:
        """Ask the body of *run_id* to end; *force* ends it at once.

        The next operation of the body raises `RunCancelled`; operations after that
        work, so that it can compensate. A run that has ended stays as it is. With
        *children* the runs that it started, and theirs, are asked as well.

        Raises:
            RunNotFoundError: There is no such run.
        """
        wish = control.cancel(run_id, children=children, force=force)
        self._grant(wish, session, "operon.cancel")

    def resume(self, run_id: str, *, session: Session | None = None) -> None:
        """Continue a run that is dead or was cancelled by force, from its history.

        Raises:
            RunNotFoundError: There is no such run.
            ResumeRefusedError: It is neither.
        """
        self._grant(control.resume(run_id), session, "operon.resume")

    def retry(self, run_id: str, *, session: Session | None = None) -> None:
        """Redo the last operation of a failed run, if it failed with that.

        If that was waiting for a child which failed, the child is retried as well.

        Raises:
            RunNotFoundError: There is no such run.
            RetryRefusedError: It has not failed, or it went on after the failure.
        """
        self._grant(control.retry(run_id), session, "operon.retry")

    def fork(
        self,
        run_id: str,
        *,
        from_position: int,
        id: str | None = None,  # noqa: A002 - the word users and docs say
        session: Session | None = None,
    ) -> Handle[Any]:
        """Make a new run with the checkpoints of *run_id* before *from_position*.

        It redoes exactly the rest; its activities get idempotency keys of its own.
        Messages, events and streams stay with the original.

        Raises:
            RunNotFoundError: There is no such run.
            MisuseError: Its history does not reach that far.
        """
        fork_id, wish = control.fork(run_id, from_position=from_position, new=id)
        self._grant(wish, session, "operon.fork")
        return self._ready().services.handle(fork_id, None)

    def cancel_runs(
        self,
        *,
        status: RunStatus | Sequence[RunStatus] = LIVE,
        workflow: str | None = None,
        queue: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        force: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Bulk:
        """Cancel every live run that matches, each in a transaction of its own.

        A crash in the middle leaves the rest as they were; call it again.

        Args:
            status: Where it stands; by default anywhere but at an end.
            workflow: Of which workflow.
            queue: In which queue.
            attributes: With which attributes.
            created_after: Not created before.
            created_before: Created before.
            force: End them at once, without compensation.
            progress: Called after each run with 1.
        """
        wanted = _filter(
            status, workflow, queue, attributes, created_after, created_before
        )
        return self._each(
            wanted,
            lambda run_id: control.cancel(run_id, children=True, force=force),
            progress,
        )

    def resume_runs(
        self,
        *,
        status: RunStatus | Sequence[RunStatus] = RunStatus.DEAD,
        workflow: str | None = None,
        queue: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Bulk:
        """Resume every run that matches and can be; see `cancel_runs`."""
        wanted = _filter(
            status, workflow, queue, attributes, created_after, created_before
        )
        return self._each(wanted, control.resume, progress)

    def retry_runs(
        self,
        *,
        workflow: str | None = None,
        queue: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Bulk:
        """Retry every failed run that matches and can be; see `cancel_runs`."""
        wanted = _filter(
            RunStatus.FAILED,
            workflow,
            queue,
            attributes,
            created_after,
            created_before,
        )
        return self._each(wanted, control.retry, progress)

    def purge(
        self,
        older_than: timedelta,
        *,
        batch: int = 500,
        progress: Callable[[int, int], None] = lambda _, __: None,
    ) -> Purged:
        """Remove the runs that ended longer ago than *older_than*, and their histories.

        Kept are live runs and their children, the first run of a live chain, and
        runs that rows of the application refer to. Each batch is one transaction: a
        purge that is cut in half has removed whole runs, and goes on when called
        again. Answers and keys of requests that the settings do not keep any longer
        are dropped as well.

        Args:
            older_than: Counted from the end of a run.
            batch: How many runs one transaction removes.
            progress: Called after each batch with how many runs were looked at so
                far, and how many there were.

        Raises:
            MisuseError: The duration is negative, or the batch is none.
        """
        checked_duration("operon.purge", "older_than", older_than)
        if older_than > _OLDEST:
            problem = f"was given older_than={older_than!r}"
            raise MisuseError("operon.purge", problem, cure="use a century at most")
        if batch < 1:
            raise MisuseError(
                "operon.purge", f"was given batch={batch}", cure="use 1 or more"
            )
        services = self._ready().services
        prune_all(services, Keeping.of(self._process.settings), batch=batch)
        return purge_all(services, older_than, batch=batch, progress=progress)

    def _grant(self, wish: Wish, session: Session | None, called: str) -> None:
        services = self._ready().services
        self._write(
            called,
            lambda connection: wish(
                connection, services.database.backend, services.clock
            ),
            session=session,
            tell=_tell_due,
        )

    def _each(
        self,
        wanted: Filter,
        wish: Callable[[str], Wish],
        progress: Callable[[int], None],
    ) -> Bulk:
        """Grant *wish* to every run that is *wanted*; go on where it is refused."""
        came_to, after = Bulk(), ""
        while page := self._page(wanted, after):
            for run_id in page:
                try:
                    self._grant(wish(run_id), None, "a bulk operation")
                except RunError as refusal:
                    came_to.refused[run_id] = str(refusal)
                else:
                    came_to.done.append(run_id)
                progress(1)
            after = page[-1]
        return came_to

    def _page(self, wanted: Filter, after: str) -> list[str]:
        return self._read(
            lambda session: runs.ids_matching(session, wanted, after=after, limit=_PAGE)
        )


def _tell_due(services: Services, _: None) -> None:
    services.tell_due()


def _filter(  # noqa: PLR0917 - as the methods that call it
    status: RunStatus | Sequence[RunStatus],
    workflow: str | None,
    queue: str | None,
    attributes: Mapping[str, Attribute] | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> Filter:
    return Filter(
        statuses=(status,) if isinstance(status, RunStatus) else tuple(status),
        workflow=workflow,
        queue=queue,
        attributes=attributes,
        created_after=created_after,
        created_before=created_before,
    )
