"""`operon token`: tokens for development, signed as an issuer would."""

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from operon.cli.params import Duration


@click.group()
def token() -> None:
    """Tokens for development and tests."""


@token.command()
@click.option("--issuer", required=True, help="Who issues it, as the service is told.")
@click.option("--audience", required=True, help="Which service it is for.")
@click.option("--subject", required=True, help="Who acts.")
@click.option(
    "--key",
    "source",
    type=click.File("r", encoding="utf-8"),
    help="A file with the secret, or with a private JWK; - reads standard input "
    "[env: OPERON_TOKEN_KEY, which holds the secret or JWK itself].",
)
@click.option("--algorithm", help="By default the JWK's, and HS256 for a secret.")
@click.option("--scope", "scopes", multiple=True, help="What the client may; repeat.")
@click.option("--role", "roles", multiple=True, help="What the user is; repeat.")
@click.option("--tenant", help="To whom the user belongs.")
@click.option("--client", help="The program that acts for the user.")
@click.option(
    "--lifetime",
    type=Duration(),
    default=timedelta(hours=1),
    show_default="1h",
    help="How long it is valid, such as 15min or 8h.",
)
@click.pass_context
def issue(
    ctx: click.Context, /, *, source: Any, lifetime: timedelta, **claims: Any
) -> None:
    """Write a signed token (RFC 9068) and nothing else.

    The key is never an argument, which other users of the machine could read.
    """
    from operon.flask.tokens import issue as signed  # noqa: PLC0415 - other commands need no JOSE

    key = _key(ctx, source)
    click.echo(signed(key=key, lifetime=lifetime, **claims))


def _key(ctx: click.Context, source: Any) -> str | Mapping[str, Any]:
    """Return the secret or JWK that is given.

    Raises:
        UsageError: None is.
        ClickException: It looks like a JWK, and is no JSON object.
    """
    text = os.environ.get("OPERON_TOKEN_KEY") if source is None else source.read()
    if not text:
        raise click.UsageError(
            "no key is given; name its file by --key, or set OPERON_TOKEN_KEY", ctx
        )
    text = text.strip()
    if not text.startswith("{"):
        return str(text)
    try:
        found: Mapping[str, Any] = json.loads(text)
    except ValueError as error:
        raise click.ClickException("the JWK is no JSON object; mend it") from error
    return found
