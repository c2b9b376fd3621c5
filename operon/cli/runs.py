"""`operon runs list|show|steps|explain`: looking at runs."""

import json
from typing import Any

import click

from operon.cli import operate
from operon.cli import target
from operon.cli import views
from operon.cli.output import cell
from operon.cli.output import echo_facts
from operon.cli.output import echo_json
from operon.cli.output import echo_table
from operon.cli.output import json_option
from operon.cli.views import Fact
from operon.status import RunStatus


@click.group()
def runs() -> None:
    """Look at runs, and tell them what to do."""


def _attribute(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Read `key=value`; a value that reads as a JSON scalar is that, else text."""
    attributes: dict[str, Any] = {}
    for each in values:
        key, separator, value = each.partition("=")
        if not key or not separator:
            raise click.BadParameter(f"{each!r} is no key=value", ctx, param)
        attributes[key] = _scalar(value)
    return attributes


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=str)  # NaN and the like are text
    except ValueError:
        return text
    return value if isinstance(value, str | int | float) else text


@runs.command("list")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in RunStatus]),
    help="Only runs that stand there; may be repeated.",
)
@click.option("--workflow", help="Only runs of this workflow.")
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_attribute,
    help="Only runs with this attribute; 5 is a number and '\"5\"' is text. "
    "May be repeated.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="At most so many.",
)
@json_option
@target.database_options
def list_command(
    *,
    statuses: tuple[str, ...],
    workflow: str | None,
    attributes: dict[str, Any],
    limit: int,
    as_json: bool,
) -> None:
    """List runs, the newest first."""
    with target.database() as operon:
        rows = operon.list_runs(
            status=[RunStatus(status) for status in statuses],
            workflow=workflow,
            attributes=attributes,
            limit=limit,
        )
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


for _command in (operate.cancel, operate.resume, operate.retry, operate.fork):
    runs.add_command(_command)


def _echo_runs(facts: list[Fact]) -> None:
    columns = ["id", "workflow", "version", "status", "queue"]
    columns += ["created_at", "finished_at"]
    headers = [name.removesuffix("_at") for name in columns]
    echo_table(headers, [[fact[name] for name in columns] for fact in facts])


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
