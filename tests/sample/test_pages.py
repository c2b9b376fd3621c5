"""The page of the sample shop orders for its visitor, and for nobody else."""

import re
from uuid import uuid4

import pytest
from sqlalchemy import select

from sample_app.models import Order
from sample_app.models import OrderStatus

ORDERS = select(Order).order_by(Order.id)


@pytest.fixture
def form(shop) -> dict[str, str]:
    """What the form of a fresh page sends."""
    [key] = re.findall('name="key" value="(.*?)"', shop.client.get("/").text)
    return {"key": key, "sku": "sharpener", "quantity": "2", "card": "visa"}


def test_a_form_is_an_order_of_the_visitor(shop, form):
    answer = shop.client.post("/", data=form)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    (order,) = shop.rows(ORDERS)
    assert (order.customer, order.status) == ("visitor", OrderStatus.SHIPPED)
    assert (order.sku, order.quantity) == ("sharpener", 2)
    page = shop.client.get("/").text
    assert '<span class="shipped">shipped</span>' in page
    assert "SP00000001" in page


def test_a_form_that_is_sent_twice_is_one_order(shop, form):
    answers = [shop.client.post("/", data=form) for _ in range(2)]

    assert [each.status_code for each in answers] == [303, 303]
    assert len(shop.rows(ORDERS)) == len(shop.charged()) == 1


def test_a_form_that_is_sent_again_with_another_order_is_refused(shop, form):
    shop.client.post("/", data=form)

    assert shop.client.post("/", data=form | {"quantity": "3"}).status_code == 409
    assert len(shop.rows(ORDERS)) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sku": "desk-lamp", "quantity": "13"}, "only 12 of &#39;desk-lamp&#39; are"),
        ({"card": "declined"}, "the bank refuses the card"),
        ({"sku": "unicorn"}, "&#39;unicorn&#39; is not sold here"),
    ],
)
def test_the_page_says_why_there_is_no_order(shop, form, change, reason):
    refused = shop.client.post("/", data=form | change)

    assert refused.status_code == 409
    assert reason in refused.text
    assert shop.charged() == []


def test_a_form_that_makes_no_sense_is_refused(shop, form):
    for change, status in (
        ({"key": ""}, 400),
        ({"key": "stock-shelves"}, 400),
        ({"quantity": "0"}, 422),
        ({"quantity": "10001"}, 422),
        ({"quantity": "many"}, 422),
        ({"sku": "x" * 101}, 422),
        ({"card": "x" * 20_000}, 413),
    ):
        refused = shop.client.post("/", data=form | change)
        assert refused.status_code == status, change

    assert shop.rows(ORDERS) == []


def test_the_page_joins_no_run_of_the_api(shop, ada, form):
    run_id = ada.order("sharpener", 2).headers["Operon-Run-Id"]

    shop.client.post("/", data=form | {"key": run_id})

    assert [each.customer for each in shop.rows(ORDERS)] == ["ada", "visitor"]


def test_the_page_shows_no_orders_of_others(shop, ada):
    ada.order("sharpener", Idempotency_Key=uuid4().hex)

    assert "Nobody has ordered here yet." in shop.client.get("/").text
