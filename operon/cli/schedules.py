"""`operon schedules list|pause|resume|trigger|remove`: what starts by itself."""

import click

from operon.app import Operon
from operon.cli import target
from operon.cli import views
from operon.cli.output import cell
from operon.cli.output import echo_json
from operon.cli.output import echo_table
from operon.cli.output import json_option
from operon.cli.output import visible
from operon.cli.views import Fact
from operon.models import ScheduleRecord


@click.group()
def schedules() -> None:
    """Look at schedules, pause them, and start what they start."""


@schedules.command("list")
@json_option
@target.database_options
def list_command(*, as_json: bool) -> None:
    """List schedules, and when they start something next."""
    with target.database() as operon:
        facts = [_fact(operon, row) for row in operon.list_schedules()]
    if as_json:
        echo_json(facts)
        return
    columns = ["name", "cron", "timezone", "workflow", "version", "queue"]
    headers = [*columns, "catch up", "last tick", "next", "paused since"]
    columns += ["catch_up", "last_tick_at", "next_at", "paused_at"]
    echo_table(headers, [[fact[each] for each in columns] for fact in facts])


@schedules.command()
@click.argument("name")
@json_option
@target.database_options
def pause(*, name: str, as_json: bool) -> None:
    """Let a schedule start nothing by itself."""
    with target.database() as operon:
        operon.pause_schedule(name)
        fact = _find(operon, name)
    _answer(fact, "is paused", as_json)


@schedules.command()
@click.argument("name")
@json_option
@target.database_options
def resume(*, name: str, as_json: bool) -> None:
    """Let a schedule go on; ticks meanwhile were not missed."""
    with target.database() as operon:
        operon.resume_schedule(name)
        fact = _find(operon, name)
    _answer(fact, f"goes on, next at {cell(fact['next_at'])}", as_json)


@schedules.command()
@click.argument("name")
@json_option
@target.app_option
def trigger(*, name: str, as_json: bool) -> None:
    """Start a run of a schedule now, paused or not; write its id.

    It needs the application, which has to declare the schedule's workflow.
    """
    with target.application() as operon:
        handle = operon.trigger_schedule(name)
        if as_json:
            echo_json(views.explained(operon, handle.id))
        else:
            click.echo(handle.id)


@schedules.command()
@click.argument("name")
@json_option
@target.database_options
def remove(*, name: str, as_json: bool) -> None:
    """Forget a schedule; the runs it started stay.

    A program that still declares it makes it anew when it is launched.
    """
    with target.database() as operon:
        fact = _find(operon, name)
        operon.remove_schedule(name)
    _answer(fact or {"name": name}, "is removed; the runs it started stay", as_json)


def _fact(operon: Operon, row: ScheduleRecord) -> Fact:
    """Return what is known of a schedule; the keys are the same in every release."""
    told = (
        "name cron timezone workflow version queue catch_up takes_tick paused_at "
        "last_tick_at next_at created_at updated_at"
    )
    reader = views.reader_of(operon)
    return {
        **{name: getattr(row, name) for name in told.split()},
        "input": reader.value(row.input, None),
    }


def _find(operon: Operon, name: str) -> Fact:
    """Return the facts of the schedule *name*; none if there is no such schedule."""
    found = [row for row in operon.list_schedules() if row.name == name]
    return _fact(operon, found[0]) if found else {}


def _answer(fact: Fact, sentence: str, as_json: bool) -> None:  # noqa: FBT001 - only called here
    if as_json:
        echo_json(fact)
    else:
        click.echo(f"schedule {visible(fact['name'])!r} {sentence}")
