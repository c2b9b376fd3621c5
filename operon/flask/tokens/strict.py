"""Base64url and JSON as tokens and key sets hold them, read without any leniency.

Two readers of one text must not see two things in it, so whatever some reader may
understand differently is refused. What is raised holds nothing of the text.
"""

import base64
import binascii
import json
import math
import re
from typing import Any
from typing import cast

from operon.flask.tokens.refusals import Reason

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_DEEPEST = 32  # levels of arrays and objects


class Unreadable(Exception):  # noqa: N818 - a refusal that the caller translates
    """A text is not what it has to be; `reason` says in which way."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def decode(text: str) -> bytes:
    """Return the bytes that *text* is the canonical base64url of, without padding.

    Raises:
        Unreadable: It has padding, a character outside the alphabet, an impossible
            length, or bits set that no byte takes.
    """
    if _BASE64URL.fullmatch(text) and len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if encode(data) == text:
            return data
    raise Unreadable(Reason.NOT_COMPACT)


def encode(data: bytes) -> str:
    """Return *data* as base64url without padding."""
    return binascii.b2a_base64(data, newline=False).translate(_URL, b"=").decode()


def parse(data: bytes) -> dict[str, Any]:
    """Return the JSON object that *data* is.

    Raises:
        Unreadable: It is no UTF-8, no JSON or no object, is nested too deeply, names a
            member twice, or has NaN, an infinite number or half a character in it.
    """
    reason = Reason.MALFORMED_JSON
    try:
        value: object = _DECODER.decode(data.decode("utf-8"))
        _check(value, _DEEPEST)
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
    except Unreadable as refusal:
        reason = refusal.reason
    except RecursionError:
        reason = Reason.TOO_DEEP
    except ValueError:
        pass
    raise Unreadable(reason)  # outside of the block: those errors hold the text


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise Unreadable(Reason.DUPLICATE_MEMBER)
    return found


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Unreadable(Reason.MALFORMED_JSON)
    return number


def _constant(_name: str) -> None:
    raise Unreadable(Reason.MALFORMED_JSON)


def _check(value: object, levels: int) -> None:
    """Refuse *value* if it has more than *levels* levels, or half a character."""
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no UTF-8
        return
    if not isinstance(value, dict | list):
        return
    if levels == 0:
        raise Unreadable(Reason.TOO_DEEP)
    for each in cast("dict[str, object] | list[object]", value):
        _check(each, levels - 1)
    if isinstance(value, dict):
        for each in cast("dict[str, object]", value).values():
            _check(each, levels - 1)


_URL = bytes.maketrans(b"+/", b"-_")
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_constant=_constant
)
