"""Pages of runs: which ones a query asks for, and where the next page begins."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any

from flask import Request

from operon.flask.problem import INVALID
from operon.flask.problem import Flaw
from operon.flask.problem import Problem
from operon.flask.strict_json import escaped
from operon.flask.strict_json import is_storable
from operon.flask.strict_json import parse
from operon.models import WorkflowRun
from operon.status import RunStatus

USUAL = 50  # runs
MOST = 200  # runs
PLACE = r"^[0-9]{1,16}\.[^\u0000]+$"
"""What a page begins after: microseconds since 1970, and the id of a run."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_ATTRIBUTE = re.compile(r"attribute\[(.*)\]", re.DOTALL)


@dataclass(frozen=True)
class RunPage:
    """Which runs are asked for."""

    limit: int
    conditions: Mapping[str, Any]

    @classmethod
    def of(cls, request: Request) -> "RunPage":
        """Read it from the query.

        Raises:
            Problem: The query does not make sense; all of it is told.
        """
        flaws: list[Flaw] = []
        conditions: dict[str, Any] = {}
        for name, texts in request.args.lists():
            try:
                conditions |= _condition(name, texts, conditions)
            except ValueError:
                flaws.append(Flaw(f"query/{escaped(name)}", "It is not allowed"))
        if flaws:
            raise Problem(INVALID, "The query does not make sense", errors=flaws)
        limit = conditions.pop("limit", USUAL)
        return cls(limit, conditions)


def place_of(run: WorkflowRun) -> str:
    """Return what the page after *run* begins after, as one word."""
    return f"{(run.created_at - _EPOCH) // _MICROSECOND}.{run.id}"


def _condition(
    name: str, texts: list[str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the condition that *texts* mean, given as *name*.

    Raises:
        ValueError: They mean nothing.
    """
    if not all(is_storable(text) for text in (name, *texts)):
        raise ValueError
    if name == "status":
        return {"status": tuple(RunStatus(text) for text in texts)}
    [text] = texts
    match name:
        case "workflow":
            return {"workflow": text}
        case "created_after" | "created_before":
            return {name: _moment(text)}
        case "limit":
            return {"limit": _limit(text)}
        case "after":
            return {"older_than": _place(text)}
        case _:
            return {"attributes": before.get("attributes", {}) | _attribute(name, text)}


def _limit(text: str) -> int:
    limit = parse(text.encode())
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise ValueError  # noqa: TRY004 - what is read is a text, of any type
    if not 1 <= limit <= MOST:
        raise ValueError
    return limit


def _moment(text: str) -> datetime:
    if _MOMENT.fullmatch(text.upper()) is None:
        raise ValueError
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError from error


def _place(text: str) -> tuple[datetime, str]:
    if re.fullmatch(PLACE, text) is None:
        raise ValueError
    since, _, run_id = text.partition(".")
    return _EPOCH + int(since) * _MICROSECOND, run_id


def _attribute(name: str, text: str) -> dict[str, str]:
    found = _ATTRIBUTE.fullmatch(name)
    if found is None:
        raise ValueError
    return {found[1]: text}
