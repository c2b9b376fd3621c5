"""What must hold whenever an order commits, and that a bug which breaks it is found."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Operon
from operon.testing import InvariantBroken
from sample_app.checkout import Checkout
from sample_app.checkout import Receipt
from sample_app.identity import VISITOR
from sample_app.models import Order
from sample_app.models import OrderStatus


class HastyCheckout(Checkout, name="hasty-checkout"):
    """Ships before anybody has paid."""

    def run(self) -> Receipt:
        """Sell the other way round."""
        order = self.reserve()
        tracking = self.ship(order)
        self.settle(order, self.charge(order))
        return Receipt(order.id, order.total, tracking)


def test_the_step_that_ships_what_is_not_paid_is_stopped(
    operon_session: Session, operon_runtime: Operon
) -> None:
    with pytest.raises(InvariantBroken, match="'what_is_shipped_is_paid' of run 'hat'"):
        operon_runtime.run(
            HastyCheckout("eraser"), id="hat", principal=VISITOR.as_json()
        )

    assert operon_session.scalars(select(Order.status)).one() is OrderStatus.RESERVED
