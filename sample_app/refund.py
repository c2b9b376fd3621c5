"""The refund: the workflow by which the staff gives a customer the money back.

A provider that stays away for longer than it is asked again fails the run. What was
done is kept: `POST /api/runs/{id}/retry` goes on with it.
"""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.orm import Session

from operon import Workflow
from operon import activity
from operon import step
from operon.flask import Refused
from sample_app.checkout import UNREACHABLE
from sample_app.identity import STAFF
from sample_app.identity import who
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Repayment
from sample_app.orders import OrderId
from sample_app.orders import no_such_order
from sample_app.provider import provider


@dataclass(frozen=True)
class CreditNote:
    """What the customer gets back."""

    order_id: int
    amount: Decimal


class Refund(Workflow, name="refund", roles={STAFF}):
    """Give the money of one order back; whoever is not of the staff is refused."""

    order_id: OrderId

    @step(errors=(Refused,))
    def approve(self, session: Session) -> Order:
        """Write down that the money goes back, unless it did already."""
        order = session.get(Order, self.order_id)
        if order is None:
            raise no_such_order()
        if order.status is not OrderStatus.SHIPPED:
            raise Refused(409, "not-refundable", f"The order is {order.status}")
        order.status = OrderStatus.REFUNDED
        session.add(
            Repayment(order_id=order.id, amount=order.total, clerk=who().subject)
        )
        return order

    @activity(retry=UNREACHABLE)
    def give_back(self, order: Order) -> None:
        """Let the provider return the money: perhaps asked for twice, done once."""
        provider().refund(order.run_id)

    def run(self) -> CreditNote:
        """Approve, then pay; nobody is left waiting for money between the two."""
        order = self.approve()
        self.give_back(order)
        return CreditNote(order.id, order.total)
