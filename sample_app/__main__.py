"""The command line of the shop: `python -m sample_app`."""

import click

from operon.errors import ConfigurationError
from sample_app.database import default_url
from sample_app.server import prepare
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
@click.option(
    "--prepare",
    "only_prepare",
    is_flag=True,
    help="Only create tables and goods, for another server such as gunicorn.",
)
def main(database_url: str, host: str, port: int, *, only_prepare: bool) -> None:
    """Open the shop; kill it and start it again as you like."""
    try:
        if only_prepare:
            prepare(database_url)
        else:
            serve(database_url, host, port)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
