"""What a token says, once it is proven: judged, and read into a principal."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from typing import cast

from operon.flask.tokens.issuer import JWTIssuer
from operon.flask.tokens.principal import Principal
from operon.flask.tokens.refusals import InvalidToken
from operon.flask.tokens.refusals import Reason

_LONGEST = 255  # characters of a subject, tenant, client or role
_LAST_TIME = 253_402_300_799  # the end of the year 9999
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}", re.ASCII)
"""Source: RFC 6749, section 3.3."""


def checked(claims: Mapping[str, Any], issuer: JWTIssuer, now: datetime) -> Principal:
    """Return whom the proven *claims* are about, if *issuer* may say so *now*.

    Raises:
        InvalidToken: A claim is missing, malformed, or does not hold here and now.
    """
    _check_audience(claims, issuer.audience)
    _check_times(claims, issuer, now.timestamp())
    if not isinstance(claims.get("jti", ""), str):
        raise InvalidToken(Reason.MALFORMED_CLAIM)
    return Principal(
        issuer.issuer,
        _name(_required(claims, "sub")),
        _optional_name(claims, issuer.tenant_claim),
        _optional_name(claims, issuer.client_claim),
        _scopes(claims.get(issuer.scope_claim, [])),
        _roles(claims.get(issuer.roles_claim, [])),
    )


def _required(claims: Mapping[str, Any], name: str) -> object:
    if name not in claims:
        raise InvalidToken(Reason.MISSING_CLAIM)
    return claims[name]


def _check_audience(claims: Mapping[str, Any], audience: str) -> None:
    """Refuse *claims* unless *audience* is exactly one of those they are for."""
    named = _required(claims, "aud")
    if audience not in ([named] if isinstance(named, str) else _texts(named)):
        raise InvalidToken(Reason.WRONG_AUDIENCE)


def _check_times(claims: Mapping[str, Any], issuer: JWTIssuer, now: float) -> None:
    """Refuse *claims* that are not valid at *now*, or are valid for too long."""
    leeway = issuer.leeway.total_seconds()
    issued = _time(_required(claims, "iat"))
    expires = _time(_required(claims, "exp"))
    begins = _time(claims.get("nbf", issued))
    if expires <= now - leeway:
        raise InvalidToken(Reason.EXPIRED)
    if max(issued, begins) > now + leeway:
        raise InvalidToken(Reason.NOT_YET_VALID)
    if expires <= max(issued, begins):
        raise InvalidToken(Reason.MALFORMED_CLAIM)
    if expires - issued > issuer.max_lifetime.total_seconds():
        raise InvalidToken(Reason.LIVES_TOO_LONG)


def _time(value: object) -> float:
    """Return *value*, seconds since 1970; a bool is no number here."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and 0 <= cast("float", value) <= _LAST_TIME:
        return cast("float", value)
    raise InvalidToken(Reason.MALFORMED_CLAIM)


def _name(value: object) -> str:
    """Return *value*, the text of a subject, tenant, client or role."""
    if isinstance(value, str) and 1 <= len(value) <= _LONGEST and value.isprintable():
        return value
    raise InvalidToken(Reason.MALFORMED_CLAIM)


def _optional_name(claims: Mapping[str, Any], name: str) -> str | None:
    return _name(claims[name]) if name in claims else None


def _scopes(value: object) -> frozenset[str]:
    """Return the scopes in *value*, text with single spaces or a list."""
    if isinstance(value, str):
        value = value.split(" ") if value else []
    scopes = _texts(value)
    if all(_SCOPE.fullmatch(scope) for scope in scopes):
        return frozenset(scopes)
    raise InvalidToken(Reason.MALFORMED_CLAIM)


def _roles(value: object) -> frozenset[str]:
    return frozenset(_name(role) for role in _texts(value))


def _texts(value: object) -> list[str]:
    if isinstance(value, list):
        texts = cast("list[object]", value)
        if all(isinstance(each, str) for each in texts):
            return cast("list[str]", texts)
    raise InvalidToken(Reason.MALFORMED_CLAIM)
