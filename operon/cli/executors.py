"""`operon executors`: the processes that work on runs."""

from datetime import datetime
from datetime import timedelta

import click

from operon.app import Operon
from operon.cli import target
from operon.cli.output import echo_json
from operon.cli.output import echo_table
from operon.cli.output import json_option
from operon.cli.views import Fact
from operon.cli.wording import span
from operon.connect import lease_of
from operon.models import ExecutorRecord
from operon.store import doctor as store


@click.command()
@json_option
@target.database_options
def executors(*, as_json: bool) -> None:
    """List executors, the newest heartbeat first.

    One is silent if its heartbeat is older than the lease: others take its runs over.
    """
    with target.database() as operon:
        facts = _facts(operon)
    if as_json:
        echo_json(facts)
        return
    echo_table(
        ["id", "host", "pid", "heartbeat", "is", "queues", "workflows", "running"],
        [_row(each) for each in facts],
    )


def _facts(operon: Operon) -> list[Fact]:
    """Return what is known of each executor."""
    results, lease = operon.results(), lease_of(operon.engine, operon.settings)
    rows, database = operon.list_executors(), results.database
    with database.reading() as connection:
        running = store.held(connection)
        now = store.now(connection, database.backend, results.clock)
    return [_fact(row, running.get(row.id, 0), now, lease) for row in rows]


def _fact(row: ExecutorRecord, running: int, now: datetime, lease: timedelta) -> Fact:
    """Return what is known of one; the keys are the same in every release."""
    age = max(now - row.heartbeat_at, timedelta(0))
    return {
        "id": row.id,
        "host": row.host,
        "pid": row.pid,
        "code_version": row.code_version,
        "started_at": row.started_at,
        "heartbeat_at": row.heartbeat_at,
        "heartbeat_age": age,
        "live": age <= lease,
        "queues": row.queues,
        "workflows": row.workflows,
        "running": running,
    }


def _row(fact: Fact) -> list[object]:
    return [
        *(fact["id"], fact["host"], fact["pid"]),
        f"{span(fact['heartbeat_age'])} ago",
        "live" if fact["live"] else "silent",
        ", ".join(fact["queues"]) or None,
        len(fact["workflows"]),
        fact["running"],
    ]
