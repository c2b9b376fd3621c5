"""Tokens of the sample shop's people, signed with the secret of its tests."""

from collections.abc import Collection

from operon.flask.tokens import issue
from sample_app.identity import AUDIENCE
from sample_app.identity import ISSUER

SECRET = "a secret of thirty-two bytes, or more"  # noqa: S105 - a test's
ORDERING = ("orders:read", "orders:write")
"""What a customer's program may."""
REFUNDING = ("orders:read", "orders:refund")
"""What the staff's may."""


def create_token(
    subject: str,
    roles: Collection[str],
    scopes: Collection[str],
    secret: str = SECRET,
) -> str:
    """Return a token that says all this."""
    return issue(
        issuer=ISSUER,
        audience=AUDIENCE,
        subject=subject,
        roles=roles,
        scopes=scopes,
        key=secret,
    )
