"""`operon runs list|show|steps|explain`: looking at runs."""

from typing import Any

import click

from operon.cli import bulk
from operon.cli import filters
from operon.cli import target
from operon.cli import views
from operon.cli.export import export
from operon.cli.fork import fork
from operon.cli.output import cell
from operon.cli.output import echo_facts
from operon.cli.output import echo_json
from operon.cli.output import echo_table
from operon.cli.output import json_option
from operon.cli.purge import purge
from operon.cli.views import Fact
from operon.status import RunStatus


@click.group()
def runs() -> None:
    """Look at runs, and tell them what to do."""


@runs.command("list")
@filters.status_option(RunStatus)
@filters.filter_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="At most so many.",
)
@json_option
@target.database_options
def list_command(*, limit: int, as_json: bool, **conditions: Any) -> None:
    """List runs, the newest first."""
    with target.database() as operon:
        rows = operon.list_runs(limit=limit, **conditions)
    facts = [views.brief(row) for row in rows]
    if as_json:
        echo_json(facts)
    else:
        _echo_runs(facts)


@runs.command()
@click.argument("run_id", metavar="ID")
@json_option
@target.database_options
def show(*, run_id: str, as_json: bool) -> None:
    """Show everything that is known of a run."""
    with target.database() as operon:
        row, result = operon.get_run(run_id), operon.results().get(run_id)
        facts = views.details(row, result, views.reader_of(operon))
    if as_json:
        echo_json(facts)
    else:
        echo_facts(facts)


@runs.command()
@click.argument("run_id", metavar="ID")
@click.option("--attempts", is_flag=True, help="Also what failed and was tried again.")
@json_option
@target.database_options
def steps(*, run_id: str, attempts: bool, as_json: bool) -> None:
    """List a run's history: its operations in order of position."""
    with target.database() as operon:
        reader = views.reader_of(operon)
        facts = [views.step(row, reader) for row in operon.list_steps(run_id)]
        failed = views.attempts(operon, run_id) if attempts else []
    if as_json:
        echo_json(views.with_attempts(facts, failed) if attempts else facts)
        return
    _echo_steps(facts)
    if attempts:
        click.echo()
        _echo_attempts(failed)


@runs.command()
@click.argument("run_id", metavar="ID")
@json_option
@target.database_options
def explain(*, run_id: str, as_json: bool) -> None:
    """Say in one sentence why a run has, or has not, come to its end."""
    with target.database() as operon:
        facts = views.explained(operon, run_id)
    if as_json:
        echo_json(facts)
    else:
        click.echo(facts["explanation"])


for _command in (bulk.cancel, bulk.resume, bulk.retry, fork, export, purge):
    runs.add_command(_command)


def _echo_runs(facts: list[Fact]) -> None:
    """Write a line for each run; what few runs have has a column if any has it."""
    rare = {
        "partition": [fact["partition"] for fact in facts],
        "waits for": [_wait(fact) for fact in facts],
        "deadline": [fact["deadline_at"] for fact in facts],
        "continued as": [fact["continued_as"] for fact in facts],
    }
    columns = {
        **{
            name: [fact[name] for fact in facts]
            for name in ("id", "workflow", "version", "status", "queue")
        },
        **{name: told for name, told in rare.items() if any(told)},
        "created": [fact["created_at"] for fact in facts],
        "finished": [fact["finished_at"] for fact in facts],
    }
    echo_table(list(columns), list(zip(*columns.values(), strict=True)))


def _wait(fact: Fact) -> str | None:
    """Return what a run waits for in a word or two."""
    told = (fact["wait_kind"], fact["wait_key"] or fact["wait_on"])
    return " ".join(each for each in told if each is not None) or None


def _echo_steps(facts: list[Fact]) -> None:
    echo_table(
        ["position", "kind", "name", "attempts", "outcome", "duration"],
        [
            [
                *(fact[name] for name in ("position", "kind", "name", "attempts")),
                _outcome(fact),
                fact["duration"],
            ]
            for fact in facts
        ],
    )


def _outcome(fact: Fact) -> str:
    if fact["error"] is not None:
        return f"failed: {fact['error']}"
    return "" if fact["output"] is None else cell(fact["output"])


def _echo_attempts(facts: list[Fact]) -> None:
    columns = ["position", "attempt", "name", "failed_at", "error", "next_at"]
    echo_table(
        ["position", "attempt", "name", "failed", "error", "next attempt"],
        [[fact[name] for name in columns] for fact in facts],
    )
