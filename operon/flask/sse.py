"""Server-sent events: a stream of a run, resumed where the reader stopped.

Source:
    WHATWG, "Server-sent events": `id` comes back as `Last-Event-ID`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from flask import Response

from operon.handle import Handle

_OFFSET = re.compile("[0-9]{1,9}")


def events(
    handle: Handle[Any], stream: str, last: str | None, like: Response
) -> Response:
    """Return a response that goes on until the run has ended.

    Args:
        handle: The run.
        stream: Which of its streams.
        last: The offset that the reader has seen last, if it has.
        like: A response whose headers this one has as well.
    """
    response = Response(
        _lines(handle, stream, _after(last)), mimetype="text/event-stream", headers={}
    )
    for name, text in like.headers:
        if name not in {"Content-Type", "Content-Length"}:
            response.headers[name] = text
    return response


def _after(last: str | None) -> int:
    """Return the offset of what comes after *last*; 0 if that is none of ours."""
    known = last is not None and _OFFSET.fullmatch(last) is not None
    return int(last) + 1 if known and last is not None else 0


def _lines(handle: Handle[Any], stream: str, offset: int) -> Iterator[str]:
    yield ": the stream is open\n\n"
    for number, value in enumerate(handle.stream(stream, offset=offset), start=offset):
        yield f"id: {number}\ndata: {json.dumps(value)}\n\n"
    yield "event: end\ndata: {}\n\n"
