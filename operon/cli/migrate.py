"""`operon migrate`: bring Operon's tables to the revision this code needs."""

import click

from operon import schema
from operon.cli import target


@click.command()
@click.option(
    "--revision",
    default="head",
    show_default=True,
    help="How far: head, or one of the revisions in between.",
)
@target.database_options
def migrate(revision: str) -> None:
    """Create or upgrade Operon's tables.

    Its role needs to own the tables or be allowed to create them. Several may
    migrate at once: one does, the others wait and find nothing to do.
    """
    with target.database(making=True) as operon:
        schema.upgrade(operon.engine, revision)
        reached = schema.HEAD if revision == "head" else revision
        where = operon.engine.url.render_as_string()
    click.echo(f"Operon's tables in {where} are at revision {reached}.")
