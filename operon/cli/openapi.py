"""`operon openapi`: the document of what an application serves."""

from typing import Any

import click

from operon.cli import target
from operon.cli.output import echo_json


@click.command()
@click.option("--blueprint", metavar="NAME", help="Which one, if there are several.")
@target.app_option
def openapi(blueprint: str | None) -> None:
    """Write the OpenAPI document of a Flask application's blueprint.

    It is the one that the blueprint serves at /openapi.json. No database is opened.
    """
    echo_json(_chosen(target.flask_application(), blueprint).openapi())


def _chosen(app: Any, name: str | None) -> Any:
    """Return the blueprint *name* of *app*, or the only one.

    Raises:
        ClickException: There is none of that name, or several to choose from.
    """
    from operon.flask import OperonBlueprint  # noqa: PLC0415 - other commands need no Flask

    found = {
        key: each
        for key, each in app.blueprints.items()
        if isinstance(each, OperonBlueprint)
    }
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name in found:
        return found[name]
    known = ", ".join(sorted(found)) or "none"
    problem = "has several" if name is None and found else "has no such"
    raise click.ClickException(
        f"the application {problem} OperonBlueprint; name one of these by "
        f"--blueprint: {known}"
    )
