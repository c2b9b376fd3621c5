"""A transport that repeats a request, with one key, until somebody knows what it did.

Whoever sends a request and hears nothing cannot know whether it was done. With an
idempotency key it need not: the same request is answered as it was the first time.
"""

import random
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import cast
from uuid import uuid4

import httpx

HEADER = "Idempotency-Key"

_KEYED = {"POST", "PUT", "PATCH", "DELETE"}
_LATER = {425, 429, 502, 503, 504}
_CONFLICT = 409
_FIRST_WAIT = 0.2  # seconds
_LONGEST_WAIT = 10.0


class OnceTransport(httpx.BaseTransport):
    """Mints a key for each call that changes things, and repeats calls that failed.

    A call is repeated, with the same key, when the connection broke, when the server
    could not work (425, 429, 502, 503, 504), or when it still works on the same call
    (409 with `Retry-After`). Its body has to be one that can be sent again: bytes, JSON
    or form data, not a stream.
    """

    def __init__(
        self,
        wrapped: httpx.BaseTransport | None = None,
        *,
        patience: timedelta = timedelta(seconds=60),
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Send by *wrapped* until *patience* is over.

        Args:
            wrapped: What sends a request once; by default httpx's own.
            patience: For how long a call is repeated.
            sleep: Waits for so many seconds.
            monotonic: Counts seconds.
        """
        self._wrapped = httpx.HTTPTransport() if wrapped is None else wrapped
        self._patience = patience.total_seconds()
        self._sleep = sleep
        self._monotonic = monotonic

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first response that says what came of *request*, or the last.

        Raises:
            httpx.TransportError: The connection broke until the patience was over;
                sending the request again with the same key does nothing twice.
        """
        if request.method in _KEYED and HEADER not in request.headers:
            request.headers[HEADER] = str(uuid4())
        request.read()  # so that it can be sent again
        until, tries = self._monotonic() + self._patience, 0
        while True:
            tries += 1
            pause = min(_LONGEST_WAIT, _FIRST_WAIT * 2**tries)
            pause *= random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret
            try:
                response = self._sent(request)
            except httpx.TransportError:
                if not self._may_repeat(request) or self._monotonic() + pause > until:
                    raise
            else:
                wanted = _wait_of(response)
                if wanted is None:
                    return response
                pause = max(pause, wanted)
                if self._monotonic() + pause > until:
                    return response
                response.close()
            self._sleep(pause)

    def _sent(self, request: httpx.Request) -> httpx.Response:
        """Send it once; an answer to a call with a key is there as a whole, or none."""
        response = self._wrapped.handle_request(request)
        if request.method not in _KEYED:
            return response
        with closing(response):
            body = b"".join(cast("httpx.SyncByteStream", response.stream))
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=httpx.ByteStream(body),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close what sends."""
        self._wrapped.close()

    @staticmethod
    def _may_repeat(request: httpx.Request) -> bool:
        """Whether a request that may have been done can be sent again."""
        return HEADER in request.headers or request.method in {"GET", "HEAD", "OPTIONS"}


def _wait_of(response: httpx.Response) -> float | None:
    """Return how many seconds to wait before sending again; None: it is answered."""
    told = response.headers.get("Retry-After")
    if response.status_code in _LATER:
        return 0.0 if told is None else _seconds(told)
    if response.status_code == _CONFLICT and told is not None:
        return _seconds(told)
    return None


def _seconds(told: str) -> float:
    """Return what `Retry-After` says: seconds, or a time."""
    if told.isascii() and told.isdigit():
        return float(told)
    try:
        left = parsedate_to_datetime(told) - datetime.now(UTC)
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, left.total_seconds())
