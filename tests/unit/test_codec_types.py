import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from decimal import Decimal
from enum import Enum
from enum import Flag
from typing import Annotated
from typing import Any
from typing import Generic
from typing import Literal
from typing import TypeVar
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pytest

from operon.codec import MISSING
from operon.codec import FieldsCodec
from operon.codec import NotEncodable
from operon.codec import Undecodable
from operon.codec import type_codec
from operon.errors import DeclarationError

T = TypeVar("T")


@dataclass
class Item:
    price: float
    sold: bool = False


@dataclass
class Cart:
    items: list[Item]
    attributes: Any = None


@dataclass
class BigCart(Cart):
    size: int = 0


@dataclass
class Derived:
    width: int
    area: int = field(init=False, default=0)


class Access(Flag):
    READ = 1
    WRITE = 2


class Rate(Enum):
    LOW = 0.5


class Box(Generic[T]):
    content: T


@attrs.define
class Secretive:
    _hidden: int = 1


class Noisy(str):
    __slots__ = ()


def refusal(declared, value):
    with pytest.raises(NotEncodable) as caught:
        type_codec(declared).encode(value)
    return caught.value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("declared", [Any, list[float], list[float | None]])
def test_refuses_numbers_that_are_not_finite_naming_the_path(declared, number):
    refused = refusal(declared, [1.0, number])

    assert refused.path == "result[1]"
    assert "not a finite number" in refused.reason


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity"])
def test_refuses_decimals_that_are_not_finite(number):
    assert "not a finite number" in refusal(Decimal, Decimal(number)).reason


def test_names_the_path_of_what_it_refuses():
    refused = refusal(Cart, Cart([Item(1.0), Item(float("nan"))]))

    assert refused.path == "result.items[1].price"


def test_names_the_path_of_a_value_of_another_type():
    refused = refusal(Cart, Cart([Item(1.0), Item("1")]))

    assert refused.path == "result.items[1].price"
    assert "Expected `float`, got `str`" in refused.reason


def test_starts_the_path_with_what_the_caller_says():
    with pytest.raises(NotEncodable) as caught:
        type_codec(list[int]).encode(["x"], "message")

    assert caught.value.path == "message[0]"


def test_refuses_an_int_for_a_float_and_tells_the_cure():
    refused = refusal(Cart, Cart([Item(1)]))

    assert refused.path == "result.items[0].price"
    assert "convert it to float" in refused.reason


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (int, True),
        (bool, 1),
        (Literal[1], True),
        (set[int], {True}),
        (dict[int, int], {True: 1}),
        (str, Noisy("x")),
        (Any, Noisy("x")),
        (Any, (1,)),
        (Any, {1: 2}),
        (Any, datetime.now(UTC)),
        (Any, Access.READ),
        (Any, object()),
        (Any, Item),
        (list[int], (1,)),
        (Cart, BigCart([])),
        (list[Cart], [BigCart([])]),
        (Cart, {"items": []}),
        (dict[float | str, int], {1.5: 1, "1.5": 2}),
        (Secretive, Secretive(2)),
        (bytes, bytearray(b"x")),
        (set[float], {1}),
        (dict[str, float], {"a": 1}),
        (set[datetime], {datetime(2025, 1, 1, tzinfo=timezone(timedelta(seconds=9)))}),
    ],
)
def test_refuses_a_value_that_would_come_back_as_another(declared, value):
    assert refusal(declared, value).path.startswith("result")


def test_tells_what_a_subclass_would_come_back_as():
    assert "is of type BigCart and would come back as Cart" in (
        refusal(Cart, BigCart([])).reason
    )


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2025, 7, 1, tzinfo=ZoneInfo("Europe/Vienna")),
        datetime(2025, 7, 1, tzinfo=ZoneInfo("UTC")),
        datetime(2025, 7, 1, tzinfo=timezone(timedelta(seconds=90))),
        datetime(2025, 7, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
        datetime(2025, 10, 26, 2, 30, fold=1),  # noqa: DTZ001 - naive on purpose
    ],
)
def test_refuses_zones_and_folds_and_tells_the_cure(moment):
    assert "timezone.utc" in refusal(datetime, moment).reason


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, ["ok", "a\udc00"]])
def test_refuses_lone_surrogates(value):
    assert "lone surrogate" in refusal(Any, value).reason


def test_refuses_what_contains_itself():
    loop: list[Any] = []
    loop.append(loop)

    assert "contains itself" in refusal(Any, loop).reason


def test_refuses_attributes_that_are_no_fields():
    item = Item(1.0)
    item.colour = "red"

    assert refusal(Item, item).path == "result.colour"


def test_refuses_a_missing_field():
    derived = Derived(2)
    del derived.width

    assert refusal(Derived, derived).path == "result"


def test_gives_back_fields_that_the_constructor_does_not_take():
    derived = Derived(2)
    derived.area = 4
    codec = type_codec(Derived)

    assert codec.decode(codec.encode(derived)) == derived


@pytest.mark.parametrize(
    ("declared", "value", "text"),
    [
        (Any, None, "null"),
        (str, "\x00é", '"\\u0000é"'),
        (int, 2**64, "18446744073709551616"),
        (float, -0.0, "-0.0"),
        (Decimal, Decimal("-0E+5"), '"-0E+5"'),
        (bytes, b"ab", '"YWI="'),
        (timedelta, timedelta(microseconds=-1), '"-PT0.000001S"'),
        (datetime, datetime(5, 1, 1, tzinfo=UTC), '"0005-01-01T00:00:00Z"'),
        (Item, Item(1.5), '{"price":1.5,"sold":false}'),
    ],
)
def test_writes_plain_json(declared, value, text):
    codec = type_codec(declared)

    assert codec.encode(value) == text
    assert codec.decode(text) == value


@pytest.mark.parametrize(
    "declared",
    [
        object,
        complex,
        type,
        Callable[[], int],
        T,
        list[T],
        Box,
        Access,
        Rate,
        str | bytes,
        Item | Cart,
        list[datetime | str],
        Literal[True],
        dict[bool, int],
        dict[str, object],
        "Item",
    ],
)
def test_refuses_types_that_cannot_be_stored_naming_the_subject(declared):
    with pytest.raises(DeclarationError) as caught:
        type_codec(declared, subject="result of step 'reserve'")

    assert str(caught.value).startswith("result of step 'reserve' is declared as ")
    assert caught.value.hint


def test_makes_one_codec_for_each_type():
    assert type_codec(list[Item]) is type_codec(list[Item])


def test_accepts_remarks_that_cannot_be_hashed():
    assert type_codec(Annotated[int, []]).encode(1) == "1"


@pytest.mark.parametrize("text", ['{"price":"1"}', "{}", "[]", "nonsense", ""])
def test_refuses_text_that_does_not_fit_the_type(text):
    with pytest.raises(Undecodable) as caught:
        type_codec(Item).decode(text)

    assert caught.value.reason


def test_knows_no_mapped_instances_where_none_are_declared():
    assert type_codec(Cart).mapped(Cart([])) == []


@pytest.fixture
def fields():
    declared = {"sku": (str, MISSING), "quantity": (int, 1)}
    return FieldsCodec(declared, "workflow 'checkout'", path_prefix="input.")


def test_writes_fields_in_the_order_of_their_declaration(fields):
    assert fields.encode({"quantity": 2, "sku": "a"}) == '{"sku":"a","quantity":2}'


def test_leaves_out_a_field_whose_default_applies(fields):
    assert fields.decode(fields.encode({"sku": "a"})) == {"sku": "a"}


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"sku": 1}, "input.sku"),
        ({}, "input.sku"),
        ({"sku": "a", "colour": 1}, "input.colour"),
    ],
)
def test_names_the_field_of_a_value_that_it_refuses(fields, values, path):
    with pytest.raises(NotEncodable) as caught:
        fields.encode(values)

    assert caught.value.path == path
    assert path in str(caught.value)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "", '{"sku":1}', '{"sku":"a","colour":"red"}']
)
def test_refuses_fields_that_do_not_fit(fields, text):
    with pytest.raises(Undecodable):
        fields.decode(text)


def test_drops_unknown_fields_when_asked_to():
    codec = FieldsCodec({"sku": (str, MISSING)}, "it", ignore_unknown=True)

    assert codec.decode('{"sku":"a","colour":"red"}') == {"sku": "a"}


def test_refuses_a_field_that_cannot_be_stored_naming_it():
    with pytest.raises(DeclarationError, match="field 'data' of workflow 'it'"):
        FieldsCodec({"data": (object, MISSING)}, "workflow 'it'")


def test_does_not_import_pydantic_or_attrs():
    program = (
        "import operon.codec, sys; "
        "operon.codec.type_codec(int).encode(1); "
        "sys.exit(any(name in sys.modules for name in ('pydantic', 'attrs')))"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_tells_tagged_structs_apart():
    class Paid(msgspec.Struct, tag=True):
        amount: int

    class Denied(msgspec.Struct, tag=True):
        reason: str

    codec = type_codec(list[Paid | Denied])
    outcomes = [Paid(1), Denied("no")]

    assert codec.decode(codec.encode(outcomes)) == outcomes
