"""The guard itself: from the text of a token to whom it speaks for, or a refusal."""

import logging
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from types import MappingProxyType
from typing import Any
from typing import Protocol

from operon.clock import Clock
from operon.clock import SystemClock
from operon.errors import ConfigurationError
from operon.flask.tokens import claims as claims_of_token
from operon.flask.tokens import compact
from operon.flask.tokens import strict
from operon.flask.tokens.compact import Compact
from operon.flask.tokens.fetching import Bounds
from operon.flask.tokens.fetching import fetched
from operon.flask.tokens.issuer import JWTIssuer
from operon.flask.tokens.keys import Keys
from operon.flask.tokens.keys import loaded
from operon.flask.tokens.keyset import FetchedKeys
from operon.flask.tokens.keyset import FixedKeys
from operon.flask.tokens.keyset import KeySet
from operon.flask.tokens.principal import Principal
from operon.flask.tokens.refusals import InvalidToken
from operon.flask.tokens.refusals import KeysUnavailable
from operon.flask.tokens.refusals import Reason
from operon.flask.tokens.signature import Unproven
from operon.flask.tokens.signature import proven

_logger = logging.getLogger("operon.tokens")


class TokenVerifier(Protocol):
    """All that the web edge knows of tokens; any library can stand behind it."""

    def verify(self, token: str) -> Principal:
        """Return whom *token*, the text of one bearer token, speaks for.

        Raises:
            InvalidToken: For nobody; the reason is for logs and metrics only.
            KeysUnavailable: Nobody can say now.
        """
        ...


class Verifier:
    """Accepts the tokens of some issuers, each with its own keys and rules."""

    def __init__(
        self, issuers: Sequence[JWTIssuer], *, clock: Clock | None = None
    ) -> None:
        """Accept the tokens of *issuers*, at the time that *clock* tells.

        Raises:
            ConfigurationError: There is none, or one is named twice.
        """
        time = SystemClock() if clock is None else clock
        self._issuers = {each.issuer: IssuerVerifier(each, time) for each in issuers}
        if not issuers or len(self._issuers) < len(issuers):
            raise ConfigurationError(
                "issuers=…",
                "names none, or one of them twice",
                cure="give one JWTIssuer for each issuer",
            )

    def verify(self, token: str) -> Principal:
        """Return whom *token* speaks for.

        Raises:
            InvalidToken: For nobody; the reason is for logs and metrics only.
            KeysUnavailable: The issuer's keys are neither to be had nor fresh enough.
        """
        try:
            return self._verified(token)
        except (InvalidToken, KeysUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - a check that fails must not let pass
            _logger.error("a check of tokens failed: %s", type(error).__qualname__)  # noqa: TRY400 - its traceback may show the token
        raise InvalidToken(Reason.UNDECIDED)

    def _verified(self, token: str) -> Principal:
        taken_apart = compact.parsed(token)
        claims = taken_apart.unproven_claims()
        named = claims.get("iss")
        issuer = self._issuers.get(named) if isinstance(named, str) else None
        if issuer is None:
            raise InvalidToken(Reason.UNKNOWN_ISSUER)
        return issuer.verified(taken_apart, claims)


class IssuerVerifier:
    """Accepts the tokens of one issuer."""

    def __init__(self, issuer: JWTIssuer, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys = _key_set(issuer, clock)

    def verified(self, token: Compact, claims: Mapping[str, Any]) -> Principal:
        """Return whom *token* speaks for, whose payload *claims* were read from.

        Raises:
            InvalidToken: It is not this issuer's, or does not hold here and now.
            KeysUnavailable: The keys are neither to be had nor fresh enough.
        """
        media_type = (token.type or "").lower().removeprefix("application/")
        if media_type not in self._issuer.types:
            raise InvalidToken(Reason.WRONG_TYPE)
        prove(token, self._issuer.algorithms, self._keys)
        principal = claims_of_token.checked(claims, self._issuer, self._clock.now())
        if self._is_revoked(claims):
            raise InvalidToken(Reason.REVOKED)
        return principal

    def _is_revoked(self, claims: Mapping[str, Any]) -> bool:
        revoked = self._issuer.revoked
        return revoked is not None and bool(revoked(MappingProxyType(dict(claims))))


def prove(token: Compact, algorithms: Sequence[str], keys: KeySet) -> None:
    """Return if *token* was signed as it says, with one of *algorithms* and *keys*.

    Raises:
        InvalidToken: It was not.
        KeysUnavailable: The keys are neither to be had nor fresh enough.
    """
    if token.algorithm not in algorithms:
        raise InvalidToken(Reason.WRONG_ALGORITHM)
    key = keys.find((token.key_id, token.algorithm))
    if key is None:
        raise InvalidToken(Reason.UNKNOWN_KEY)
    try:
        if proven(token.text, key) == token.payload:
            return
    except Unproven:
        pass
    raise InvalidToken(Reason.BAD_SIGNATURE)


def _key_set(issuer: JWTIssuer, clock: Clock) -> KeySet:
    keys = issuer.fixed_keys()
    if keys is not None:
        return FixedKeys(keys)
    fetch = partial(_fetch, issuer.jwks_url or "", issuer.algorithms)
    return FetchedKeys(issuer.issuer, fetch, clock)


def _fetch(url: str, algorithms: Sequence[str]) -> Keys:
    return loaded(strict.parse(fetched(url, Bounds())), algorithms)
