"""The staff refunds an order: once, and nobody else does."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Operon
from operon.testing import Activities
from operon.testing import Token
from sample_app.identity import CUSTOMER
from sample_app.identity import STAFF
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Repayment
from sample_app.refund import CreditNote
from sample_app.refund import Refund


@pytest.fixture
def order(operon_client: FlaskClient, operon_session: Session, ada: Token) -> Order:
    """What Ada has bought."""
    operon_client.post("/api/orders", json={"sku": "eraser"}, headers=ada.headers)
    return operon_session.scalars(select(Order)).one()


def test_the_staff_gives_the_money_back_once(
    operon_client: FlaskClient,
    operon_session: Session,
    operon_activities: Activities,
    order: Order,
    bob: Token,
) -> None:
    path = f"/api/orders/{order.id}/refund"

    answers = [operon_client.post(path, headers=bob.headers) for _ in range(2)]

    assert [each.status_code for each in answers] == [200, 409]
    assert answers[0].json == {"order_id": order.id, "amount": "2.30"}
    assert operon_session.scalars(select(Repayment)).one().clerk == "bob"
    assert len(operon_activities.calls(Refund.give_back)) == 1


@pytest.mark.parametrize(
    "rights",
    [
        {"roles": {CUSTOMER}, "scopes": {"orders:refund"}},
        {"roles": {STAFF}, "scopes": {"orders:read"}},
    ],
)
def test_whoever_lacks_the_role_or_the_scope_is_refused(
    operon_client: FlaskClient,
    operon_session: Session,
    operon_token: Callable[..., Token],
    order: Order,
    rights: dict[str, set[str]],
) -> None:
    token = operon_token("mallory", **rights)
    path = f"/api/orders/{order.id}/refund"

    answer = operon_client.post(path, headers=token.headers)

    assert answer.status_code == 403
    operon_session.refresh(order)
    assert order.status is OrderStatus.SHIPPED


def test_a_refund_that_failed_goes_on_when_the_provider_is_back(
    operon_client: FlaskClient,
    operon_runtime: Operon,
    operon_activities: Activities,
    order: Order,
    bob: Token,
) -> None:
    path = f"/api/orders/{order.id}/refund"
    operon_activities.fake(Refund.give_back, raises=ConnectionError, times=5)
    failed = operon_client.post(path, headers=bob.headers)
    assert failed.status_code == 500
    run_id = failed.headers["Operon-Run-Id"]

    operon_client.post(f"/api/runs/{run_id}/retry", headers=bob.headers)

    credit = operon_runtime.handle(run_id).result()
    assert credit == CreditNote(order.id, Decimal("2.30"))
    assert len(operon_activities.calls(Refund.give_back)) == 6
