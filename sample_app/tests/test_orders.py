"""Customers order by the API: who may, what it answers, and what it leaves."""

from collections.abc import Callable
from collections.abc import Collection

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.testing import DrivenClock
from operon.testing import Token
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Product

PENS = {"sku": "fountain-pen", "quantity": 2}


def test_an_order_is_answered_when_it_is_shipped(
    operon_client: FlaskClient, operon_session: Session, ada: Token
) -> None:
    answer = operon_client.post("/api/orders", json=PENS, headers=ada.headers)

    assert answer.status_code == 201
    order = operon_session.scalars(select(Order)).one()
    assert answer.json == {
        "order_id": order.id,
        "total": "92.00",
        "tracking": f"SP{order.id:08d}",
    }
    assert (order.customer, order.status) == ("ada", OrderStatus.SHIPPED)
    assert operon_session.get_one(Product, "fountain-pen").stock == 58


def test_a_request_that_is_sent_twice_is_one_order(
    operon_client: FlaskClient, operon_session: Session, ada: Token
) -> None:
    headers = ada.headers | {"Idempotency-Key": "pens"}

    first, again = (
        operon_client.post("/api/orders", json=PENS, headers=headers) for _ in range(2)
    )

    assert (again.status_code, again.json) == (first.status_code, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert operon_session.scalar(select(func.count()).select_from(Order)) == 1


def test_whoever_has_no_token_is_not_known(operon_client: FlaskClient) -> None:
    assert operon_client.post("/api/orders", json=PENS).status_code == 401


@pytest.mark.parametrize(
    ("roles", "scopes"),
    [({"staff"}, {"orders:write"}), ({"customer"}, {"orders:read"}), ((), ())],
)
def test_whoever_lacks_the_role_or_the_scope_is_refused(
    operon_client: FlaskClient,
    operon_session: Session,
    operon_token: Callable[..., Token],
    roles: Collection[str],
    scopes: Collection[str],
) -> None:
    token = operon_token("mallory", roles=roles, scopes=scopes)

    answer = operon_client.post("/api/orders", json=PENS, headers=token.headers)

    assert answer.status_code == 403
    assert operon_session.scalars(select(Order)).all() == []


def test_a_token_expires(
    operon_client: FlaskClient, operon_clock: DrivenClock, ada: Token
) -> None:
    assert operon_client.get("/api/orders", headers=ada.headers).status_code == 200

    operon_clock.turn(hours=2)

    answer = operon_client.get("/api/orders", headers=ada.headers)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ({"sku": "unicorn"}, 404),
        ({"sku": "desk-lamp", "quantity": 13}, 409),
        ({"sku": "eraser", "card": "declined"}, 402),
        ({"sku": "eraser", "quantity": 0}, 422),
    ],
)
def test_an_order_that_cannot_be_filled_takes_nothing(
    operon_client: FlaskClient,
    operon_session: Session,
    ada: Token,
    order: dict[str, object],
    status: int,
) -> None:
    def stock() -> int | None:
        return operon_session.scalar(select(func.sum(Product.stock)))

    before = stock()

    answer = operon_client.post("/api/orders", json=order, headers=ada.headers)

    assert (answer.status_code, stock()) == (status, before)


def test_customers_see_their_own_orders_and_the_staff_sees_all(
    operon_client: FlaskClient,
    operon_token: Callable[..., Token],
    ada: Token,
    bob: Token,
) -> None:
    eve = operon_token("eve", roles={"customer"}, scopes={"orders:read"})
    placed = operon_client.post("/api/orders", json=PENS, headers=ada.headers)
    place = placed.headers["Location"]

    seen = [
        operon_client.get(place, headers=who.headers).status_code
        for who in (ada, bob, eve)
    ]

    assert seen == [200, 200, 404]
