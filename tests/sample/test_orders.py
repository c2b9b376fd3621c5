"""Customers order by the API of the sample shop, and see what they have ordered."""

from uuid import uuid4

import pytest
from sqlalchemy import select

from operon.models import WorkflowRun
from sample_app.catalogue import ASSORTMENT
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Payment
from sample_app.models import Shipment
from tests.processes import eventually

ORDERS = select(Order).order_by(Order.id)
CHECKOUTS = select(WorkflowRun).where(WorkflowRun.workflow == "checkout")


def problem(answer) -> tuple[int, str]:
    assert answer.mimetype == "application/problem+json", answer.text
    assert answer.json["status"] == answer.status_code
    return answer.status_code, answer.json["type"]


def test_everybody_sees_the_products_and_their_exact_prices(nobody):
    answer = nobody.get("/products")

    assert answer.status_code == 200
    products = {each["sku"]: each for each in answer.json}
    assert len(products) == len(ASSORTMENT)
    assert products["notebook-a6"] == {
        "sku": "notebook-a6",
        "name": "Notebook, A6, blank",
        "price": "8.50",
        "stock": 400,
    }


def test_what_a_customer_orders_is_paid_and_shipped(shop, ada):
    answer = ada.order("ruler-30", 3)

    assert answer.status_code == 201
    assert answer.json == {"order_id": 1, "total": "23.70", "tracking": "SP00000001"}
    assert answer.headers["Location"] == "/api/orders/1"
    (order,) = shop.rows(ORDERS)
    (payment,) = shop.rows(select(Payment))
    (parcel,) = shop.rows(select(Shipment))
    assert (order.customer, order.status) == ("ada", OrderStatus.SHIPPED)
    assert order.run_id == answer.headers["Operon-Run-Id"]
    assert (payment.amount, payment.order_id) == (order.total, order.id)
    assert parcel.tracking == "SP00000001"
    assert shop.stock("ruler-30") == 117
    assert shop.charged() == [order.run_id]


def test_a_customer_sees_the_order_where_the_answer_says(shop, ada):
    place = ada.order("eraser", 2).headers["Location"]

    seen = ada.get(place.removeprefix("/api"))

    assert seen.status_code == 200
    (order,) = shop.rows(ORDERS)
    assert seen.json == {
        "id": order.id,
        "sku": "eraser",
        "quantity": 2,
        "total": "4.60",
        "status": "shipped",
        "created_at": order.created_at.isoformat().replace("+00:00", "Z"),
        "tracking": "SP00000001",
    }


def test_an_order_that_nobody_waits_for_is_done_nevertheless(shop, ada):
    accepted = ada.order("eraser", Prefer="respond-async")
    run = accepted.headers["Location"].removeprefix("/api")

    assert accepted.status_code == 202
    eventually(lambda: ada.get(run).json["status"] == "succeeded")
    assert ada.get(f"{run}/result").status_code == 201
    assert [each.status for each in shop.rows(ORDERS)] == [OrderStatus.SHIPPED]


def test_the_same_request_again_is_the_same_order(shop, ada):
    key = uuid4().hex

    first = ada.order("pencil-hb", 2, Idempotency_Key=key)
    again = ada.order("pencil-hb", 2, Idempotency_Key=key)

    assert (again.status_code, again.data) == (first.status_code, first.data)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(shop.rows(ORDERS)) == len(shop.charged()) == 1


def test_a_refusal_is_repeated_for_the_same_key(shop, ada):
    key = uuid4().hex

    answers = [ada.order("desk-lamp", 13, Idempotency_Key=key) for _ in range(2)]

    assert [each.status_code for each in answers] == [409, 409]
    assert answers[0].headers["Operon-Run-Id"] == answers[1].headers["Operon-Run-Id"]
    assert len(shop.rows(CHECKOUTS)) == 1


def test_a_key_is_for_one_order(shop, ada):
    key = uuid4().hex
    ada.order("pencil-hb", 1, Idempotency_Key=key)

    refused = ada.order("pencil-hb", 2, Idempotency_Key=key)

    assert problem(refused) == (422, "idempotency-key-reused")
    assert len(shop.rows(ORDERS)) == 1


def test_two_customers_with_one_key_have_an_order_each(shop, ada, eve):
    key = uuid4().hex

    for caller in (ada, eve):
        assert caller.order("pencil-hb", Idempotency_Key=key).status_code == 201

    assert [each.customer for each in shop.rows(ORDERS)] == ["ada", "eve"]


def test_who_lacks_role_or_scope_cannot_order(shop, make_caller):
    for roles, scopes in (
        ([], ["orders:write"]),
        (["staff"], ["orders:write"]),
        (["customers"], ["orders:write"]),
        (["customer"], []),
        (["customer"], ["orders:read", "orders:writes"]),
    ):
        refused = make_caller("mallory", roles, scopes).order("eraser")
        assert problem(refused) == (403, "insufficient-scope"), (roles, scopes)

    assert shop.rows(CHECKOUTS) == []


def test_who_has_no_token_cannot_order(shop, nobody):
    refused = nobody.order("eraser")

    assert problem(refused) == (401, "unauthenticated")
    assert shop.rows(CHECKOUTS) == []


def test_more_than_is_left_is_409_and_takes_nothing(shop, ada):
    refused = ada.order("desk-lamp", 13)

    assert refused.status_code == 409
    assert shop.rows(ORDERS) == shop.charged() == []
    assert shop.stock("desk-lamp") == 12


@pytest.mark.parametrize(
    ("quantity", "card"),
    [(1, "declined"), (60, "visa")],
    ids=["by the bank", "as too much"],
)
def test_a_payment_that_is_declined_is_402_and_puts_the_goods_back(
    shop, ada, quantity, card
):
    body = {"sku": "fountain-pen", "quantity": quantity, "card": card}

    refused = ada.post("/orders", body)

    assert refused.status_code == 402
    assert [each.status for each in shop.rows(ORDERS)] == [OrderStatus.CANCELLED]
    assert shop.charged() == []
    assert shop.stock("fountain-pen") == 60


def test_what_is_not_sold_cannot_be_ordered(shop, ada):
    assert ada.order("unicorn").status_code == 404
    assert shop.rows(ORDERS) == []


def test_an_order_that_makes_no_sense_begins_nothing(shop, ada):
    for body, pointer in (
        ({}, "/sku"),
        ({"sku": 7}, "/sku"),
        ({"sku": "\x00"}, "/sku"),
        ({"sku": "x" * 101}, "/sku"),
        ({"sku": "eraser", "color": "red"}, "/color"),
        ({"sku": "eraser", "customer": "eve"}, "/customer"),
        ({"sku": "eraser", "quantity": 0}, "/quantity"),
        ({"sku": "eraser", "quantity": -1}, "/quantity"),
        ({"sku": "eraser", "quantity": 1.5}, "/quantity"),
        ({"sku": "eraser", "quantity": True}, "/quantity"),
        ({"sku": "eraser", "quantity": "2"}, "/quantity"),
        ({"sku": "eraser", "quantity": 10_001}, "/quantity"),
        ({"sku": "eraser", "card": 1}, "/card"),
    ):
        refused = ada.post("/orders", body)
        assert problem(refused) == (422, "validation"), body
        assert [each["pointer"] for each in refused.json["errors"]] == [pointer]

    assert shop.rows(CHECKOUTS) == []


def test_a_strangers_order_is_like_one_that_does_not_exist(ada, eve):
    ada.order("eraser")

    theirs, nobodys = eve.get("/orders/1"), eve.get("/orders/2")

    assert problem(theirs) == problem(nobodys) == (404, "not-found")
    assert theirs.json | {"trace_id": ""} == nobodys.json | {"trace_id": ""}


def test_customers_see_their_own_orders_and_the_staff_sees_all(ada, eve, clerk):
    for caller in (ada, eve, ada):
        caller.order("eraser")

    def ids(caller, query="") -> list[int]:
        return [each["id"] for each in caller.get(f"/orders{query}").json]

    assert ids(ada) == [3, 1]
    assert ids(eve) == [2]
    assert ids(clerk) == [3, 2, 1]
    assert ids(clerk, "?limit=2") == [3, 2]
    assert clerk.get("/orders/2").json["id"] == 2


def test_orders_are_shown_to_nobody_without_role_scope_and_token(
    ada, make_caller, nobody
):
    ada.order("eraser")
    unscoped = make_caller("ada", ["customer"], ["orders:write"])
    roleless = make_caller("ada", [], ["orders:read"])

    for path in ("/orders", "/orders/1"):
        assert problem(nobody.get(path)) == (401, "unauthenticated")
        for caller in (unscoped, roleless):
            assert problem(caller.get(path)) == (403, "insufficient-scope")


def test_numbers_that_make_no_sense_are_refused(ada):
    for path in ("/0", f"/{2**31}", "/9" + "9" * 30, "?limit=0", "?limit=101"):
        assert problem(ada.get(f"/orders{path}")) == (422, "validation"), path
