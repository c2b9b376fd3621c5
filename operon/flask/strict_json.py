"""JSON as a careful receiver reads it: one meaning, bounded depth, finite numbers.

What Python's own reader lets pass (duplicate members, NaN, numbers too large to be
held) is refused, since another reader of the same text would see something else.
"""

import json
import math
import re
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import cast

MOST_DEPTH = 64

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_EXACT = 2**53  # floats below hold every integer
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class MalformedJSON(ValueError):  # noqa: N818 - a verdict, turned into a problem
    """The text is no JSON that can be read in one way only."""


def parse(data: bytes) -> Any:
    """Return the value of *data*; a float without fraction is an integer, as in JSON.

    Raises:
        MalformedJSON: It is not JSON, or more or less than that.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedJSON("the text is not UTF-8") from error
    _check_depth(data)
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_number,
        )
    except MalformedJSON:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedJSON("the text is not JSON") from error


def is_storable(text: str) -> bool:
    """Return whether a database can hold *text*: no NUL, no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def unstorable(value: Any, pointer: str = "") -> Iterator[str]:
    """Yield the JSON pointer of each text in *value* that no database can hold."""
    if isinstance(value, str):
        if not is_storable(value):
            yield pointer
    elif isinstance(value, dict):
        for name, each in cast("dict[str, Any]", value).items():
            if not is_storable(name):
                yield pointer
            else:
                yield from unstorable(each, f"{pointer}/{escaped(name)}")
    elif isinstance(value, list):
        for number, each in enumerate(cast("Sequence[Any]", value)):
            yield from unstorable(each, f"{pointer}/{number}")


def escaped(name: object) -> str:
    """Return *name* as a part of a JSON pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def canonical(value: Any) -> str:
    """Return one text for all texts that mean *value*: sorted, without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _check_depth(data: bytes) -> None:
    depth = 0
    for found in _BRACKET.finditer(_STRING.sub(b"", data)):
        depth += 1 if found.group() in b"[{" else -1
        if depth > MOST_DEPTH:
            raise MalformedJSON(f"the value is nested deeper than {MOST_DEPTH}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedJSON("an object has a member twice")
    return found


def _constant(name: str) -> float:
    raise MalformedJSON(f"{name} is no JSON number")


def _number(text: str) -> float | int:
    value = float(text)
    if not math.isfinite(value):
        raise MalformedJSON("a number is too large")
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
