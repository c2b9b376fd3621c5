"""`operon runs cancel|resume|retry|fork`: telling runs what to do.

They only write rows; launched executors do the rest.
"""

import click

from operon.app import Operon
from operon.cli import target
from operon.cli import views
from operon.cli.output import echo_json
from operon.cli.output import json_option


@click.command()
@click.argument("run_id", metavar="ID")
@click.option("--force", is_flag=True, help="End it at once, without compensation.")
@json_option
@target.database_options
def cancel(*, run_id: str, force: bool, as_json: bool) -> None:
    """Ask a run to end; its body may compensate."""
    with target.database() as operon:
        operon.cancel(run_id, force=force)
        _answer(operon, run_id, as_json=as_json)


@click.command()
@click.argument("run_id", metavar="ID")
@json_option
@target.database_options
def resume(*, run_id: str, as_json: bool) -> None:
    """Continue a run that is dead or was cancelled by force."""
    with target.database() as operon:
        operon.resume(run_id)
        _answer(operon, run_id, as_json=as_json)


@click.command()
@click.argument("run_id", metavar="ID")
@json_option
@target.database_options
def retry(*, run_id: str, as_json: bool) -> None:
    """Redo the operation that made a run fail."""
    with target.database() as operon:
        operon.retry(run_id)
        _answer(operon, run_id, as_json=as_json)


@click.command()
@click.argument("run_id", metavar="ID")
@click.option(
    "--from-position",
    type=click.IntRange(min=1),
    required=True,
    help="The first position to redo; what was recorded before it is kept.",
)
@click.option("--id", "new_id", help="The new run's id; by default a fresh one.")
@json_option
@target.database_options
def fork(*, run_id: str, from_position: int, new_id: str | None, as_json: bool) -> None:
    """Make a new run from the beginning of another; write its id."""
    with target.database() as operon:
        handle = operon.fork(run_id, from_position=from_position, id=new_id)
        if as_json:
            echo_json(views.explained(operon, handle.id))
        else:
            click.echo(handle.id)


def _answer(operon: Operon, run_id: str, *, as_json: bool) -> None:
    """Say where the run stands now."""
    facts = views.explained(operon, run_id)
    if as_json:
        echo_json(facts)
    else:
        click.echo(facts["explanation"])
