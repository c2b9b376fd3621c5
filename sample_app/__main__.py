"""The command line of the shop: `python -m sample_app`."""

import click

from operon.errors import ConfigurationError
from sample_app.database import default_url
from sample_app.server import serve


@click.command(name="sample_app")
@click.option(
    "--database-url",
    default=default_url,
    show_default="$SAMPLE_APP_DATABASE_URL, $OPERON_DATABASE_URL, sqlite:///shop.db",
    help="Where the shop keeps everything; any database that Operon runs on.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, help="0 takes a free one.")
def main(database_url: str, host: str, port: int) -> None:
    """Open the shop; kill it and start it again as you like."""
    try:
        serve(database_url, host, port)
    except ConfigurationError as error:
        raise click.BadParameter(str(error), param_hint="--database-url") from error


if __name__ == "__main__":
    main()
