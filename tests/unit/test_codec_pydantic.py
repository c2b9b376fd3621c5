from datetime import datetime
from datetime import timedelta
from datetime import timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import PrivateAttr
from pydantic import computed_field
from pydantic import field_serializer
from pydantic import field_validator

from operon.codec import MISSING
from operon.codec import FieldsCodec
from operon.codec import NotEncodable
from operon.codec import Undecodable
from operon.codec import type_codec
from operon.errors import DeclarationError


class Price(BaseModel):
    amount: Decimal
    note: Any = None


class Discount(Price):
    percent: int = 0


class Invoice(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    number: str = Field(alias="invoiceNumber")
    prices: tuple[Price, ...] = ()
    tags: frozenset[str] = frozenset()
    due: timedelta | None = None

    @computed_field
    @property
    def total(self) -> Decimal:
        return sum((price.amount for price in self.prices), Decimal(0))


class Lossy(BaseModel):
    card: str

    @field_serializer("card")
    def hide(self, _value):
        return "***"


class Trimmed(BaseModel):
    items: list[int]

    @field_validator("items")
    @classmethod
    def trim(cls, items):
        return items[:-1]


class Remembering(BaseModel):
    name: str
    _seen: int = PrivateAttr(default=0)


def back(declared, value):
    codec = type_codec(declared)
    return codec.decode(codec.encode(value))


def test_gives_back_an_equal_model():
    invoice = Invoice(
        number="7",
        prices=(Price(amount=Decimal("1.50")), Price(amount=Decimal(2))),
        tags={"a", "b"},
        due=timedelta(days=1),
    )

    assert back(Invoice, invoice) == invoice


@pytest.mark.parametrize(
    "declared",
    [Price | None, list[Price], dict[str, Price], tuple[Price, int]],
)
def test_finds_models_in_containers(declared):
    price = Price(amount=Decimal("1.50"))
    values = {list: [price], dict: {"a": price}, tuple: (price, 1)}
    value = values.get(getattr(declared, "__origin__", None), price)

    assert back(declared, value) == value


def test_refuses_a_model_that_its_serializer_changes():
    with pytest.raises(NotEncodable) as caught:
        type_codec(list[Lossy]).encode([Lossy(card="x")])

    assert caught.value.path == "result[0].card"


def test_refuses_a_model_that_its_validator_changes():
    with pytest.raises(NotEncodable, match="would come back with 1"):
        type_codec(Trimmed).encode(Trimmed(items=[1, 2, 3]))


def test_refuses_a_model_whose_private_state_would_be_lost():
    model = Remembering(name="a")
    model._seen = 3

    with pytest.raises(NotEncodable):
        type_codec(Remembering).encode(model)


@pytest.mark.parametrize(
    "value",
    [
        Discount(amount=Decimal(1)),
        Price.model_construct(amount="1"),
        Price(amount=Decimal(1), note=(1, 2)),
        Price(amount=Decimal(1), note=float("nan")),
        Price(amount=Decimal(1), note="\ud800"),
        Price(amount=Decimal(1), note=datetime(2025, 1, 1, tzinfo=timezone.min)),
        {"amount": "1"},
    ],
)
def test_refuses_what_would_come_back_as_another(value):
    with pytest.raises(NotEncodable):
        type_codec(Price).encode(value)


def test_refuses_a_model_where_nothing_is_declared():
    with pytest.raises(NotEncodable):
        type_codec(Any).encode(Price(amount=Decimal(1)))


def test_refuses_text_that_does_not_validate():
    with pytest.raises(Undecodable, match="amount"):
        type_codec(list[Price]).decode('[{"amount":"much"}]')


def test_takes_a_model_as_a_field():
    codec = FieldsCodec({"price": (Price, MISSING)}, "workflow 'it'")
    values = {"price": Price(amount=Decimal("1.0"))}

    assert codec.decode(codec.encode(values)) == values


def test_refuses_a_union_of_models():
    with pytest.raises(DeclarationError):
        type_codec(Price | Invoice)
