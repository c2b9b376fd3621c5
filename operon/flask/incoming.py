"""What came in: the body within its limit, and headers of which there may be one.

Flask cuts a chunked body at its own limit without a word, so the limit is checked here:
one byte more than allowed is read, and refused.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Request

from operon.flask.problem import ENCODING_REFUSED
from operon.flask.problem import INVALID_REQUEST
from operon.flask.problem import MALFORMED
from operon.flask.problem import MEDIA_TYPE_REFUSED
from operon.flask.problem import TOO_LARGE
from operon.flask.problem import Problem
from operon.flask.strict_json import MalformedJSON
from operon.flask.strict_json import parse

JSON = "application/json"


def body_of(request: Request, most: int) -> bytes:
    """Return the body of *request*, chunked or not.

    Raises:
        Problem: It is longer than *most* bytes; nothing was executed.
    """
    too_large = Problem(TOO_LARGE, f"A body may have {most} bytes")
    if request.content_length is not None and request.content_length > most:
        raise too_large
    request.max_content_length = None  # what Flask would cut is refused below
    data = request.stream.read(most + 1)
    if len(data) > most:
        raise too_large
    return data


def value_of(request: Request, data: bytes) -> Any:
    """Return the JSON value of the body *data*; an empty body is an empty object.

    Raises:
        Problem: It is of another media type, encoded, or not JSON.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(ENCODING_REFUSED, "Send the body as it is")
    if not data:
        return {}
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != JSON or charset not in {"utf-8", "utf8"}:
        raise Problem(MEDIA_TYPE_REFUSED, f"Send {JSON}")
    try:
        return parse(data)
    except MalformedJSON as error:
        raise Problem(MALFORMED, str(error)) from None


@dataclass(frozen=True)
class Preference:
    """How long a caller wants to wait for a run."""

    wait: timedelta
    applied: str | None
    """What is told of it, if it was heard."""


def preference_of(request: Request, default: timedelta, most: timedelta) -> Preference:
    """Return what `Prefer` asks for, within *most*.

    Source:
        RFC 7240, "Prefer Header for HTTP": unknown preferences are ignored.
    """
    for part in ",".join(request.headers.getlist("Prefer")).split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "respond-async":
            return Preference(timedelta(0), "respond-async")
        if name.lower() == "wait" and value.isascii() and value.isdigit():
            seconds = min(int(value[:9]), most.total_seconds())
            return Preference(timedelta(seconds=seconds), f"wait={seconds:.0f}")
    return Preference(default, None)


def refuse_two(request: Request, name: str) -> None:
    """Refuse a request that has the header *name* twice: which one counts?

    Raises:
        Problem: It has.
    """
    if len(request.headers.getlist(name)) > 1:
        raise Problem(INVALID_REQUEST, f"There is more than one {name} header")
