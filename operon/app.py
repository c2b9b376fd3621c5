"""`Operon`: one object that ties a database, workflows and this process together."""

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from typing import Any
from typing import TypeVar
from typing import Unpack

from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session
from sqlalchemy.orm import sessionmaker

from operon import registry
from operon.api.afterwards import after_commit
from operon.api.base import refuse_in_body
from operon.api.mailing import Mailing
from operon.api.operating import Operating
from operon.api.planning import Planning
from operon.api.reading import Reading
from operon.clock import Clock
from operon.config import Options
from operon.config import Settings
from operon.config import settings
from operon.connect import connect
from operon.context import Frame
from operon.context import frame
from operon.engine.enqueueing import compare
from operon.engine.flow import IdTaken
from operon.engine.telling import start_told
from operon.errors import MisuseError
from operon.executor.inline import InlineExecutor
from operon.handle import Handle
from operon.hooks import Hook
from operon.hooks import Hooks
from operon.ids import new_id
from operon.queue import DEFAULT_QUEUE
from operon.queue import MOST_URGENT
from operon.registry import OnConflict
from operon.registry import Runnable
from operon.request import Request
from operon.request import StartOptions
from operon.request import request
from operon.results import Results
from operon.runtime import Process
from operon.runtime import Runtime
from operon.runtime import known_queues
from operon.starting import refuse_in_run
from operon.starting import start
from operon.transaction import is_invocation
from operon.workflow import declaration_of

R = TypeVar("R")

_SETTINGS = fields(Settings)


class Operon(Reading, Operating, Mailing, Planning):
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
        self._rules = {}
        self._own = self._made(database, settings(options))

    @property
    def _process(self) -> Process:
        return self._own

    def _made(
        self,
        database: "str | URL | Engine | sessionmaker[Any] | None",
        settings: Settings,
    ) -> Process:
        """Return what this Operon has in this process; an unfit database is refused."""
        engine, factory = connect(database, settings)
        process = Process(engine, factory, settings, self)
        process.made()
        return process

    @property
    def engine(self) -> Engine:
        """The engine of the database that holds rows and checkpoints alike."""
        return self._process.engine

    @property
    def settings(self) -> Settings:
        """How this Operon behaves."""
        return self._process.settings

    def twin(
        self, engine: Engine | None = None, **options: Unpack[Options]
    ) -> "Operon":
        """Return another Operon, as another process would have.

        It has this one's settings but for *options*, and is an executor of its own.
        Schedules are not copied.

        Args:
            engine: Its database; by default this one's engine.
            options: See `Options`.
        """
        process = self._process
        own = {each.name: getattr(process.settings, each.name) for each in _SETTINGS}
        factory = process.factory
        if engine is not None:
            how: dict[str, Any] = {**factory.kw, "bind": engine}
            factory = sessionmaker(class_=factory.class_, **how)
        given: Any = {**own, **options}
        return Operon(factory, **given)

    @property
    def is_launched(self) -> bool:
        """Whether this process executes started runs."""
        return self._process.is_launched

    @property
    def hooks(self) -> Hooks:
        """Who is told what happens; used by the edges."""
        return self._process.made().services.hooks

    @property
    def queues(self) -> list[str]:
        """What this process claims from once launched.

        `default`, the settings' queues, and those of the declared workflows.
        """
        return list(known_queues(self.settings))

    def run(
        self,
        workflow: Runnable[R],
        *,
        id: str | None = None,  # noqa: A002 - the word users and docs say
        timeout: timedelta | None = None,
        attributes: Mapping[str, Any] | None = None,
        principal: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "return",
    ) -> R:
        """Execute *workflow* in this thread and return its result.

        With an *id* that was run before, its result is returned, or its error
        raised, and nothing runs again. After a crash the same call continues the
        run where it stopped. Where the run waits, so does the caller, and executes
        meanwhile what it waits for if nobody else does.

        Args:
            workflow: A workflow instance, or a transaction with its arguments.
            id: The run's idempotency key: 1 to 255 printable characters; a new
                UUIDv7 by default.
            timeout: How long it may take from now; then it is told to end. By
                default what the workflow declares.
            attributes: Plain JSON values for finding the run again.
            principal: Who asks; stored on the run.
            on_conflict: `raise` refuses an id that exists, `return` joins it.

        Raises:
            RunConflictError: The id is another workflow's, or has other input.
            RunCancelledError: The run was cancelled.
            RunTimeoutError: Its deadline has passed.
            RunDeadError: Operon stopped it.
            DatabaseUnavailableError: The database could not be used; call again.
            Exception: What the body raised.
        """
        refuse_in_run("operon.run", "call self.call from the body")
        options = StartOptions(
            id=id,
            queue=DEFAULT_QUEUE,
            timeout=timeout,
            attributes=attributes,
            principal=principal,
        )
        services = self._process.made().services
        with start_told(services, declaration_of(workflow)) as told:
            asked = self._request(workflow, options, None)
            told.run_id = asked.new.id
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
        queue: str | None = None,
        priority: int = MOST_URGENT,
        delay: timedelta = timedelta(0),
        deduplicate: str | None = None,
        debounce: timedelta | None = None,
        partition: str | None = None,
        timeout: timedelta | None = None,
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
            queue: Where it waits to be claimed; by default what the workflow
                declares.
            priority: The smaller, the sooner, from 0.
            delay: How long it is not claimed.
            deduplicate: A key that no other live run of the queue has: while one
                has it, that run is joined, or, by *on_conflict*, the start refused.
            debounce: Begin this long after the last start with the same key
                `deduplicate`; until then a new start replaces the input.
            partition: Which partition of a partitioned queue.
            timeout: How long it may take, from its first claim; then it is told to
                end. By default what the workflow declares.
            attributes: Plain JSON values for finding the run again.
            principal: Who asks; inside a run, by default whoever asked for that.
            on_conflict: `raise` refuses an id or key that is taken, `return` joins.
            session: Start inside this session's transaction, savepoints included:
                the run exists if and when that commits. Inside a step, its session
                is meant.

        Raises:
            RunConflictError: The id is another workflow's, or has other input.
            DuplicateRunError: The deduplication key is taken.
            UnknownQueueError: Nobody serves, or has served, such a queue.
            DatabaseUnavailableError: The database could not be used; call again.
        """
        refuse_in_body("operon.start", "call self.start")
        options = StartOptions(
            id=id,
            queue=queue,
            priority=priority,
            delay=delay,
            deduplicate=deduplicate,
            debounce=debounce,
            partition=partition,
            timeout=timeout,
            attributes=attributes,
            principal=principal,
        )
        place = frame()
        if session is None and place is not None:
            session = place.session
        services = self._process.made().services
        with start_told(services, declaration_of(workflow), queue=queue) as told:
            asked = self._request(workflow, options, place)
            services = self._process.ready().services
            started = start(services, asked, on_conflict=on_conflict, session=session)
            told.run_id = started
        if session is None:
            services.tell_due()
        else:
            after_commit(session, services.tell_due)
        return Handle(started, self, asked.declared)

    def handle(self, run_id: str) -> Handle[Any]:
        """Return a handle of *run_id*, whether or not such a run exists yet."""
        return Handle(run_id, self)

    def launch(self) -> None:
        """Execute started runs in this process, and take over what others left.

        Raises:
            DeclarationError: A declared workflow cannot be resolved.
            SchemaError: Operon's tables are missing, behind or ahead.
        """
        for declared in registry.all_declared():
            declared.resolve()
        ready = self._process.ready()
        self._store_plans()
        self._process.is_launched = True
        ready.executor.launch(self.queues)

    def shutdown(self, timeout: timedelta = timedelta(seconds=30)) -> None:
        """Stop claiming, let operations under way end, and release every run.

        Whatever still executes after *timeout* is left to its lease. A later use of
        this object begins anew, as another executor.
        """
        self._process.shut_down(timeout)

    def results(self) -> Results:
        """Return what reads the results of runs; used by handles."""
        return self._process.ready().results

    def ready(self) -> Runtime:
        """Return the parts that work together in this process; used by the edges."""
        return self._process.ready()

    @contextmanager
    def refusing(self, problem: Callable[[], Exception]) -> Generator[None, None, None]:
        """Let nobody use the database within the block; used by the testing kit.

        Except inline, within it.

        Args:
            problem: Makes what is raised instead.
        """
        with self._process.refusing(problem):
            yield

    @contextmanager
    def inline(
        self,
        clock: Clock,
        session: Session | None = None,
        hooks: Sequence[Hook] = (),
    ) -> Generator[InlineExecutor, None, None]:
        """Have no threads within the block; used by the testing kit.

        Args:
            clock: The time within the block.
            session: Whose transaction everything is part of; None: it is committed.
            hooks: Told of what happens, beside the others.

        Raises:
            MisuseError: It is launched, or the session works on another database.
            SchemaError: Operon's tables do not fit.
        """
        if self.is_launched:
            raise MisuseError(
                "an Operon that is launched",
                "would execute runs in threads of its own",
                cure="do not launch it, or shut it down before",
            )
        if session is not None:
            self._process.made().services.database.joined(session)
        with self._process.inline(clock, session, hooks) as executor:
            self._store_plans()
            yield executor

    def _request(
        self, workflow: Any, options: StartOptions, place: Frame | None
    ) -> Request:
        services = self._process.made().services
        return request(
            workflow,
            options,
            parent=None if place is None else place.current,
            default_id=new_id if place is None else place.derived_id,
            payloads=services.payloads,
            code_version=self.settings.code_version,
            trace=services.hooks.carry(),
        )
