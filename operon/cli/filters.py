"""Which runs a command means: the options that say it."""

import json
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import TypeVar

import click

from operon.cli.params import Moment
from operon.status import RunStatus

F = TypeVar("F", bound=Callable[..., Any])

Conditions = dict[str, Any]
"""By the names that `Operon.list_runs` and the bulk operations give them."""


def _attribute(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Read `key=value`; a value that reads as a JSON scalar is that, else text."""
    attributes: dict[str, Any] = {}
    for each in values:
        key, separator, value = each.partition("=")
        if not key or not separator:
            raise click.BadParameter(f"{each!r} is no key=value", ctx, param)
        attributes[key] = _scalar(value)
    return attributes


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=str)  # NaN and the like are text
    except ValueError:
        return text
    return value if isinstance(value, str | int | float) else text


def _statuses(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> list[RunStatus]:
    del ctx, param
    return [RunStatus(value) for value in values]


def filter_options(command: F) -> F:
    """Let *command* be told what holds for the runs that are meant."""
    for option in reversed((
        click.option("--workflow", help="Only runs of this workflow."),
        click.option("--queue", help="Only runs of this queue."),
        click.option(
            "--attribute",
            "attributes",
            multiple=True,
            metavar="KEY=VALUE",
            callback=_attribute,
            help="Only runs with this attribute; 5 is a number and '\"5\"' is text. "
            "May be repeated.",
        ),
        click.option(
            "--created-after",
            type=Moment(),
            help="Only runs created then or later: ISO 8601, in UTC if it says no "
            "offset.",
        ),
        click.option(
            "--created-before", type=Moment(), help="Only runs created before."
        ),
    )):
        command = option(command)
    return command


def status_option(statuses: Iterable[RunStatus]) -> Callable[[F], F]:
    """Let a command be told where the runs stand that are meant."""
    return click.option(
        "--status",
        multiple=True,
        type=click.Choice([status.value for status in statuses]),
        callback=_statuses,
        help="Only runs that stand there; may be repeated.",
    )


def is_given(conditions: Conditions) -> bool:
    """Tell whether *conditions* leave any run out."""
    return any(value not in (None, {}, []) for value in conditions.values())
