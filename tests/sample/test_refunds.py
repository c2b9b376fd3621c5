"""The staff of the sample shop refunds orders: each once, and nobody else does."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from operon.models import WorkflowRun
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Repayment
from tests.processes import eventually
from tests.sample.test_orders import problem

REFUND = "/orders/1/refund"
STATUSES = select(Order.status)
REFUNDS = select(WorkflowRun).where(WorkflowRun.workflow == "refund")


@pytest.fixture(autouse=True)
def purchase(ada) -> str:
    """Ada's order, as the payment provider knows it."""
    return str(ada.order("globe-1928").headers["Operon-Run-Id"])


def test_the_staff_refunds_an_order(shop, clerk, ada, purchase):
    answer = clerk.post(REFUND)

    assert (answer.status_code, answer.json) == (
        200,
        {"order_id": 1, "amount": "890.00"},
    )
    (repayment,) = shop.rows(select(Repayment))
    assert (repayment.order_id, str(repayment.amount)) == (1, "890.00")
    assert repayment.clerk == "bob"
    assert shop.refunded() == [purchase]
    assert ada.get("/orders/1").json["status"] == "refunded"


def test_an_order_is_refunded_once(shop, clerk, purchase):
    answers = [clerk.post(REFUND) for _ in range(2)]

    assert answers[0].status_code == 200
    assert problem(answers[1]) == (409, "not-refundable")
    assert len(shop.rows(select(Repayment))) == 1
    assert shop.refunded() == [purchase]


def test_two_clerks_at_once_refund_an_order_once(shop, make_caller, purchase):
    statuses = []

    def refund(name: str) -> None:
        caller = make_caller(name, ["staff"], ["orders:refund"])
        statuses.append(caller.post(REFUND).status_code)

    clerks = [threading.Thread(target=refund, args=[name]) for name in ("bob", "dan")]
    for each in clerks:
        each.start()
    for each in clerks:
        each.join()

    assert sorted(statuses) == [200, 409]
    assert len(shop.rows(select(Repayment))) == 1
    assert shop.refunded() == [purchase]


def test_the_same_request_again_is_the_same_refund(shop, clerk):
    answers = [clerk.post(REFUND, Idempotency_Key="k-1") for _ in range(2)]

    assert [each.status_code for each in answers] == [200, 200]
    assert answers[0].data == answers[1].data
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert len(shop.rows(REFUNDS)) == 1


def test_who_lacks_role_or_scope_cannot_refund(shop, make_caller):
    for roles, scopes in (
        (["customer"], ["orders:read", "orders:write"]),
        (["customer"], ["orders:refund"]),
        (["staff"], ["orders:read", "orders:write"]),
        ([], ["orders:refund"]),
    ):
        refused = make_caller("ada", roles, scopes).post(REFUND)
        assert problem(refused) == (403, "insufficient-scope"), (roles, scopes)

    assert shop.rows(REFUNDS) == shop.refunded() == []
    assert shop.rows(STATUSES) == [OrderStatus.SHIPPED]


def test_who_has_no_token_cannot_refund(shop, nobody):
    assert problem(nobody.post(REFUND)) == (401, "unauthenticated")
    assert shop.rows(REFUNDS) == []


def test_an_order_that_does_not_exist_cannot_be_refunded(shop, clerk):
    assert problem(clerk.post("/orders/2/refund")) == (404, "not-found")
    assert shop.refunded() == []


def test_an_order_that_was_never_paid_cannot_be_refunded(shop, clerk, ada):
    ada.post("/orders", {"sku": "eraser", "card": "declined"})

    assert problem(clerk.post("/orders/2/refund")) == (409, "not-refundable")
    assert shop.refunded() == []


def test_a_refund_that_failed_as_the_provider_was_away_goes_on(
    shop, clerk, purchase, tmp_path: Path, monkeypatch
):
    with monkeypatch.context() as away:
        away.setenv("SAMPLE_APP_PAYMENTS", str(tmp_path))  # a folder is no file
        failed = clerk.post(REFUND)
    assert problem(failed) == (500, "workflow-failed")
    assert shop.refunded() == []

    run = f"/runs/{failed.headers['Operon-Run-Id']}"
    assert clerk.post(f"{run}/retry").status_code == 200

    eventually(lambda: clerk.get(run).json["status"] == "succeeded")
    assert clerk.get(f"{run}/result").json == {"order_id": 1, "amount": "890.00"}
    assert shop.refunded() == [purchase]
    assert len(shop.rows(select(Repayment))) == 1
