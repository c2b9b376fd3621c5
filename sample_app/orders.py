"""The orders as they are shown: customers see their own, the staff sees all."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from sqlalchemy import ColumnElement
from sqlalchemy import select
from sqlalchemy import true
from sqlalchemy.orm import Session

from operon import transaction
from operon.flask import Refused
from sample_app.identity import STAFF
from sample_app.identity import who
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Shipment

OrderId = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""What the database can hold; anything else is refused before it is asked."""
Limit = Annotated[int, Field(ge=1, le=100)]


@dataclass(frozen=True)
class OrderView:
    """An order, and how far it has come."""

    id: int
    sku: str
    quantity: int
    total: Decimal
    status: OrderStatus
    created_at: datetime
    tracking: str | None
    """The parcel's number, once there is a parcel."""


@transaction(read_only=True, isolation="REPEATABLE READ")
def list_orders(session: Session, limit: Limit = 20) -> list[OrderView]:
    """Return the newest orders, the newest first."""
    query = (
        select(Order, Shipment)
        .outerjoin(Shipment, Shipment.order_id == Order.id)
        .where(_visible())
        .order_by(Order.id.desc())
        .limit(limit)
    )
    return [_view(order, parcel) for order, parcel in session.execute(query)]


@transaction(read_only=True, isolation="REPEATABLE READ")
def show_order(session: Session, order_id: OrderId) -> OrderView:
    """Return one order; a stranger's is like one that does not exist."""
    query = (
        select(Order, Shipment)
        .outerjoin(Shipment, Shipment.order_id == Order.id)
        .where(Order.id == order_id, _visible())
    )
    found = session.execute(query).one_or_none()
    if found is None:
        raise no_such_order()
    return _view(*found)


def no_such_order() -> Refused:
    """Return what is said of an order that is not there, or that is a stranger's."""
    return Refused(404, "not-found", "There is no such order")


def _visible() -> ColumnElement[bool]:
    """Return which orders whoever asks may see."""
    asks = who()
    return true() if STAFF in asks.roles else Order.customer == asks.subject


def _view(order: Order, parcel: Shipment | None) -> OrderView:
    return OrderView(
        id=order.id,
        sku=order.sku,
        quantity=order.quantity,
        total=order.total,
        status=order.status,
        created_at=order.created_at,
        tracking=None if parcel is None else parcel.tracking,
    )
