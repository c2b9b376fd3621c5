"""The shop's tables. Each order points at the run that makes it."""

from datetime import UTC
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint
from sqlalchemy import Enum
from sqlalchemy import ForeignKey
from sqlalchemy import MetaData
from sqlalchemy import Text
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from operon.models import UTCDateTime
from operon.models import WorkflowRun
from sample_app.money import Money


class OrderStatus(StrEnum):
    """How far an order has come."""

    RESERVED = "reserved"
    """The goods are set aside; the customer has not paid."""
    PAID = "paid"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"
    """The goods are back on the shelf."""
    REFUNDED = "refunded"
    """The customer keeps the goods and has the money back."""


_STATUS = Enum(
    OrderStatus,
    native_enum=False,
    create_constraint=False,
    length=16,
    values_callable=lambda statuses: [status.value for status in statuses],
)


def _now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The declarative base of the shop's tables."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads a plain class attribute
        str: Text,
        datetime: UTCDateTime,
        Decimal: Money,
        OrderStatus: _STATUS,
    }


class Product(Base):
    """Something on the shelves."""

    __tablename__ = "products"
    __table_args__ = (CheckConstraint("stock >= 0", name="stock_not_negative"),)

    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[Decimal]
    stock: Mapped[int]
    """How many are left that nobody has ordered."""


class Order(Base):
    """What a customer wants; changes status with every step of its checkout."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str] = mapped_column(index=True)
    """Who placed it: the subject of the token, unique as the shop has one issuer."""
    sku: Mapped[str] = mapped_column(ForeignKey(Product.sku))
    quantity: Mapped[int]
    total: Mapped[Decimal]
    """The price when it was ordered, times the quantity."""
    status: Mapped[OrderStatus] = mapped_column(default=OrderStatus.RESERVED)
    run_id: Mapped[str] = mapped_column(ForeignKey(WorkflowRun.id), unique=True)
    """The checkout that makes it: a foreign key onto Operon's own table."""
    created_at: Mapped[datetime] = mapped_column(default=_now)


class Payment(Base):
    """What the payment provider took for an order."""

    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), unique=True)
    amount: Mapped[Decimal]
    reference: Mapped[str]
    """The provider's own number of the charge."""
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    """The key by which the provider knows every attempt of the charge as one."""


class Repayment(Base):
    """What the payment provider gives back for an order."""

    __tablename__ = "repayments"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), unique=True)
    """Unique, so that nobody can refund an order twice."""
    amount: Mapped[Decimal]
    clerk: Mapped[str]
    """Who of the staff asked for it."""


class Shipment(Base):
    """The parcel of an order."""

    __tablename__ = "shipments"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), unique=True)
    carrier: Mapped[str]
    tracking: Mapped[str]
