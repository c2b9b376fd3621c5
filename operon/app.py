"""`Operon`: one object that ties a database, workflows and this process together."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import TypeVar
from typing import Unpack

from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

from operon import control
from operon import registry
from operon.config import Options
from operon.config import Settings
from operon.config import settings
from operon.connect import connect
from operon.context import Frame
from operon.context import frame
from operon.control import Wish
from operon.control import grant
from operon.engine.flow import IdTaken
from operon.engine.patience import insist
from operon.errors import RunNotFoundError
from operon.handle import Handle
from operon.handle import Results
from operon.models import Checkpoint
from operon.models import ExecutorRecord
from operon.models import WorkflowRun
from operon.registry import Runnable
from operon.request import Request
from operon.request import request
from operon.runtime import Process
from operon.starting import OnConflict
from operon.starting import compare
from operon.starting import refuse_in_body
from operon.starting import refuse_in_run
from operon.starting import start
from operon.status import RunStatus
from operon.store import checkpoints
from operon.store import executors
from operon.store import runs
from operon.store.runs import Attribute
from operon.transaction import is_invocation

R = TypeVar("R")
T = TypeVar("T")


DEFAULT_QUEUE = "default"


class Operon:
    """Durable workflows on one database.

    Making one opens nothing: no connection, no thread, no row. The first use
    verifies (on SQLite: upgrades) Operon's tables.

    Args:
        database: A URL, an Engine or a sessionmaker; None reads OPERON_DATABASE_URL.
        options: See `Options`; each may also come from an OPERON_ variable.

    Raises:
        ConfigurationError: A setting, from here or from an OPERON_ variable, is
            malformed, or Operon cannot keep its promises on this database.
    """

    def __init__(
        self,
        database: "str | URL | Engine | sessionmaker[Any] | None" = None,
        **options: Unpack[Options],
    ) -> None:
        self._settings = settings(options)
        self._process = Process(*connect(database, self._settings), self._settings)
        self._process.made()  # refuses an unfit database here, not at the first run

    @property
    def engine(self) -> Engine:
        """The engine of the database that holds rows and checkpoints alike."""
        return self._process.engine

    @property
    def settings(self) -> Settings:
        """How this Operon behaves."""
        return self._settings

    @property
    def queues(self) -> list[str]:
        """What this process claims from once launched.

        `default`, the settings' queues, and those of the declared workflows.
        """
        declared = {each.queue for each in registry.all_declared()}
        return sorted({DEFAULT_QUEUE, *self._settings.queues, *declared})

    def run(
        self,
        workflow: Runnable[R],
        *,
        id: str | None = None,  # noqa: A002 - the word users and docs say
        attributes: Mapping[str, Any] | None = None,
        principal: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "return",
    ) -> R:
        """Execute *workflow* in this thread and return its result.

        With an *id* that was run before, its result is returned, or its error
        raised, and nothing runs again. After a crash the same call continues the
        run where it stopped.

        Args:
            workflow: A workflow instance, or a transaction with its arguments.
            id: The run's idempotency key: 1 to 255 printable characters; a new
                UUIDv7 by default.
            attributes: Plain JSON values for finding the run again.
            principal: Who asks; stored on the run.
            on_conflict: `raise` refuses an id that exists, `return` joins it.

        Raises:
            RunConflictError: The id is another workflow's, or has other input.
            RunCancelledError: The run was cancelled.
            RunDeadError: Operon stopped the run.
            DatabaseUnavailableError: The database could not be used; call again.
            Exception: What the body raised.
        """
        refuse_in_run("operon.run")
        asked = self._request(workflow, id, attributes, principal, None)
        ready = self._process.ready()
        executor = ready.executor
        new = asked.new
        result: R
        try:
            if is_invocation(workflow):
                reads = workflow.transaction.read_only and id is None
                execute = executor.read if reads else executor.transact
                result = execute(asked.workflow, new)
            else:
                executor.be_present()
                result = executor.run(asked.declared, asked.workflow, new)
        except IdTaken:
            found = self.find_run(new.id)
            if found is not None:
                compare(ready.services, asked, found, on_conflict)
            executor.be_present()
            result = executor.wait_for(new.id)
        return result

    def start(
        self,
        workflow: Runnable[R],
        *,
        id: str | None = None,  # noqa: A002 - the word users and docs say
        attributes: Mapping[str, Any] | None = None,
        principal: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "return",
        session: Session | None = None,
    ) -> Handle[R]:
        """Make *workflow* durable and return; any launched executor executes it.

        Args:
            workflow: A workflow instance, or a transaction with its arguments.
            id: As for `run`. Inside a step or activity it derives from that, so
                that every attempt starts the same run.
            attributes: Plain JSON values for finding the run again.
            principal: Who asks; inside a run, by default whoever asked for that.
            on_conflict: `raise` refuses an id that exists, `return` joins it.
            session: Start inside this session's transaction, savepoints included:
                the run exists if and when that commits. Inside a step, its session
                is meant.

        Raises:
            RunConflictError: The id is another workflow's, or has other input.
            DatabaseUnavailableError: The database could not be used; call again.
        """
        refuse_in_body("operon.start")
        place = frame()
        asked = self._request(workflow, id, attributes, principal, place)
        if session is None and place is not None:
            session = place.session
        ready = self._process.ready()
        start(ready.services, asked, on_conflict=on_conflict, session=session)
        ready.executor.wake()
        return Handle(asked.new.id, self)

    def handle(self, run_id: str) -> Handle[Any]:
        """Return a handle of *run_id*, whether or not such a run exists yet."""
        return Handle(run_id, self)

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
        attributes: Mapping[str, Attribute] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int = 100,
    ) -> list[WorkflowRun]:
        """Return up to *limit* runs that match every condition, the newest first."""
        return self._read(
            lambda session: runs.list_matching(
                session,
                statuses=[status] if isinstance(status, RunStatus) else status,
                workflow=workflow,
                attributes=attributes,
                created_after=created_after,
                created_before=created_before,
                limit=limit,
            )
        )

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

    def cancel(
        self, run_id: str, *, force: bool = False, session: Session | None = None
    ) -> None:
        """Ask the body of *run_id* to end; *force* ends it at once.

        The next operation of the body raises `RunCancelled`; operations after that
        work, so that it can compensate. A run that has ended stays as it is.

        Raises:
            RunNotFoundError: There is no such run.
        """
        self._grant(control.cancel(run_id, force=force), session, "operon.cancel")

    def resume(self, run_id: str, *, session: Session | None = None) -> None:
        """Continue a run that is dead or was cancelled by force, from its history.

        Raises:
            RunNotFoundError: There is no such run.
            ResumeRefusedError: It is neither.
        """
        self._grant(control.resume(run_id), session, "operon.resume")

    def retry(self, run_id: str, *, session: Session | None = None) -> None:
        """Redo the last operation of a failed run, if it failed with that.

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

        Raises:
            RunNotFoundError: There is no such run.
            MisuseError: Its history does not reach that far.
        """
        fork_id, wish = control.fork(run_id, from_position=from_position, new=id)
        self._grant(wish, session, "operon.fork")
        return Handle(fork_id, self)

    def launch(self) -> None:
        """Execute started runs in this process, and take over what others left.

        Raises:
            DeclarationError: A declared workflow cannot be resolved.
            SchemaError: Operon's tables are missing, behind or ahead.
        """
        for declared in registry.all_declared():
            declared.resolve()
        self._process.ready().executor.launch(self.queues)

    def shutdown(self, timeout: timedelta = timedelta(seconds=30)) -> None:
        """Stop claiming, let operations under way end, and release every run.

        Whatever still executes after *timeout* is left to its lease. A later use of
        this object begins anew, as another executor.
        """
        self._process.shut_down(timeout)

    def results(self) -> Results:
        """Return what reads the results of runs; used by handles."""
        return self._process.ready().results

    def _request(
        self,
        workflow: Any,
        run_id: str | None,
        attributes: Mapping[str, Any] | None,
        principal: Mapping[str, Any] | None,
        place: Frame | None,
    ) -> Request:
        return request(
            workflow,
            run_id=run_id,
            attributes=attributes,
            principal=principal,
            frame=place,
            payloads=self._process.made().services.payloads,
            code_version=self._settings.code_version,
        )

    def _grant(self, wish: Wish, session: Session | None, called: str) -> None:
        refuse_in_body(called)
        place = frame()
        if session is None and place is not None:
            session = place.session
        ready = self._process.ready()
        grant(ready.services, wish, session)
        ready.executor.wake()

    def _read(self, query: Callable[[Session], T]) -> T:
        """Return what *query* reads, detached, in spite of a busy database."""
        services = self._process.ready().services

        def read() -> T:
            with (
                services.database.reading() as connection,
                Session(bind=connection, expire_on_commit=False) as session,
            ):
                found = query(session)
                session.expunge_all()
                return found

        return insist(services.clock, services.patience, read)
