"""One bounded GET of a key set: no redirect, no second try, no endless answer."""

import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from http.client import HTTPResponse
from time import monotonic
from urllib.error import HTTPError

_HEADERS = {
    "Accept": "application/jwk-set+json, application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "operon",
}


@dataclass(frozen=True)
class Bounds:
    """How long a fetch may take, and how much it may bring."""

    seconds: float = 3.0
    """To connect, for each answer of the socket, and for the body as a whole."""
    size: int = 256 * 1024
    """Bytes of the body."""


class FetchFailed(Exception):  # noqa: N818 - a refusal that the caller translates
    """A key set could not be had; str() says why, and holds nothing of an answer."""


def fetched(url: str, bounds: Bounds) -> bytes:
    """Return the body at *url*, with status 200 and within *bounds*.

    Raises:
        FetchFailed: There is none such.
    """
    request = urllib.request.Request(url, headers=_HEADERS)  # noqa: S310 - the scheme was checked
    try:
        with _opener().open(request, timeout=bounds.seconds) as response:
            return _body(response, bounds)
    except HTTPError as answer:
        answer.close()
        raise FetchFailed(f"its status is {answer.code}") from answer
    except (OSError, HTTPException, ValueError) as error:
        raise FetchFailed(f"{type(error).__name__} was raised") from error


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https only, through the system's proxy if any.

    Without a redirect handler a redirect is an error like any other status.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _body(response: HTTPResponse, bounds: Bounds) -> bytes:
    if response.status != HTTPStatus.OK:
        raise FetchFailed(f"its status is {response.status}")
    until = monotonic() + bounds.seconds
    body = b""
    while chunk := response.read1(bounds.size + 1 - len(body)):
        body += chunk
        if len(body) > bounds.size:
            raise FetchFailed(f"it has more than {bounds.size} bytes")
        if monotonic() > until:
            raise FetchFailed(f"it took longer than {bounds.seconds} s")
    return body
