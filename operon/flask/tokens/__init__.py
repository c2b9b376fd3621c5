"""Bearer tokens: from the text of one to a verified principal, or a refusal.

This package knows nothing of Flask, requests or responses. python-jose checks the
signatures; what it reads leniently was read strictly before. Times are told by a
clock that is passed in.
"""

from operon.flask.tokens.bearer import bearer_token
from operon.flask.tokens.issuer import JWTIssuer
from operon.flask.tokens.minting import issue
from operon.flask.tokens.principal import Principal
from operon.flask.tokens.refusals import InvalidRequest
from operon.flask.tokens.refusals import InvalidToken
from operon.flask.tokens.refusals import KeysUnavailable
from operon.flask.tokens.refusals import Reason
from operon.flask.tokens.verifier import TokenVerifier
from operon.flask.tokens.verifier import Verifier

__all__ = [
    "InvalidRequest",
    "InvalidToken",
    "JWTIssuer",
    "KeysUnavailable",
    "Principal",
    "Reason",
    "TokenVerifier",
    "Verifier",
    "bearer_token",
    "issue",
]
