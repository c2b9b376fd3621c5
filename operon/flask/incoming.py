"""What came in: the body within its limit, and headers of which there may be one.

Flask cuts a chunked body at its own limit without a word, so the limit is checked here:
one byte more than allowed is read, and refused.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from flask import Request
from werkzeug.exceptions import BadRequest

from operon.flask.problem import ENCODING_REFUSED
from operon.flask.problem import INVALID_REQUEST
from operon.flask.problem import MALFORMED
from operon.flask.problem import MEDIA_TYPE_REFUSED
from operon.flask.problem import TOO_LARGE
from operon.flask.problem import Problem
from operon.flask.strict_json import MalformedJSON
from operon.flask.strict_json import parse

JSON = "application/json"

_FORM = "application/x-www-form-urlencoded"
_TOKEN = "access_token"  # noqa: S105 - a name (RFC 6750, section 2.2)


def body_of(request: Request, most: int) -> bytes:
    """Return the body of *request*, chunked or not.

    It can be read from *request* as well afterwards, by a natural key for example.

    Raises:
        Problem: It is longer than *most* bytes, ends too early, or is a form with a
            token; nothing was executed.
    """
    too_large = Problem(TOO_LARGE, f"A body may have {most} bytes")
    if request.content_length is not None and request.content_length > most:
        raise too_large
    request.max_content_length = most + 1  # or the application's own would cut it
    try:
        data = _read(request, most + 1)
    except (OSError, BadRequest):
        raise Problem(INVALID_REQUEST, "The body ends too early") from None
    if len(data) > most:
        raise too_large
    if request.mimetype == _FORM and _TOKEN in _names(data):
        raise Problem(INVALID_REQUEST, "A token belongs into the Authorization header")
    request.stream = io.BytesIO(data)  # pyright: ignore[reportAttributeAccessIssue]  # a cached one may be set
    return data


def _read(request: Request, most: int) -> bytes:
    """Return the body or its first *most* bytes; some servers give a part at a time."""
    data = bytearray()
    while len(data) < most and (part := request.stream.read(most - len(data))):
        data += part
    return bytes(data)


def _names(form: bytes) -> set[str]:
    return {name for name, _ in parse_qsl(form.decode("latin-1"), True)}  # noqa: FBT003 - of a library


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
    wanted = dict(_preferences(request))
    seconds = wanted.get("wait", "")
    if seconds.isascii() and seconds.isdigit():
        wait = min(int(seconds[:9]), most.total_seconds())
        return Preference(timedelta(seconds=wait), f"wait={wait:.0f}")
    if "respond-async" in wanted:
        return Preference(timedelta(0), "respond-async")
    return Preference(default, None)


def _preferences(request: Request) -> Iterator[tuple[str, str]]:
    """Yield what is preferred, the last first: of two the first counts."""
    given = ",".join(request.headers.getlist("Prefer")).split(",")
    for each in reversed(given):
        name, _, value = each.partition(";")[0].partition("=")
        yield name.strip().lower(), value.strip().strip('"')
