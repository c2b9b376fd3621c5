"""The checkout, without the web: what it does when the world does not play along."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Operon
from operon.errors import RunCancelledError
from operon.testing import Activities
from operon.testing import DrivenClock
from sample_app.checkout import Checkout
from sample_app.checkout import Receipt
from sample_app.identity import VISITOR
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Product
from sample_app.provider import Charge
from sample_app.provider import PaymentDeclinedError
from sample_app.provider import PaymentProvider

WHO = VISITOR.as_json()
LAMP = Checkout("desk-lamp")


def test_what_is_sold_leaves_the_shelf(
    operon_session: Session, operon_runtime: Operon
) -> None:
    receipt = operon_runtime.run(LAMP, id="lamp", principal=WHO)

    order = operon_session.scalars(select(Order)).one()
    assert receipt == Receipt(order.id, Decimal("129.00"), f"SP{order.id:08d}")
    assert operon_session.get_one(Product, "desk-lamp").stock == 11


def test_an_order_that_was_accepted_is_filled_when_somebody_waits(
    operon_session: Session, operon_runtime: Operon
) -> None:
    handle = operon_runtime.start(LAMP, principal=WHO)
    assert operon_session.scalars(select(Order)).all() == []

    handle.result()

    order = operon_session.scalars(select(Order)).one()
    assert (order.run_id, order.status) == (handle.id, OrderStatus.SHIPPED)


def test_a_payment_that_is_declined_puts_the_goods_back(
    operon_session: Session, operon_runtime: Operon, operon_activities: Activities
) -> None:
    operon_activities.fake("charge", raises=PaymentDeclinedError("no money"))

    with pytest.raises(PaymentDeclinedError, match="no money"):
        operon_runtime.run(LAMP, principal=WHO)

    order = operon_session.scalars(select(Order)).one()
    assert order.status is OrderStatus.CANCELLED
    assert operon_session.get_one(Product, "desk-lamp").stock == 12


def test_a_provider_that_is_away_is_asked_again_by_the_same_key(
    operon_session: Session,
    operon_runtime: Operon,
    operon_activities: Activities,
    operon_clock: DrivenClock,
) -> None:
    operon_activities.fake("charge", raises=ConnectionError, times=3)
    began = operon_clock.now()

    operon_runtime.run(LAMP, id="lamp", principal=WHO)

    calls = operon_activities.calls("charge")
    assert [each.attempt for each in calls] == [1, 2, 3, 4]
    assert {each.idempotency_key for each in calls} == {"lamp/2"}
    assert [each.is_fake for each in calls] == [True, True, True, False]
    assert operon_clock.now() - began > timedelta(seconds=1)  # that nobody has waited
    assert operon_session.scalars(select(Order.status)).one() is OrderStatus.SHIPPED


def test_a_charge_whose_answer_is_lost_is_taken_once(
    operon_session: Session,
    operon_runtime: Operon,
    operon_activities: Activities,
    charges: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    charge = PaymentProvider.charge
    answers = iter([ConnectionError("the answer is lost")])

    def lose_the_first(*args: Any, **kwargs: Any) -> Charge:
        taken = charge(*args, **kwargs)
        for lost in answers:
            raise lost
        return taken

    monkeypatch.setattr(PaymentProvider, "charge", lose_the_first)

    operon_runtime.run(LAMP, id="lamp", principal=WHO)

    assert len(operon_activities.calls("charge")) == 2
    assert charges() == ["lamp"]
    assert operon_session.scalars(select(Order.status)).one() is OrderStatus.SHIPPED


def test_whoever_cancels_gets_the_money_back(
    operon_session: Session, operon_runtime: Operon, operon_activities: Activities
) -> None:
    def cancel_meanwhile(order: Order) -> None:
        operon_runtime.cancel(order.run_id)
        raise ConnectionError

    operon_activities.fake("charge", cancel_meanwhile)

    with pytest.raises(RunCancelledError):
        operon_runtime.run(LAMP, id="lamp", principal=WHO)

    assert len(operon_activities.calls("refund")) == 1
    assert operon_session.scalars(select(Order.status)).one() is OrderStatus.CANCELLED
    assert operon_session.get_one(Product, "desk-lamp").stock == 12
