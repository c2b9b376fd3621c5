"""`operon runs purge`: removing what has ended long ago."""

from dataclasses import asdict
from datetime import datetime
from datetime import timedelta

import click

from operon.app import Operon
from operon.cli import target
from operon.cli.output import cell
from operon.cli.output import echo_json
from operon.cli.output import json_option
from operon.cli.output import yes_option
from operon.cli.params import Duration
from operon.cli.progress import progress
from operon.cli.wording import count
from operon.executor.retention import Purged
from operon.store import doctor
from operon.store import purge as store


@click.command()
@click.option(
    "--older-than",
    type=Duration(),
    required=True,
    help="Only runs that ended longer ago, such as 30d, 12h or 90s.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="How many runs one transaction removes.",
)
@yes_option
@json_option
@target.database_options
def purge(*, older_than: timedelta, batch: int, yes: bool, as_json: bool) -> None:
    """Remove runs that ended long ago, and their histories, for ever.

    Kept are live runs and their children, the first run of a live chain, and runs
    that rows of the application refer to. It may be cut off at any time, and goes
    on where it was when called again.
    """
    with target.database() as operon:
        before, total = _extent(operon, older_than)
        if total and not yes:
            runs = f"{count(total, 'run')} that ended before {cell(before)}"
            click.confirm(f"Remove {runs}?", abort=True, err=True)
        purged = _purge(operon, older_than, batch, total) if total else Purged(0, 0)
    if as_json:
        echo_json(asdict(purged))
    else:
        _echo(purged)


def _extent(operon: Operon, older_than: timedelta) -> tuple[datetime, int]:
    """Return before what a run has to have ended, and how many did."""
    results = operon.results()
    database = results.database
    with database.reading() as connection:
        now = doctor.now(connection, database.backend, results.clock)
        before = now - older_than
        return before, store.count(connection, before)


def _purge(operon: Operon, older_than: timedelta, batch: int, total: int) -> Purged:
    with progress("purge", total) as tell:
        seen = 0

        def advance(looked_at: int, of: int) -> None:
            nonlocal seen
            del of
            tell(looked_at - seen)
            seen = looked_at

        return operon.purge(older_than, batch=batch, progress=advance)


def _echo(purged: Purged) -> None:
    click.echo(f"{count(purged.removed, 'run')} removed")
    stay = count(purged.referenced, "run")
    if purged.referenced == 1:
        click.echo(f"{stay} stays, because rows of the application refer to it")
    elif purged.referenced:
        click.echo(f"{stay} stay, because rows of the application refer to them")
