"""Declared types and values of them, for tests that hold for every value."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import is_dataclass
from datetime import UTC
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from datetime import timezone
from decimal import Decimal
from enum import Enum
from enum import IntEnum
from enum import StrEnum
from typing import Annotated
from typing import Any
from typing import Generic
from typing import Literal
from typing import NamedTuple
from typing import NewType
from typing import NotRequired
from typing import TypedDict
from typing import TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
from hypothesis import strategies as st

T = TypeVar("T")
Sku = NewType("Sku", str)
Positive = Annotated[int, msgspec.Meta(ge=0)]


class Color(Enum):
    RED = "red"
    BLUE = "blue"
    CRIMSON = "red"  # noqa: PIE796 - an alias is meant


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Line:
    sku: str
    price: Decimal
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Order:
    lines: tuple[Line, ...]
    note: str | None = None


@dataclass
class Box(Generic[T]):
    content: T


@attrs.define
class Parcel:
    weight: float
    sent: datetime | None = None


class Point(NamedTuple):
    x: int
    y: float


class Patch(TypedDict):
    name: str
    color: NotRequired[Color]


class Tree(msgspec.Struct):
    value: int
    children: list["Tree"] = []


class Paid(msgspec.Struct, tag=True):
    amount: Decimal


class Refused(msgspec.Struct, tag=True):
    reason: str


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
floats = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
offsets = st.none() | st.integers(-1439, 1439).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
datetimes = st.datetimes(timezones=offsets).map(lambda it: it.replace(fold=0))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | text,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
    ),
    max_leaves=6,
)
lines = st.builds(Line, text, decimals, st.sets(text, max_size=2))
trees: st.SearchStrategy[Tree] = st.recursive(
    st.builds(Tree, st.integers()),
    lambda inner: st.builds(Tree, st.integers(), st.lists(inner, max_size=2)),
    max_leaves=4,
)

HASHABLE: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: floats,
    str: text,
    bytes: st.binary(max_size=8),
    Decimal: decimals,
    UUID: st.uuids(),
    datetime: datetimes,
    date: st.dates(),
    time: st.times(timezones=offsets).map(lambda it: it.replace(fold=0)),
    timedelta: st.timedeltas(),
    Color: st.sampled_from(Color),
    Size: st.sampled_from(Size),
    Mood: st.sampled_from(Mood),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
    Sku: text.map(Sku),
    Positive: st.integers(min_value=0),
}
"""Types of dict keys and of set elements, and the values that they can hold."""

OTHERS: dict[Any, st.SearchStrategy[Any]] = {
    None: st.none(),
    bool: st.booleans(),
    Any: json_values,
    Line: lines,
    Order: st.builds(Order, st.lists(lines, max_size=2).map(tuple), st.none() | text),
    Box[int]: st.builds(Box, st.integers()),
    Box[list[Mood]]: st.builds(Box, st.lists(st.sampled_from(Mood), max_size=2)),
    Parcel: st.builds(Parcel, floats, st.none() | datetimes),
    Point: st.builds(Point, st.integers(), floats),
    Patch: st.fixed_dictionaries(
        {"name": text}, optional={"color": st.sampled_from(Color)}
    ),
    Tree: trees,
    Paid | Refused: st.builds(Paid, decimals) | st.builds(Refused, text),
    int | float | bool | None: st.integers() | floats | st.booleans() | st.none(),
    str | int: text | st.integers(),
}
"""The other types that are no containers, and the values that they can hold."""

Declared = tuple[Any, st.SearchStrategy[Any]]


def _pick(table: dict[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[Declared]:
    return st.sampled_from(list(table)).map(lambda tp: (tp, table[tp]))


def _within(inner: st.SearchStrategy[Declared]) -> st.SearchStrategy[Declared]:
    builders: list[Callable[[Declared], Declared]] = [
        lambda of: (list[of[0]], st.lists(of[1], max_size=3)),
        lambda of: (tuple[of[0], ...], st.lists(of[1], max_size=3).map(tuple)),
        lambda of: (tuple[of[0], int], st.tuples(of[1], st.integers())),
        lambda of: (dict[str, of[0]], st.dictionaries(text, of[1], max_size=3)),
        lambda of: (of[0] | None if of[0] else None, st.none() | of[1]),
    ]
    return st.tuples(st.sampled_from(builders), inner).map(lambda it: it[0](it[1]))


def _keyed(key: Declared) -> st.SearchStrategy[Declared]:
    return st.sampled_from([
        (set[key[0]], st.sets(key[1], max_size=3)),
        (frozenset[key[0]], st.frozensets(key[1], max_size=3)),
        (dict[key[0], int], st.dictionaries(key[1], st.integers(), max_size=3)),
    ])


declarations: st.SearchStrategy[Declared] = st.recursive(
    _pick(HASHABLE) | _pick(OTHERS) | _pick(HASHABLE).flatmap(_keyed),
    _within,
    max_leaves=3,
)
"""A type, and a strategy of values that it can hold."""

fitting = declarations.flatmap(lambda it: st.tuples(st.just(it[0]), it[1]))
"""A type and a value that fits it."""


class LoudInt(int):
    """A subclass where the base is declared."""


@dataclass
class LongLine(Line):
    length: int = 0


def _is_hashable(value: Any) -> bool:
    return not isinstance(value, Line | Tree)


_hostile_scalars: st.SearchStrategy[Any] = st.sampled_from([
    float("nan"), float("inf"), -0.0, 0.0, 1, True, 1.0, 2**70, LoudInt(3), "1", "",
    "\ud800", "\u0000", b"1", Decimal("-0E+7"), Decimal("NaN"), Decimal("Infinity"),
    datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC),
    datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=UTC),
    datetime(2025, 1, 1, tzinfo=ZoneInfo("Europe/Vienna")),
    datetime(2025, 1, 1, tzinfo=timezone(timedelta(seconds=61))),
    datetime(2025, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
    time(1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    timedelta.max, timedelta.min, timedelta(microseconds=-1),
    Color.RED, Size.SMALL, Mood.GOOD, object(), int, len, ..., UUID(int=0),
    LongLine("a", Decimal(1)), Line(1, 2), Point(x=True, y=1), Tree(1.0),
])  # fmt: skip
hostile: st.SearchStrategy[Any] = st.recursive(
    _hostile_scalars
    | st.sampled_from([None, 5, "text"])
    | fitting.map(lambda it: it[1]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(_hostile_scalars.filter(_is_hashable), inner, max_size=2),
        st.builds(Box, inner),
        st.builds(Parcel, inner, inner),
    ),
    max_leaves=4,
)
"""Any value at all, most of which fit nothing."""


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal in every part, by exact type."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True)
        return len(one) == len(other) and all(same(a, b) for a, b in pairs)
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        return one == other and sorted(map(repr, one)) == sorted(map(repr, other))
    if is_dataclass(one):
        names = [known.name for known in fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other) and repr(one) == repr(other)
