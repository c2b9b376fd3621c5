"""A token's text, taken apart: nothing of it is believed yet."""

from dataclasses import dataclass
from dataclasses import field
from typing import Any

from operon.flask.tokens import strict
from operon.flask.tokens.refusals import InvalidToken
from operon.flask.tokens.refusals import Reason
from operon.flask.tokens.strict import Unreadable

LARGEST = 8192  # characters of a token
_PARTS = 3
_MEMBERS = frozenset({"alg", "typ", "kid", "cty"})
"""What a header may have; anything else asks for something that is not done."""


@dataclass(frozen=True)
class Compact:
    """A JWS in compact serialization, parsed strictly; its signature is unproven."""

    text: str = field(repr=False)
    """As it was sent."""
    algorithm: str
    """The header's `alg`."""
    key_id: str | None
    """The header's `kid`, if it has one."""
    type: str | None
    """The header's `typ`, if it has one."""
    payload: bytes = field(repr=False)

    def unproven_claims(self) -> dict[str, Any]:
        """Return what the payload says, which may be a lie until it is proven.

        Raises:
            InvalidToken: The payload is no JSON object.
        """
        return _parsed(self.payload)


def parsed(text: str) -> Compact:
    """Return the parts of the token *text*.

    Raises:
        InvalidToken: It is too large, is not three parts of canonical base64url, or
            its header is not a JSON object of the allowed members.
    """
    _check_size(text)
    header_text, payload_text, signature_text = _parts(text)
    header = _parsed(_decoded(header_text))
    if not header.keys() <= _MEMBERS or "alg" not in header:
        raise InvalidToken(Reason.FORBIDDEN_HEADER)
    if not all(isinstance(value, str) for value in header.values()):
        raise InvalidToken(Reason.FORBIDDEN_HEADER)
    _decoded(signature_text)
    return Compact(
        text,
        header["alg"],
        header.get("kid"),
        header.get("typ"),
        _decoded(payload_text),
    )


def _check_size(text: object) -> None:
    if not isinstance(text, str):
        raise InvalidToken(Reason.NOT_COMPACT)
    if len(text) > LARGEST:
        raise InvalidToken(Reason.TOO_LARGE)


def _parts(text: str) -> list[str]:
    parts = text.split(".", _PARTS)
    if len(parts) != _PARTS or not (parts[0] and parts[2]):
        raise InvalidToken(Reason.NOT_COMPACT)
    return parts


def _decoded(part: str) -> bytes:
    try:
        return strict.decode(part)
    except Unreadable as refusal:
        reason = refusal.reason
    raise InvalidToken(reason)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        return strict.parse(data)
    except Unreadable as refusal:
        reason = refusal.reason
    raise InvalidToken(reason)
