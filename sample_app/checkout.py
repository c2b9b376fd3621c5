"""The checkout: the workflow that turns an order into a parcel.

It reads from top to bottom as if nothing could fail. Kill the process between any two
lines: another one goes on right there, and neither goods nor money move twice.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from sqlalchemy import exists
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import invariant
from operon import step
from sample_app.identity import who
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Payment
from sample_app.models import Product
from sample_app.models import Shipment
from sample_app.provider import Charge
from sample_app.provider import PaymentDeclinedError
from sample_app.provider import provider

UNREACHABLE = Retry(
    attempts=5, delay=timedelta(milliseconds=200), retry_on=(ConnectionError,)
)
"""A provider that does not answer is asked again; one that declines is not."""

PAID_FOR = (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.REFUNDED)
"""How far an order has come only if somebody has paid for it."""


class NotSoldError(Exception):
    """The shop has no such product."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"{sku!r} is not sold here")


class OutOfStockError(Exception):
    """Fewer are left of a product than were ordered."""

    def __init__(self, sku: str, left: int) -> None:
        super().__init__(f"only {left} of {sku!r} are left")


@dataclass(frozen=True)
class Receipt:
    """What the customer gets to know in the end."""

    order_id: int
    total: Decimal
    tracking: str


class Checkout(Workflow, name="checkout"):
    """Sell a quantity of one product: reserve it, charge it, settle, ship."""

    sku: Annotated[str, Field(max_length=100)]
    quantity: Annotated[int, Field(ge=1, le=10_000)] = 1
    card: Annotated[str, Field(max_length=100)] = "visa"

    @step(errors=(NotSoldError, OutOfStockError))
    def reserve(self, session: Session) -> Order:
        """Set the goods aside for whoever has asked for this run."""
        product = session.get(Product, self.sku)
        if product is None:
            raise NotSoldError(self.sku)
        if product.stock < self.quantity:
            raise OutOfStockError(self.sku, product.stock)
        product.stock -= self.quantity
        order = Order(
            customer=who().subject,
            sku=self.sku,
            quantity=self.quantity,
            total=product.price * self.quantity,
            run_id=current().run_id,
        )
        session.add(order)
        return order

    @activity(retry=UNREACHABLE, errors=(PaymentDeclinedError,))
    def charge(self, order: Order) -> Charge:
        """Take the money: perhaps asked for twice, by one key, so taken once."""
        return provider().charge(
            order.run_id,
            order.total,
            self.card,
            idempotency_key=current().idempotency_key,
        )

    @step
    def settle(self, session: Session, order: Order, charge: Charge) -> None:
        """Write down that the money is here."""
        order.status = OrderStatus.PAID
        session.add(
            Payment(
                order_id=order.id,
                amount=charge.amount,
                reference=charge.reference,
                idempotency_key=charge.idempotency_key,
            )
        )

    @step
    def ship(self, session: Session, order: Order) -> str:
        """Hand the goods to the carrier; return the tracking number."""
        order.status = OrderStatus.SHIPPED
        tracking = f"SP{order.id:08d}"
        session.add(Shipment(order_id=order.id, carrier="Snail", tracking=tracking))
        return tracking

    @activity(retry=UNREACHABLE)
    def refund(self, order: Order) -> None:
        """Give the money back, if it was taken."""
        provider().refund(order.run_id)

    @step
    def release(self, session: Session, order: Order) -> None:
        """Put the goods back on the shelf."""
        order.status = OrderStatus.CANCELLED
        session.get_one(Product, order.sku).stock += order.quantity

    @invariant
    def what_is_shipped_is_paid(self, session: Session) -> None:
        """Assert that nothing leaves the shop without a payment of its total."""
        has_payment = exists().where(
            Payment.order_id == Order.id, Payment.amount == Order.total
        )
        unpaid = select(Order.id).where(Order.status.in_(PAID_FOR), ~has_payment)
        found = session.scalars(unpaid).all()
        assert not found, f"not paid: {found}"  # noqa: S101 - tests only

    def run(self) -> Receipt:
        """Sell, or leave everything as it was."""
        order = self.reserve()
        try:
            charge = self.charge(order)
            self.settle(order, charge)
            tracking = self.ship(order)
        except PaymentDeclinedError:
            self.release(order)
            raise
        except RunCancelled:
            self.refund(order)
            self.release(order)
            raise
        return Receipt(order.id, order.total, tracking)
