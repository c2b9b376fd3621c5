"""How answers are written: tables for people, JSON for programs.

Whatever comes from the database is shown without control characters, so that no
stored text can play tricks on a terminal.
"""

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from typing import Any
from typing import TypeVar

import click


@dataclass(frozen=True)
class Unreadable:
    """A stored value that cannot be shown here; for programs it is null."""

    reason: str

    def __str__(self) -> str:
        return f"<unreadable: {self.reason}>"


F = TypeVar("F", bound=Callable[..., Any])

_GAP = "  "
_WIDEST = 60  # characters of one cell in a table of several columns
_LONGEST = 2000  # characters of one fact


def json_option(command: F) -> F:
    """Let *command* be asked for JSON."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Answer in JSON, for programs."
    )(command)


def yes_option(command: F) -> F:
    """Let *command* be told that nobody needs to agree first."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(command)


def echo_json(value: Any) -> None:
    """Write *value* as one JSON text; times are ISO 8601 in UTC."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def echo_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write *rows* in columns under *headers*; a column is as wide as it must be."""
    cells = [[shortened(cell(value)) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for line in ([header.upper() for header in headers], *cells):
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo(_GAP.join(padded).rstrip())


def echo_facts(facts: Mapping[str, object]) -> None:
    """Write one fact a line, its name before it; facts that are None are left out."""
    told = {name: value for name, value in facts.items() if value is not None}
    width = max(map(len, told), default=0)
    for name, value in told.items():
        click.echo(f"{name.ljust(width)}{_GAP}{shortened(cell(value), _LONGEST)}")


def cell(value: object) -> str:
    """Return *value* as a person reads it, in one line."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, timedelta):
        return precise(value)
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    return visible(str(value))


def visible(text: str) -> str:
    """Return *text* with its control characters spelled out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, widest: int = _WIDEST) -> str:
    """Return the beginning of *text*, with dots if that is not all."""
    return text if len(text) <= widest else f"{text[: widest - 3]}..."


def precise(duration: timedelta) -> str:
    """Return *duration* as what took so long is measured, such as `0.012 s`."""
    return f"{duration.total_seconds():.3f} s"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Unreadable):
        return None
    raise TypeError(f"{type(value).__qualname__} has no place in an answer")
