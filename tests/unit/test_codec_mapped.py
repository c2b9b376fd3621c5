from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from typing import ClassVar
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import JSON
from sqlalchemy import Column
from sqlalchemy import ForeignKey
from sqlalchemy import Integer
from sqlalchemy import Numeric
from sqlalchemy import Table
from sqlalchemy import TypeDecorator
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import MappedAsDataclass
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import relationship
from sqlalchemy.orm.exc import DetachedInstanceError
from sqlalchemy.types import UserDefinedType

from operon.codec import MISSING
from operon.codec import FieldsCodec
from operon.codec import NotEncodable
from operon.codec import Undecodable
from operon.codec import load_columns
from operon.codec import type_codec
from operon.errors import DeclarationError


class Base(DeclarativeBase):
    pass


class State(Enum):
    OPEN = 1
    PAID = 2


class Product(Base):
    __tablename__ = "products"

    sku: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    made_at: Mapped[datetime | None]
    state: Mapped[State] = mapped_column(default=State.OPEN)
    extras: Mapped[dict[str, Any] | None] = mapped_column(MutableDict.as_mutable(JSON))
    plain = mapped_column(JSON)
    blob: Mapped[bytes | None] = mapped_column(deferred=True)
    orders: Mapped[list["Order"]] = relationship(back_populates="product")
    __mapper_args__: ClassVar = {
        "polymorphic_on": "kind",
        "polymorphic_identity": "product",
    }


class Book(Product):
    __tablename__ = "books"

    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"), primary_key=True)
    pages: Mapped[int]
    __mapper_args__: ClassVar = {"polymorphic_identity": "book"}


class Order(MappedAsDataclass, Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(init=False, primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"))
    product: Mapped[Product] = relationship(init=False, back_populates="orders")


@pytest.fixture
def session():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def book(session):
    book = Book(
        sku="b",
        price=Decimal("9.90"),
        pages=100,
        made_at=datetime(2025, 1, 1),  # noqa: DTZ001 - the column has no zone
        extras={"a": [1, None]},
        plain=[1.5],
        blob=b"\xff",
    )
    session.add(book)
    session.flush()
    return book


@pytest.fixture
def order(session, book):
    order = Order(sku=book.sku)
    session.add(order)
    session.flush()
    return order


def back(declared, value):
    codec = type_codec(declared)
    return codec.decode(codec.encode(value))


def columns(product):
    names = [known.key for known in product.__mapper__.column_attrs]
    return {name: getattr(product, name) for name in names}


def test_gives_back_the_columns_of_a_mapped_subclass(session, book):
    load_columns(session, [book])

    snapshot = back(Product, book)

    assert type(snapshot) is Book
    assert snapshot is not book
    assert columns(snapshot) == columns(book)


def test_gives_back_a_detached_snapshot(order):
    snapshot = back(Order, order)

    assert (snapshot.id, snapshot.sku) == (order.id, "b")
    assert snapshot._sa_instance_state.detached
    with pytest.raises(DetachedInstanceError):
        _ = snapshot.product


def test_gives_back_a_snapshot_that_another_session_can_merge(session, order):
    snapshot = back(Order, order)

    assert session.merge(snapshot) is order


@pytest.mark.parametrize(
    ("declared", "wrap"),
    [
        (Order | None, lambda it: it),
        (list[Order], lambda it: [it]),
        (tuple[Order, int], lambda it: (it, 1)),
        (dict[str, list[Order]], lambda it: {"a": [it]}),
    ],
)
def test_finds_mapped_instances_in_containers(order, declared, wrap):
    codec = type_codec(declared)
    value = wrap(order)

    assert codec.mapped(value) == [order]
    assert codec.mapped(codec.decode(codec.encode(value)))[0].id == order.id


def test_lists_each_mapped_instance_once(order):
    assert type_codec(list[Order]).mapped([order, order]) == [order]


def test_gives_back_none_where_an_instance_is_optional():
    assert back(Order | None, None) is None


def test_stores_instants_without_the_zone_of_the_connection():
    class Stamped(Base):
        __tablename__ = "stamped"
        id: Mapped[int] = mapped_column(primary_key=True)
        at: Mapped[datetime]

    moment = datetime(2025, 7, 1, 12, tzinfo=ZoneInfo("Europe/Vienna"))
    stamped = Stamped(id=1, at=moment)
    stamped._sa_instance_state.key = (Stamped, (1,), None)

    assert back(Stamped, stamped).at.isoformat() == "2025-07-01T10:00:00+00:00"
    assert back(Stamped, stamped).at.tzinfo is UTC


def test_loads_expired_and_deferred_columns_by_one_select(session, book):
    session.expire_all()
    book.sku  # noqa: B018 - loads all but the deferred column
    statements = []
    event.listen(
        session.get_bind(),
        "before_cursor_execute",
        lambda *args: statements.append(args[2]),
    )
    book.price = Decimal(1)

    assert load_columns(session, [book]) == 1
    assert load_columns(session, [book]) == 0
    assert [statement[:6] for statement in statements] == ["SELECT"]
    assert book in session.dirty


def test_leaves_instances_of_no_session_as_they_are(session, order):
    session.expire(order)
    session.expunge(order)

    assert load_columns(session, [order, Order(sku="b")]) == 0


class Meters:
    def __init__(self, number):
        self.number = number


class Length(TypeDecorator):
    impl = Integer
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value.number

    def process_result_value(self, value, dialect):
        return Meters(value)


class Shape(UserDefinedType):
    cache_ok = True

    def get_col_spec(self):
        return "SHAPE"

    @property
    def python_type(self):
        raise NotImplementedError  # as SQLAlchemy's own types do that have none


class Odd(Base):
    __tablename__ = "odd"
    __allow_unmapped__ = True

    id = mapped_column(Integer, primary_key=True)
    plain: int = mapped_column(Integer)
    length: Mapped[Meters] = mapped_column(Length)
    untyped = mapped_column(Shape)


class Imperative:
    id: "OnlyForTheTypeChecker"  # noqa: F821


imperative = Table("imperative", Base.metadata, Column("id", Integer, primary_key=True))
Base.registry.map_imperatively(Imperative, imperative)


def test_stores_columns_whose_annotations_only_a_type_checker_can_read(session):
    one = Imperative(id=1)
    session.add(one)
    session.flush()

    assert back(Imperative, one).id == 1


def test_takes_the_sql_type_s_word_where_no_annotation_can_be_read():
    odd = Odd(id=1, plain=3, length=4, untyped="x")
    odd._sa_instance_state.key = (Odd, (1,), None)

    assert columns(back(Odd, odd)) == columns(odd)


def test_refuses_a_column_s_value_that_is_no_plain_type():
    odd = Odd(id=1, plain=3, length=Meters(4), untyped="x")
    odd._sa_instance_state.key = (Odd, (1,), None)

    with pytest.raises(NotEncodable) as caught:
        type_codec(Odd).encode(odd)

    assert caught.value.path == "result.length"


def test_refuses_an_instance_with_columns_that_are_not_loaded(session, book):
    session.expire(book, ["price"])

    with pytest.raises(NotEncodable, match=r"not loaded \['price'\]"):
        type_codec(Product).encode(book)


@pytest.mark.parametrize("sku", [None, "x"])
def test_refuses_an_instance_without_a_row(sku):
    with pytest.raises(NotEncodable) as caught:
        type_codec(list[Order]).encode([Order(sku=sku)])

    assert caught.value.path == "result[0]"
    assert "no row" in caught.value.reason


def test_names_the_column_that_does_not_fit(session, book):
    load_columns(session, [book])
    book.price = 5

    with pytest.raises(NotEncodable) as caught:
        type_codec(Product).encode(book)

    assert caught.value.path == "result.price"


@pytest.mark.parametrize("declared", [Any, dict[str, Any], list[Any]])
def test_refuses_a_mapped_instance_where_nothing_is_declared(order, declared):
    values = {Any: order, dict[str, Any]: {"a": order}, list[Any]: [order]}

    with pytest.raises(NotEncodable, match="annotate what is returned with Order"):
        type_codec(declared).encode(values[declared])


def test_refuses_an_instance_of_another_class(order):
    with pytest.raises(NotEncodable):
        type_codec(Product).encode(order)
    with pytest.raises(NotEncodable):
        type_codec(Book).encode(1)


def test_refuses_a_recorded_class_that_is_not_below_the_declared_one(session, book):
    load_columns(session, [book])
    text = type_codec(Product).encode(book)

    with pytest.raises(Undecodable, match=r":Book is recorded, which is not .*:Order"):
        type_codec(Order).decode(text)


@pytest.mark.parametrize("text", ["1", "{}", '{"class":"x","columns":{}}'])
def test_refuses_text_that_is_no_snapshot(text):
    with pytest.raises(Undecodable):
        type_codec(Order).decode(text)


def test_names_the_recorded_column_that_does_not_fit(order):
    text = type_codec(Order).encode(order).replace('"b"', "1")

    with pytest.raises(Undecodable, match="column 'sku'"):
        type_codec(Order).decode(text)


def test_leaves_columns_unloaded_that_were_not_recorded(order):
    text = type_codec(Order).encode(order).replace('"sku":"b"', '"old":1')

    snapshot = type_codec(Order).decode(text)

    assert snapshot.id == order.id
    with pytest.raises(DetachedInstanceError):
        _ = snapshot.sku


def test_refuses_a_mapped_class_as_a_field():
    with pytest.raises(DeclarationError, match="field 'order'"):
        FieldsCodec({"order": (Order, MISSING)}, "workflow 'it'")


@pytest.mark.parametrize("mapped", [Order, Product])
def test_refuses_a_mapped_class_inside_another_class(mapped):
    @dataclass
    class Receipt:
        order: mapped

    with pytest.raises(DeclarationError, match="inside another class"):
        type_codec(Receipt)


def test_refuses_a_base_that_is_not_mapped():
    with pytest.raises(DeclarationError):
        type_codec(Base)
