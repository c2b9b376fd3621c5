"""Why a token is not accepted, and what the caller of the guard gets to know of it."""

from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """What was wrong with a token: for logs and metrics, never for whoever sent it.

    The values are stable, few, and hold nothing that came with the request.
    """

    MALFORMED_CREDENTIALS = "malformed-credentials"
    """The `Authorization` header is not `Bearer` and one token."""
    TOO_LARGE = "too-large"
    """It is longer than 8 KiB."""
    NOT_COMPACT = "not-compact"
    """It is not three parts of canonical base64url, joined by dots."""
    MALFORMED_JSON = "malformed-json"
    """Its header or payload is not a JSON object in UTF-8 with finite numbers."""
    DUPLICATE_MEMBER = "duplicate-member"
    """An object in it has two members of one name."""
    TOO_DEEP = "too-deep"
    """Its header or payload is nested too deeply."""
    FORBIDDEN_HEADER = "forbidden-header"
    """Its header has a member that is not allowed, or of the wrong type."""
    WRONG_TYPE = "wrong-type"
    """Its `typ` is not one that the issuer may send, or is missing."""
    UNKNOWN_ISSUER = "unknown-issuer"
    """No issuer of its `iss` is configured."""
    WRONG_ALGORITHM = "wrong-algorithm"
    """Its `alg` is not in the issuer's list."""
    UNKNOWN_KEY = "unknown-key"
    """The issuer has no usable key of its `kid` and `alg`."""
    BAD_SIGNATURE = "bad-signature"
    """The signature is not that of the key."""
    MISSING_CLAIM = "missing-claim"
    """`exp`, `iat`, `aud` or `sub` is not there."""
    MALFORMED_CLAIM = "malformed-claim"
    """A claim has the wrong type, or a value that none of its kind can have."""
    WRONG_AUDIENCE = "wrong-audience"
    """It was issued for another service."""
    EXPIRED = "expired"
    """Its `exp` is past, by more than the leeway."""
    NOT_YET_VALID = "not-yet-valid"
    """Its `iat` or `nbf` is in the future, by more than the leeway."""
    LIVES_TOO_LONG = "lives-too-long"
    """Between its `iat` and its `exp` is more time than the issuer may give."""
    REVOKED = "revoked"
    """The issuer's `revoked` hook said so."""
    UNDECIDED = "undecided"
    """A check, or the `revoked` hook, failed with an error of its own."""


class InvalidToken(Exception):  # noqa: N818 - a refusal, which the edge answers with 401
    """A token is bad in some way; its text is the same whatever that way is.

    Attributes:
        reason: What was wrong, for logs and metrics only.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__("the access token is not valid")
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason,)


class InvalidRequest(Exception):  # noqa: N818 - a refusal, which the edge answers with 400
    """A request carries credentials more than once, so nobody can say whose it is."""

    def __init__(self) -> None:
        super().__init__("the request carries more than one set of credentials")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


class KeysUnavailable(Exception):  # noqa: N818 - a refusal, which the edge answers with 503
    """An issuer's keys cannot be fetched, and those known are too old to be trusted.

    Attributes:
        retry_after: Whole seconds until asking again makes sense, at least 1.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("the issuer's keys are not available")
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.retry_after,)
