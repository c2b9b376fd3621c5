"""Authentication: who a request acts for, told by its one bearer token."""

import logging

from flask import Request

from operon.flask.problem import AUTH_UNAVAILABLE
from operon.flask.problem import INVALID_REQUEST
from operon.flask.problem import INVALID_TOKEN
from operon.flask.problem import UNAUTHENTICATED
from operon.flask.problem import Problem
from operon.flask.tokens import InvalidRequest
from operon.flask.tokens import InvalidToken
from operon.flask.tokens import KeysUnavailable
from operon.flask.tokens import Principal
from operon.flask.tokens import TokenVerifier
from operon.flask.tokens import bearer_token
from operon.hooks import Hooks
from operon.hooks import TokenRefused

_logger = logging.getLogger("operon.flask")

_CHALLENGE = 'Bearer realm="operon"'
_BAD_TOKEN = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
_ELSEWHERE = ("access_token", "token")
"""Where a token must not be: it would be logged with the URL, or cached."""


def authenticate(
    request: Request, verifier: TokenVerifier | None, hooks: Hooks
) -> Principal:
    """Return who *request* acts for.

    Raises:
        Problem: Nobody, or nobody can say now. Why a token is refused, only the log and
            *hooks* are told.
    """
    if any(name in request.args for name in _ELSEWHERE):
        raise Problem(INVALID_REQUEST, "A token belongs into the Authorization header")
    try:
        token = bearer_token(request.headers.getlist("Authorization"))
        if token is None or verifier is None:
            raise Problem(
                UNAUTHENTICATED,
                "Send a bearer token",
                headers={"WWW-Authenticate": _CHALLENGE},
            )
        return verifier.verify(token)
    except InvalidRequest:
        raise Problem(INVALID_REQUEST, "Send credentials once") from None
    except InvalidToken as refusal:
        _logger.info("a token is refused: %s", refusal.reason)
        hooks.tell(TokenRefused(str(refusal.reason)))
        raise Problem(
            INVALID_TOKEN, "It is not accepted here", headers=_BAD_TOKEN
        ) from None
    except KeysUnavailable as away:
        raise Problem(
            AUTH_UNAVAILABLE,
            "Ask again later",
            headers={"Retry-After": str(away.retry_after)},
        ) from None
