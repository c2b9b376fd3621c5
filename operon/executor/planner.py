"""The planner: starts what schedules ask for, once for each tick, whoever comes first.

The runs of a schedule's ticks, and how far it has come, are one commit; a run's id
derives from the schedule and the tick. So neither a crash nor a second process, nor
a purge of old runs, makes a tick fire twice.
"""

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from operon import registry
from operon.codec import Undecodable
from operon.cron import Cron
from operon.engine.services import Services
from operon.engine.telling import start_told
from operon.errors import DecodeError
from operon.errors import OperonError
from operon.request import Request
from operon.request import StartOptions
from operon.request import request
from operon.store import schedules
from operon.store import starts
from operon.store.schedules import Rule
from operon.store.schedules import Standing
from operon.store.starts import Beginning

_logger = logging.getLogger("operon.executor")

ON_TIME = timedelta(minutes=1)
"""A tick noticed later than this was missed."""
_MOST = 100  # missed ticks that are started in one transaction


@dataclass(frozen=True)
class Planner:
    """Starts the runs of schedules whose ticks have come."""

    services: Services

    def fire(self, names: Collection[str]) -> int:
        """Start what the schedules *names* ask for by now; return how many did."""
        fired = 0
        for name in names:
            try:
                fired += self._fire(name)
            except OperonError as error:
                _logger.warning("schedule %r cannot start anything: %s", name, error)
        return fired

    def _fire(self, name: str) -> bool:
        services = self.services
        backend, clock = services.database.backend, services.clock
        with services.database.transaction() as connection:
            found = schedules.lock(
                connection, backend, name, clock=clock, skip_locked=True
            )
            if found is None or found.paused_at is not None:
                return False
            if found.next_at > found.now:  # somebody else was here
                return False
            ticks, last = due_ticks(found)
            for tick in ticks:
                start_at(services, connection, found.rule, tick)
            cron = Cron(found.rule.cron, found.rule.timezone)
            schedules.advance(
                connection, name, last_tick_at=last, next_at=cron.next_after(last)
            )
        return True


def due_ticks(standing: Standing) -> tuple[list[datetime], datetime]:
    """Return the ticks to start runs for, and up to where ticks are dealt with then.

    Of missed ticks `skip` starts none, `one` the last, `all` each; a tick that is
    noticed on time is not missed.
    """
    cron = Cron(standing.rule.cron, standing.rule.timezone)
    if standing.rule.catch_up == "all":
        after = standing.last_tick_at
        ticks = list(islice(cron.between(after, standing.now), _MOST))
        complete = len(ticks) < _MOST
        return ticks, standing.now if complete else ticks[-1]
    last = cron.last_until(standing.now)
    if last is None or last <= standing.last_tick_at:
        return [], standing.now
    is_missed = standing.now - last > ON_TIME
    if is_missed and standing.rule.catch_up == "skip":
        return [], standing.now
    return [last], standing.now


def start_at(
    services: Services,
    connection: Connection,
    rule: Rule,
    tick: datetime,
    *,
    beside: str | None = None,
) -> str:
    """Write the run of *rule* for *tick*, unless it is there; return its id.

    *beside* tells apart the runs that no tick has started.
    """
    which = tick.isoformat() if beside is None else f"trigger/{beside}"
    run_id = f"schedule/{rule.name}/{which}"
    with start_told(services, _declared(rule), queue=rule.queue) as told:
        asked = _asked(services, rule, tick, run_id)
        starts.insert_new(
            connection,
            services.database.backend,
            asked.new,
            Beginning(),
            clock=services.clock,
        )
        told.run_id = run_id
    return run_id


def _asked(services: Services, rule: Rule, tick: datetime, run_id: str) -> Request:
    """Return the run of *rule* for *tick*, ready to be written.

    Raises:
        DecodeError: The workflow's input is not today's any more.
    """
    attributes: dict[str, Any] = {"schedule": rule.name, "tick": tick.isoformat()}
    return request(
        _workflow(rule, tick),
        StartOptions(id=run_id, queue=rule.queue, attributes=attributes),
        parent=None,
        default_id=lambda: run_id,
        payloads=services.payloads,
        code_version=services.code_version,
        trace=services.hooks.carry(),
    )


def _declared(rule: Rule) -> registry.Declared:
    """Return the workflow of *rule*.

    Raises:
        DecodeError: It is not known here.
    """
    declared = registry.find(rule.workflow, rule.version)
    if declared is None:
        raise DecodeError(
            f"the schedule {rule.name!r}",
            f"workflow {rule.workflow!r} version {rule.version} is not known here",
        )
    declared.resolve()
    return declared


def _workflow(rule: Rule, tick: datetime) -> Any:
    declared = _declared(rule)
    values = json.loads(rule.input)
    if rule.takes_tick:
        values["tick"] = tick.isoformat()
    try:
        return declared.decode(json.dumps(values))
    except Undecodable as error:
        raise DecodeError(f"the schedule {rule.name!r}", error.reason) from error
