"""Who is who: customers order, staff refund, and a token says which of both one is.

The shop signs its tokens with a secret of its own, which is for development. In
production an identity provider does: give its address as `jwks_url=`.
"""

import os

from operon import current
from operon.errors import ConfigurationError
from operon.flask import JWTIssuer
from operon.flask import Principal

ISSUER = "https://id.shop.example/"
AUDIENCE = "shop"
CUSTOMER = "customer"
STAFF = "staff"
SECRET = "SAMPLE_APP_SECRET"  # noqa: S105 - where the secret is, not what it is
"""The environment variable with the secret: 32 characters or more."""
VISITOR = Principal(issuer=ISSUER, subject="visitor", roles=frozenset({CUSTOMER}))
"""For whom the page orders: anybody who can open it, and no one with a token."""


def trusted_issuer(secret: str | None = None) -> JWTIssuer:
    """Return the issuer of the shop's tokens, by default with the environment's secret.

    Raises:
        ConfigurationError: There is no secret, or it is too short.
    """
    secret = secret or os.environ.get(SECRET)
    if not secret:
        raise ConfigurationError(
            SECRET, "is not set", cure="set it to 32 random characters or more"
        )
    return JWTIssuer(ISSUER, audience=AUDIENCE, algorithms=["HS256"], secret=secret)


def who() -> Principal:
    """Return for whom the current run, step or transaction is done."""
    return Principal.from_json(current().principal)
