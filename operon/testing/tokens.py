"""Tokens for tests: signed by an issuer that the tested application trusts."""

from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from operon.clock import Clock
from operon.flask import JWTIssuer
from operon.flask.tokens import issue
from operon.flask.tokens.minting import Signer


class Token(str):
    """A signed token, as text."""

    __slots__ = ()

    @property
    def headers(self) -> dict[str, str]:
        """What a request sends along to be whoever the token names."""
        return {"Authorization": f"Bearer {self}"}


@dataclass(frozen=True)
class TokenIssuer:
    """Signs tokens as a production issuer would, and says how to trust it.

    Attributes:
        issuer: Its name, the `iss` of its tokens.
        audience: For whom they are.
        key: The secret (HS256, 32 bytes or more), or a private JWK.
    """

    issuer: str = "https://issuer.test/"
    audience: str = "tests"
    key: Signer = "thirty-two bytes, for tests only"

    @property
    def trusted(self) -> JWTIssuer:
        """What a blueprint is told to accept its tokens; for a secret."""
        secret = str(self.key)
        return JWTIssuer(
            self.issuer, audience=self.audience, algorithms=["HS256"], secret=secret
        )

    def token(
        self,
        subject: str = "tester",
        *,
        roles: Collection[str] = (),
        scopes: Collection[str] = (),
        tenant: str | None = None,
        client: str | None = None,
        lifetime: timedelta = timedelta(hours=1),
        claims: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
    ) -> Token:
        """Return a token that is valid from now for *lifetime*.

        Args:
            subject: Who acts.
            roles: What the user is.
            scopes: What the client may.
            tenant: To whom the user belongs.
            client: The program that acts for the user.
            lifetime: How long it is valid; below zero, it has expired.
            claims: More claims, or others in place of these.
            clock: Tells the time; by default this machine's.

        Raises:
            ConfigurationError: The key cannot sign.
        """
        return Token(
            issue(
                issuer=self.issuer,
                audience=self.audience,
                key=self.key,
                subject=subject,
                roles=roles,
                scopes=scopes,
                tenant=tenant,
                client=client,
                lifetime=lifetime,
                claims=claims,
                clock=clock,
            )
        )
