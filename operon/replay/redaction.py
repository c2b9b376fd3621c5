"""Redaction: taking values out of payloads, by the names of their fields.

A value is replaced by one of the same JSON type and, if it is text, of the same look,
so that what was redacted still decodes where that is possible.
"""

import re
from collections.abc import Mapping
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any
from typing import cast

import msgspec

MARKER = "redacted"
"""What stands for a text; it is base64 as well, so bytes decode."""

_LOOKS = (
    (r"\d{4}-\d\d-\d\d[Tt ][\d:.]+([Zz]|[+-]\d\d:?\d\d)", "1970-01-01T00:00:00Z"),
    (r"\d{4}-\d\d-\d\d[Tt ][\d:.]+", "1970-01-01T00:00:00"),
    (r"\d{4}-\d\d-\d\d", "1970-01-01"),
    (r"\d\d:\d\d(:[\d.]+)?", "00:00:00"),
    (r"[+-]?P[\dDTHMS.]+", "PT0S"),
    (
        r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        f"{'0' * 8}-0000-0000-0000-{'0' * 12}",
    ),
    (r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", "0"),
)
_SHORTEST = 3  # characters of a text that is looked for in an error's message


class Redaction:
    """Replaces the values of fields whose names match.

    Attributes:
        names: Which fields; `*` and `?` stand for any characters, case for nothing.
        fields: The names of those that were found and redacted.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.fields: set[str] = set()
        self._folded = [name.casefold() for name in names]

    def __bool__(self) -> bool:
        return bool(self.names)

    def text(self, payload: str) -> str:
        """Return the JSON text *payload* without the values of the fields."""
        if not self:
            return payload
        return msgspec.json.encode(self.value(msgspec.json.decode(payload))).decode()

    def error(self, payload: str) -> str:
        """Return the stored error *payload* likewise.

        Its own members are kept, the attributes of the error are its fields. What
        was an attribute and is repeated in its message is redacted there as well.
        """
        if not self:
            return payload
        failure = msgspec.json.decode(payload)
        members = cast("dict[str, Any]", failure)
        before, state = members.get("state"), self.value(members.get("state"))
        gone = _replaced(before, state)
        for name in ("args", "message", "notes"):
            members[name] = _without(self.value(members.get(name)), gone)
        members["state"] = _without(state, gone)
        return msgspec.json.encode(members).decode()

    def value(self, value: Any) -> Any:
        """Return the plain JSON *value* without the values of the fields."""
        if isinstance(value, list):
            return [self.value(each) for each in cast("list[object]", value)]
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            return {name: self._member(name, each) for name, each in members.items()}
        return value

    def _member(self, name: str, value: Any) -> Any:
        if not self._matches(name):
            return self.value(value)
        self.fields.add(name)
        return redacted(value)

    def _matches(self, name: str) -> bool:
        return any(fnmatchcase(name.casefold(), each) for each in self._folded)


def redacted(value: Any) -> Any:
    """Return what stands for *value*; in containers, for every part but names."""
    if isinstance(value, list):
        return [redacted(each) for each in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: redacted(each) for name, each in members.items()}
    if isinstance(value, str):
        return _text(value)
    return None if value is None else type(value)()


def _text(value: str) -> str:
    """Return what stands for the text *value*: of the same look, if that is known."""
    for look, marker in _LOOKS:
        if re.fullmatch(look, value):
            return marker
    return MARKER


def _replaced(before: Any, after: Any) -> Mapping[str, str]:
    """Return the texts of *before* that are others in *after*, with what they are."""
    if isinstance(before, str):
        long = len(before) >= _SHORTEST and before != after
        return {before: after} if long else {}
    if isinstance(before, dict):
        members = cast("dict[str, Any]", before)
        pairs = [(each, after[name]) for name, each in members.items()]
    elif isinstance(before, list):
        pairs = list(zip(cast("list[object]", before), after, strict=True))
    else:
        return {}
    return {old: new for pair in pairs for old, new in _replaced(*pair).items()}


def _without(value: Any, gone: Mapping[str, str]) -> Any:
    """Return *value* with the texts that are *gone* replaced, wherever they stand."""
    if isinstance(value, str):
        for old, new in gone.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, list):
        return [_without(each, gone) for each in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _without(each, gone) for name, each in members.items()}
    return value
