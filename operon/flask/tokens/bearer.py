"""The one place of a request that a token may come in: its `Authorization` header."""

import re
from collections.abc import Sequence

from operon.flask.tokens.compact import LARGEST
from operon.flask.tokens.refusals import InvalidRequest
from operon.flask.tokens.refusals import InvalidToken
from operon.flask.tokens.refusals import Reason

_BEARER = re.compile(r"bearer(?: +(.*))?", re.ASCII | re.IGNORECASE | re.DOTALL)
_OTHER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: .*)?", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_SECOND = re.compile(r",\s*bearer\b", re.ASCII | re.IGNORECASE)


def bearer_token(headers: Sequence[str]) -> str | None:
    """Return the bearer token among the values of all `Authorization` *headers*.

    WSGI servers join several headers with commas; those are told apart as well.

    Returns:
        The token; None if there is no header, or one of another scheme.

    Raises:
        InvalidRequest: There are several.
        InvalidToken: The only one is not a scheme and its credentials, or is `Bearer`
            with anything but one token.
    """
    if len(headers) > 1 or any(_SECOND.search(header) for header in headers):
        raise InvalidRequest
    if not headers:
        return None
    bearer = _BEARER.fullmatch(headers[0])
    if bearer is not None:
        return _token(bearer[1] or "")
    if _OTHER.fullmatch(headers[0]):
        return None
    raise InvalidToken(Reason.MALFORMED_CREDENTIALS)


def _token(credentials: str) -> str:
    if len(credentials) > LARGEST:
        raise InvalidToken(Reason.TOO_LARGE)
    if "," in credentials:
        raise InvalidRequest
    if not _TOKEN.fullmatch(credentials):
        raise InvalidToken(Reason.MALFORMED_CREDENTIALS)
    return credentials
