"""`operon runs fork`: another run from the beginning of one."""

import click

from operon.cli import target
from operon.cli import views
from operon.cli.output import echo_json
from operon.cli.output import json_option


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
