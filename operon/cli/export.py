"""`operon runs export`: one run's history as a bundle."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from operon.cli import target
from operon.cli.loading import load
from operon.cli.output import visible
from operon.errors import ConfigurationError
from operon.replay import export as export_run


@click.command()
@click.argument("run_id", metavar="ID")
@click.option(
    "--redact",
    multiple=True,
    metavar="NAME",
    help="Leave out the values of fields with this name, such as card or *token*; "
    "several may be given.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="The file to write; by default standard output.",
)
@target.database_options
def export(*, run_id: str, redact: Sequence[str], output: Path | None) -> None:
    """Write a run's history as a bundle, for `operon replay`.

    If the application is named as well, its code replays the history once, and what
    the body asked its operations with is noted in the bundle.
    """
    _import_application()
    with target.database() as operon:
        bundle = export_run(operon, run_id, redact=redact)
    if not bundle.noted.done:
        reason = visible(" ".join(str(bundle.noted.reason).split()))
        click.echo(f"Warning: arguments are not noted: {reason}", err=True)
    if output is None:
        click.echo(bundle.dump(), nl=False)
        return
    try:
        output.write_text(bundle.dump(), encoding="utf-8")
    except OSError as error:
        raise click.UsageError(
            f"the file {str(output)!r} cannot be written: {error.strerror}"
        ) from error


def _import_application() -> None:
    """Import the application, so that its workflows are declared.

    Where a database is named it is not needed, so one that cannot be imported here
    is left out. Where none is, `target.database` imports it.
    """
    name = target.find_app()
    if name is not None and target.find_url() is not None:
        with suppress(ConfigurationError):
            load(name)
