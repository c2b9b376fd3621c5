"""Planning: queues whose limits are edited, and schedules."""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC
from datetime import datetime
from typing import Any
from typing import Literal
from typing import cast

from sqlalchemy import Connection

from operon.api.base import Part
from operon.arguments import checked_text
from operon.clock import Clock
from operon.codec import NotEncodable
from operon.cron import Cron
from operon.engine.services import Services
from operon.errors import MisuseError
from operon.errors import UnknownQueueError
from operon.errors import UnknownScheduleError
from operon.executor.planner import start_at
from operon.handle import Handle
from operon.ids import new_id
from operon.queue import Queue
from operon.queue import Rate
from operon.queue import checked_queue_name
from operon.registry import Declared
from operon.registry import Runnable
from operon.store import queues
from operon.store import schedules
from operon.store.dialect import Backend
from operon.store.schedules import Rule
from operon.store.schedules import Standing
from operon.workflow import Workflow
from operon.workflow import declaration_of

CatchUp = Literal["skip", "one", "all"]
"""What becomes of missed ticks."""

_CATCH_UP = ("skip", "one", "all")
_TICK = "tick"
_LONGEST = 200  # characters of a name
_UNCHANGED: Any = object()


class Planning(Part):
    """Queues and schedules, as operators see them."""

    _rules: dict[str, Rule]

    def pause_queue(self, name: str) -> None:
        """Let nothing be claimed from the queue *name*; it still accepts runs.

        Raises:
            UnknownQueueError: There is no such queue.
        """
        self._edit_queue("operon.pause_queue", name, queues.pause)

    def resume_queue(self, name: str) -> None:
        """Let runs be claimed from the queue *name* again.

        Raises:
            UnknownQueueError: There is no such queue.
        """
        self._edit_queue("operon.resume_queue", name, queues.unpause)

    def limit_queue(
        self,
        name: str,
        *,
        concurrency: int | None = _UNCHANGED,
        per_executor: int | None = _UNCHANGED,
        rate: Rate | None = _UNCHANGED,
    ) -> None:
        """Change the limits of the queue *name*; those that are not given stay.

        They hold for the next claim, in every process. What is running goes on.

        Raises:
            UnknownQueueError: There is no such queue.
            ConfigurationError: Nothing can keep such a limit.
        """
        given: dict[str, Any] = {
            "concurrency": concurrency,
            "per_executor": per_executor,
            "rate": rate,
        }
        changes = {key: each for key, each in given.items() if each is not _UNCHANGED}

        def change(
            connection: Connection, backend: Any, name: str, *, clock: Any
        ) -> bool:
            found = queues.find(connection, name)
            if found is None:
                return False
            wanted = dataclasses.replace(found, **changes)
            return queues.change(connection, backend, wanted, clock=clock)

        self._edit_queue("operon.limit_queue", name, change)

    def schedule(
        self,
        cron: str,
        workflow: "Runnable[Any] | type[Workflow]",
        *,
        name: str | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "skip",
        queue: str | None = None,
    ) -> str:
        """Start *workflow* at every tick of *cron*, once across all processes.

        It is stored when a process that says it is launched; from then on any
        executor that knows the workflow keeps it, also when this process is gone. A
        run's id derives from the schedule's name and the tick.

        Args:
            cron: Five fields: minute, hour, day of month, month, day of week.
            workflow: A workflow instance or a transaction with its arguments; or a
                class, whose field `tick`, if it has one, gets the tick's time.
            name: What the schedule is called; by default the workflow's name.
            timezone: The IANA name of the zone whose clock is meant.
            catch_up: Ticks that were missed, because no executor was there or awake
                within a minute: `skip` them, start `one` for the last, or `all`.
            queue: Where its runs wait; None for the queue the workflow declares.

        Returns:
            The schedule's name.

        Raises:
            ConfigurationError: The cron line, time zone or queue cannot be meant.
            MisuseError: The workflow cannot be started so, or the name is taken.
        """
        if catch_up not in _CATCH_UP:
            raise MisuseError(
                f"catch_up={catch_up!r}",
                "is no such policy",
                cure=f"use one of {', '.join(_CATCH_UP)}",
            )
        Cron(cron, timezone)
        declared, text, takes_tick = _input_of(workflow)
        rule = Rule(
            name=_checked_name(declared.name if name is None else name),
            cron=cron,
            timezone=timezone,
            workflow=declared.name,
            version=declared.version,
            input=text,
            takes_tick=takes_tick,
            queue=declared.queue if queue is None else checked_queue_name(queue),
            catch_up=catch_up,
        )
        before = self._rules.setdefault(rule.name, rule)
        if before != rule:
            raise MisuseError(
                f"the schedule {rule.name!r}",
                "is declared already, with another rule",
                cure="give one of them another name=",
            )
        if self._process.is_launched:
            self._store_plans()
        return rule.name

    def pause_schedule(self, name: str) -> None:
        """Let the schedule *name* start nothing by itself.

        Raises:
            UnknownScheduleError: There is no such schedule.
        """

        def pause(connection: Connection, found: Standing) -> None:
            services = self._ready().services
            backend, clock = services.database.backend, services.clock
            schedules.pause(connection, backend, found.rule.name, clock)

        self._edit_schedule("operon.pause_schedule", name, pause)

    def resume_schedule(self, name: str) -> None:
        """Let the schedule *name* go on; ticks meanwhile were not missed.

        Raises:
            UnknownScheduleError: There is no such schedule.
        """

        def resume(connection: Connection, found: Standing) -> None:
            services = self._ready().services
            backend, clock = services.database.backend, services.clock
            cron = Cron(found.rule.cron, found.rule.timezone)
            next_at = cron.next_after(found.now)
            schedules.unpause(connection, backend, name, next_at=next_at, clock=clock)

        self._edit_schedule("operon.resume_schedule", name, resume)

    def trigger_schedule(self, name: str) -> Handle[Any]:
        """Start a run of the schedule *name* now, paused or not, beside its ticks.

        Raises:
            UnknownScheduleError: There is no such schedule.
            DecodeError: Its workflow is not known here.
        """

        def trigger(connection: Connection, found: Standing) -> str:
            services = self._ready().services
            return start_at(
                services, connection, found.rule, found.now, beside=new_id()
            )

        run_id = self._edit_schedule("operon.trigger_schedule", name, trigger)
        return self._ready().services.handle(run_id, None)

    def remove_schedule(self, name: str) -> None:
        """Forget the schedule *name*; the runs it started stay.

        A program that still declares it makes it anew when it is launched.

        Raises:
            UnknownScheduleError: There is no such schedule.
        """
        self._edit_schedule(
            "operon.remove_schedule",
            name,
            lambda connection, found: schedules.remove(connection, found.rule.name),
        )

    def _store_plans(self) -> None:
        """Write what this process declares of queues and schedules."""
        services = self._ready().services
        backend, clock = services.database.backend, services.clock

        def write(connection: Connection) -> None:
            services.database.hurry(connection)  # the next launch says it again
            known, spoken = services.queues(), self._process.settings.queues
            queues.declare(
                connection,
                backend,
                known.values(),
                spoken={each.name for each in spoken if isinstance(each, Queue)},
                clock=clock,
            )
            for rule in sorted(self._rules.values(), key=lambda each: each.name):
                _store(connection, backend, rule, clock)

        self._write("operon.launch", write)

    def _edit_queue(self, called: str, name: str, edit: Callable[..., bool]) -> None:
        services = self._ready().services
        backend, clock = services.database.backend, services.clock

        def write(connection: Connection) -> None:
            if not edit(connection, backend, name, clock=clock):
                raise UnknownQueueError(name, known=queues.names(connection))

        self._write(called, write, tell=_tell_due)

    def _edit_schedule(
        self, called: str, name: str, edit: Callable[[Connection, Standing], Any]
    ) -> Any:
        services = self._ready().services
        backend, clock = services.database.backend, services.clock

        def write(connection: Connection) -> Any:
            found = schedules.lock(connection, backend, name, clock=clock)
            if found is None:
                known = schedules.names(connection)
                raise UnknownScheduleError(name, known=known)
            return edit(connection, found)

        return self._write(called, write, tell=_tell_due)


def _tell_due(services: Services, _: object) -> None:
    services.tell_due()


def _checked_name(name: object) -> str:
    """Return *name* if a schedule can have it, and the ids of its runs hold it.

    Raises:
        MisuseError: It is no text of printable characters, or too long.
    """
    called = "operon.schedule"
    if len(checked_text(called, "name", name)) <= _LONGEST:
        return str(name)
    raise MisuseError(
        called,
        f"was given name={name!r}",
        cure=f"use text of 1 to {_LONGEST} printable characters",
    )


def _store(connection: Connection, backend: Backend, rule: Rule, clock: Clock) -> None:
    """Write *rule* unless the program said the same before."""
    cron = Cron(rule.cron, rule.timezone)
    found = schedules.lock(connection, backend, rule.name, clock=clock)
    if found is None:
        now = schedules.present(connection, backend, clock)
        next_at = cron.next_after(now)
        schedules.insert(connection, backend, rule, next_at=next_at, clock=clock)
    elif found.declared != rule.as_declared:
        last, next_at = found.last_tick_at, found.next_at
        if (found.rule.cron, found.rule.timezone) != (rule.cron, rule.timezone):
            # the new line's ticks before it was said were not missed
            last, next_at = found.now, cron.next_after(found.now)
        schedules.change(
            connection, backend, rule, last_tick_at=last, next_at=next_at, clock=clock
        )


def _input_of(workflow: Any) -> tuple[Declared, str, bool]:
    """Return what declares *workflow*, its input without the tick, and if it has one.

    Raises:
        MisuseError: It cannot be started with this input.
    """
    takes_tick, runnable = False, workflow
    if isinstance(workflow, type) and issubclass(workflow, Workflow):
        takes_tick = _has_field(workflow, _TICK)
        runnable = _made(workflow, takes_tick=takes_tick)
    declared = declaration_of(runnable)
    declared.resolve()
    try:
        text = declared.encode(runnable)
    except NotEncodable as problem:
        raise MisuseError(
            f"{declared.name}: {problem.path}",
            problem.reason,
            cure="pass what the field or parameter declares",
        ) from None
    values = json.loads(text)
    if takes_tick:
        del values[_TICK]
    return declared, json.dumps(values), takes_tick


def _has_field(cls: type[Workflow], name: str) -> bool:
    return name in {each.name for each in dataclasses.fields(cast("Any", cls))}


def _made(cls: type[Workflow], *, takes_tick: bool) -> Workflow:
    """Return an instance of *cls* with nothing but its defaults, and any tick."""
    given = {_TICK: datetime.now(UTC)} if takes_tick else {}
    try:
        return cls(**given)
    except TypeError as error:
        raise MisuseError(
            f"operon.schedule(…, {cls.__name__})",
            f"cannot make the input of its runs: {error}",
            cure=f"give its other fields defaults, or pass {cls.__name__}(…)",
        ) from error
