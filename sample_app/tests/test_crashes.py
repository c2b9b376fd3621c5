"""The process dies, and no customer pays twice for it."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import activity
from operon.testing import Crashes
from operon.testing import Exploration
from operon.testing import NotCrashSafeError
from operon.testing import OwnDatabase
from operon.testing import Point
from sample_app.checkout import Checkout
from sample_app.identity import VISITOR
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Product
from sample_app.provider import Charge
from sample_app.provider import provider

WHO = VISITOR.as_json()


def test_a_customer_is_charged_once_if_the_process_dies_after_the_charge(
    operon_database: OwnDatabase,
    operon_crash: Crashes,
    charges: Callable[[], list[str]],
) -> None:
    operon_crash.at(Point.EFFECT_DONE, step="charge")
    operon_crash.run(Checkout("globe-1928"), id="globe", principal=WHO)
    assert charges() == ["globe"]

    other = operon_crash.recover()

    assert other.get_run("globe").status == "succeeded"
    assert charges() == ["globe"]
    with Session(operon_database.engine) as session:
        assert session.scalars(select(Order.status)).one() is OrderStatus.SHIPPED
        assert session.get_one(Product, "globe-1928").stock == 0


class CarelessCheckout(Checkout, name="careless-checkout"):
    """Charges by a key that is another one each time."""

    @activity
    def charge(self, order: Order) -> Charge:
        """Take the money, as often as it is asked for."""
        return provider().charge(
            order.run_id, order.total, self.card, idempotency_key=uuid4().hex
        )


@pytest.fixture
def explored(
    operon_crash: Crashes, payments: Path, charges: Callable[[], list[str]]
) -> Callable[..., Exploration]:
    """Crashes wherever an order commits, and looks for what is not as without."""

    def check(session: Session) -> None:
        assert charges() == ["globe"]
        assert session.scalars(select(Order.status)).one() is OrderStatus.SHIPPED

    def explore(checkout: Checkout, only: int | None = None) -> Exploration:
        return operon_crash.explore(
            checkout,
            check,
            id="globe",
            principal=WHO,
            prepare=lambda: payments.unlink(missing_ok=True),
            only=only,
        )

    return explore


def test_no_crash_changes_what_comes_of_an_order(
    explored: Callable[..., Exploration],
) -> None:
    found = explored(Checkout("globe-1928"))

    assert found.commits == (
        "the start of run 'globe'",
        "step 'reserve', position 1, attempt 1",
        "activity 'charge', position 2, attempt 1",
        "step 'settle', position 3, attempt 1",
        "step 'ship', position 4, attempt 1",
        "the end (succeeded) of run 'globe'",
    )
    assert found.tried == 18  # before each, after it, and its reply lost


def test_a_charge_by_another_key_each_time_is_found(
    explored: Callable[..., Exploration],
) -> None:
    with pytest.raises(NotCrashSafeError) as raised:
        explored(CarelessCheckout("globe-1928"), only=7)

    [finding] = raised.value.exploration.findings
    assert finding.name.startswith("before COMMIT of activity 'charge'")
    assert "['globe', 'globe'] == ['globe']" in finding.problem
