"""Tokens of one's own, for development and tests: signed as an issuer would."""

from collections.abc import Collection
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

from operon.clock import Clock
from operon.clock import SystemClock
from operon.errors import ConfigurationError
from operon.flask.tokens import keys
from operon.flask.tokens.algorithms import ALGORITHMS
from operon.flask.tokens.keys import KeyRefused
from operon.flask.tokens.keys import NotOurs
from operon.flask.tokens.signature import PreparedKey
from operon.flask.tokens.signature import Unusable
from operon.flask.tokens.signature import prepared
from operon.flask.tokens.signature import signed

Signer = str | bytes | Mapping[str, Any]
"""A secret, or a JWK that is private or holds one."""


def issue(
    *,
    issuer: str,
    audience: str,
    subject: str,
    key: Signer,
    algorithm: str | None = None,
    tenant: str | None = None,
    client: str | None = None,
    scopes: Collection[str] = (),
    roles: Collection[str] = (),
    lifetime: timedelta = timedelta(hours=1),
    claims: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
) -> str:
    """Return a signed token of RFC 9068, valid from now for *lifetime*.

    Args:
        issuer: Its `iss`.
        audience: Its `aud`.
        subject: Its `sub`.
        key: A secret, or a private JWK, whose `kid` it names.
        algorithm: Its `alg`; by default the JWK's, or HS256 for a secret.
        tenant: Its `tenant`, if any.
        client: Its `client_id`, if any.
        scopes: Its `scope`.
        roles: Its `roles`.
        lifetime: How long it is valid.
        claims: More claims, or others in place of these.
        clock: Tells the time; by default this machine's.

    Raises:
        ConfigurationError: *key* is weak, malformed or public, or is not for
            *algorithm*.
    """
    (key_id, _), signer = _signer(key, algorithm)
    issued = int((SystemClock() if clock is None else clock).now().timestamp())
    told: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": issued,
        "exp": issued + int(lifetime.total_seconds()),
        "jti": str(uuid4()),
        "tenant": tenant,
        "client_id": client,
        "scope": " ".join(sorted(scopes)),
        "roles": sorted(roles),
    }
    told = {name: value for name, value in told.items() if value is not None}
    header = {"typ": "at+jwt"} | ({} if key_id is None else {"kid": key_id})
    return signed(told | dict(claims or {}), signer, header)


def _signer(key: Signer, algorithm: str | None) -> tuple[keys.KeyName, PreparedKey]:
    try:
        if isinstance(key, str | bytes):
            used = _known(algorithm or "HS256")
            return next(iter(keys.from_secret(key, used).usable.items()))
        return _private(key, algorithm)
    except NotOurs:
        problem = "is for no known algorithm, or for another"
    except (KeyRefused, Unusable) as refusal:
        problem = str(refusal) or "is none of its kind"
    raise ConfigurationError(
        "the key to sign with",
        problem,
        cure="use a secret as long as the hash with HS…, or a private JWK with its alg",
    )


def _known(algorithm: str) -> str:
    if ALGORITHMS.get(algorithm, ALGORITHMS["RS256"]).key_type != "oct":
        raise NotOurs
    return algorithm


def _private(
    jwk: Mapping[str, Any], algorithm: str | None
) -> tuple[keys.KeyName, PreparedKey]:
    """Return the name and the private key of *jwk*, whose public half is checked."""
    allowed = tuple(ALGORITHMS) if algorithm is None else (algorithm,)
    if not ALGORITHMS.keys() >= set(allowed):
        raise NotOurs
    told = {name: value for name, value in jwk.items() if name != "key_ops"}
    if told.get("kty") == "oct":
        return keys.usable(told, allowed)
    private = {name: told.pop(name) for name in keys.PRIVATE & told.keys()}
    if "d" not in private:
        raise KeyRefused("has no private member")
    name, _ = keys.usable(told, allowed)
    public = keys.public_material(told, name[1])
    return name, prepared(public | private, name[1])
