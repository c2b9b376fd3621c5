"""The sample shop under `kill -9`: whatever it accepted ends right, exactly once."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from http.client import HTTPException
from typing import Any
from typing import Self
from uuid import uuid4

from sqlalchemy import Engine
from sqlalchemy import NullPool
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from operon import RunStatus
from operon.models import WorkflowRun
from sample_app.catalogue import ASSORTMENT
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Payment
from sample_app.models import Product
from sample_app.models import Shipment
from tests.acceptance.test_sample_app import OPEN_AT
from tests.acceptance.test_sample_app import Answer
from tests.acceptance.test_sample_app import Shop
from tests.acceptance.test_sample_app import charges
from tests.acceptance.test_sample_app import open_shop
from tests.acceptance.test_sample_app import start_shop
from tests.processes import Child
from tests.processes import eventually

KILLS = 3
CUSTOMERS = 6
SOLD = ["notebook-a5", "fountain-pen", "eraser", "desk-lamp", "globe-1928"]
PREFERENCES = ["respond-async", "wait=10"]
ANSWERS = {201, 202, 402, 409}
"""Shipped, not yet known, declined, out of stock."""
FIRST_STOCK = {sku: stock for sku, _, _, stock in ASSORTMENT}


@dataclass
class Customers:
    """People who order all the time, and repeat every request until it is answered."""

    accepted: dict[str, str] = field(default_factory=dict)
    """The runs of the orders that the shop has answered for, by key."""
    refused: list[str] = field(default_factory=list)
    """Answers that no customer should get."""
    shop: Shop | None = None
    """Where they go; the last one that opened."""
    _leaving: threading.Event = field(default_factory=threading.Event)
    _gone: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Begin to order, in the background."""
        for _ in range(CUSTOMERS):
            chance = random.Random(random.random())
            thread = threading.Thread(target=self._order_on, args=[chance])
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        """Give up whatever is still unanswered."""
        self._leaving.set()
        self._gone.set()
        for thread in self._threads:
            thread.join()

    def leave(self) -> None:
        """Place no more orders, and wait for the answer to the last ones."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive()

    def _order_on(self, chance: random.Random) -> None:
        """Place order after order until it is time to leave."""
        while not self._leaving.is_set():
            key, sku = uuid4().hex, chance.choice(SOLD)
            card = "declined" if chance.random() < 0.1 else "visa"
            headers = {"Idempotency_Key": key, "Prefer": chance.choice(PREFERENCES)}
            self._insist(sku, chance.randint(1, 3), card, **headers)

    def _insist(self, *order: Any, **headers: str) -> None:
        """Place one order, again and again until the shop has answered."""
        while (answer := self._try(*order, **headers)) is None:
            if self._gone.wait(0.02):
                return
        key, run_id = headers["Idempotency_Key"], answer.headers.get("Operon-Run-Id")
        if answer.status in ANSWERS and run_id is not None:
            self.accepted[key] = run_id
        else:
            self.refused.append(f"{answer.status} for {key}: {answer.text}")

    def _try(self, *order: Any, **headers: str) -> Answer | None:
        """Return the answer, or None if there was none."""
        if self.shop is None:
            return None
        try:
            return self.shop.order(*order, **headers)
        except (OSError, HTTPException):
            return None


def serve_and_kill(shop: Shop, customers: Customers) -> None:
    """Serve a random number of customers, then kill the shop amid its work."""
    customers.shop = shop
    enough = len(customers.accepted) + random.randint(5, 25)
    eventually(lambda: len(customers.accepted) >= enough, saying="orders")
    threading.Event().wait(random.uniform(0, 0.2))  # any moment will do
    shop.child.kill()
    shop.child.wait()


def all_ended(session: Session) -> bool:
    """Tell whether no run is left that goes on."""
    session.rollback()  # look afresh
    final = [status for status in RunStatus if status.is_final]
    query = select(func.count()).where(WorkflowRun.status.not_in(final))
    return session.scalar(query) == 0


def check_runs(session: Session, accepted: dict[str, str]) -> None:
    """Every accepted order is one run, which succeeded or failed for a good reason."""
    query = select(WorkflowRun).where(WorkflowRun.workflow == "checkout")
    runs = session.scalars(query).all()
    orders = {order.run_id: order for order in session.scalars(select(Order))}

    assert sorted(run.id for run in runs) == sorted(accepted.values())
    for run in runs:
        order = orders.pop(run.id, None)
        if run.status is RunStatus.SUCCEEDED:
            assert order is not None
            assert order.status is OrderStatus.SHIPPED
        else:
            assert run.status is RunStatus.FAILED, (run.id, run.status, run.error)
            cause = "OutOfStockError" if order is None else "PaymentDeclinedError"
            assert cause in str(run.error)
            assert order is None or order.status is OrderStatus.CANCELLED
    assert orders == {}


def check_goods(session: Session) -> None:
    """What left the shelves is what was sold, piece by piece."""
    sold: Counter[str] = Counter()
    for order in session.scalars(select(Order)):
        if order.status is not OrderStatus.CANCELLED:
            sold[order.sku] += order.quantity
    left = {product.sku: product.stock for product in session.scalars(select(Product))}

    assert {sku: left[sku] + sold[sku] for sku in left} == FIRST_STOCK


def check_money(session: Session, taken: list[tuple[str, str, str]]) -> None:
    """Each shipped order was paid once and sent once, and nobody else paid."""
    shipped = {
        order.id: order
        for order in session.scalars(select(Order))
        if order.status is OrderStatus.SHIPPED
    }
    payments = session.scalars(select(Payment)).all()
    parcels = session.scalars(select(Shipment.order_id)).all()

    assert sorted(payment.order_id for payment in payments) == sorted(shipped)
    assert sorted(parcels) == sorted(shipped)
    assert all(each.amount == shipped[each.order_id].total for each in payments)
    assert sorted(taken) == sorted(
        (each.idempotency_key, shipped[each.order_id].run_id, each.reference)
        for each in payments
    )


def test_every_accepted_order_ends_right_though_the_shop_is_killed_again_and_again(
    database, tmp_path
):
    ledger = tmp_path / "payments.db"
    with Customers() as customers, Session(database.engine()) as session:
        for _ in range(KILLS):
            with open_shop(database.url, ledger) as shop:
                serve_and_kill(shop, customers)
        with open_shop(database.url, ledger) as shop:
            customers.shop = shop
            customers.leave()
            eventually(lambda: all_ended(session), timeout=30, saying="every run's end")

        assert customers.refused == []
        check_runs(session, customers.accepted)
        check_goods(session)
        check_money(session, charges(ledger))


def is_migrating(engine: Engine) -> bool:
    """Tell whether somebody is in the middle of a migration."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            lock = text("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")
            return connection.scalar(lock) is not None
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError:
            return True
        return False


def has_runs(engine: Engine) -> bool:
    """Tell whether Operon's tables are there."""
    return inspect(engine).has_table("operon_runs")


def has_orders(engine: Engine) -> bool:
    """Tell whether the shop's tables are there."""
    return inspect(engine).has_table("orders")


def wait_until(child: Child, reached: Callable[[], bool]) -> None:
    """Wait until *child* has *reached* something, or has gone beyond it unseen."""
    eventually(lambda: reached() or OPEN_AT in child.output(), saying=child.output())


def test_a_first_start_that_is_killed_at_any_moment_can_be_repeated(
    empty_database, tmp_path
):
    ledger = tmp_path / "payments.db"
    engine = empty_database.engine(poolclass=NullPool)
    for reached in (is_migrating, has_runs, has_orders):
        with start_shop(empty_database.url, ledger) as child:
            wait_until(child, lambda reached=reached: reached(engine))
            child.kill()

    with open_shop(empty_database.url, ledger) as shop:
        assert shop.order("eraser").status == 201
        assert shop.stock("eraser") == FIRST_STOCK["eraser"] - 1
