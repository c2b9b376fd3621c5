"""The sample shop as its customers meet it: a process of its own, over HTTP."""

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from operon import schema
from operon.errors import RunCancelledError
from operon.points import Point
from operon.models import ExecutorRecord
from sample_app import catalogue
from sample_app.app import create_operon
from sample_app.checkout import Checkout
from sample_app.database import migrate
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Payment
from sample_app.models import Product
from sample_app.models import Shipment
from tests.fix_db import DIALECTS
from tests.processes import ROOT
from tests.processes import Child
from tests.processes import eventually

INI = ROOT / "sample_app" / "alembic.ini"
ENDED = {"succeeded", "failed", "cancelled", "dead"}
OPEN_AT = "The shop is open at "


@dataclass(frozen=True)
class Answer:
    """What the shop said."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Shop:
    """An open shop, its database, and what the payment provider keeps."""

    child: Child
    address: str
    url: str
    ledger: Path

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        """Send one request and return the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(HTTPConnection(self.address, timeout=30)) as connection:
            connection.request(method, path, body.encode(), named)
            answer = connection.getresponse()
            said = answer.read().decode()
            return Answer(answer.status, dict(answer.getheaders()), said)

    def order(
        self, sku: str, quantity: int = 1, card: str = "visa", **headers
    ) -> Answer:
        """Place an order as a program does."""
        body = json.dumps({"sku": sku, "quantity": quantity, "card": card})
        return self.ask(
            "POST", "/orders", body, Content_Type="application/json", **headers
        )

    def submit(self, **fields: object) -> Answer:
        """Place an order as the page's form does."""
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", "/", urlencode(fields), Content_Type=kind)

    def ended(self, path: str) -> Any:
        """Wait for the end of the order at *path* and return what is said of it."""

        def look() -> Any:
            said = self.ask("GET", path).json
            return said if said["status"] in ENDED else None

        return eventually(look, timeout=30, saying=f"the end of {path}")

    def stock(self, sku: str) -> int:
        """Return how many of *sku* are said to be left."""
        products = self.ask("GET", "/products").json
        return next(each["stock"] for each in products if each["sku"] == sku)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Look at the rows without the shop's help."""
        engine = create_engine(self.url)
        with Session(engine) as session:
            yield session
        engine.dispose()

    def orders(self, path: str) -> list[Order]:
        """Return the orders that the run at *path* made."""
        run_id = path.removeprefix("/orders/")
        with self.session() as session:
            return list(session.scalars(select(Order).where(Order.run_id == run_id)))


def start_shop(url: str, ledger: Path) -> Child:
    """Return the process of a shop, to be entered."""
    args = ["--database-url", url, "--port", 0]
    return Child("sample_app", args, {"SAMPLE_APP_PAYMENTS": str(ledger)})


@contextmanager
def open_shop(url: str, ledger: Path) -> Iterator[Shop]:
    """Start a shop and wait until it is open; it is killed in the end."""
    with start_shop(url, ledger) as child:

        def say_address() -> str:
            said = child.output()
            assert child.running, said
            _, _, rest = said.partition(OPEN_AT)
            line, end, _ = rest.partition("\n")
            return urlsplit(line).netloc if end else ""

        yield Shop(child, eventually(say_address, timeout=30), url, ledger)


def charges(ledger: Path) -> list[tuple[str, str, str]]:
    """Return (idempotency key, purchase, reference) of all money that was taken."""
    with closing(sqlite3.connect(ledger)) as connection:
        query = "SELECT idempotency_key, purchase, reference FROM charges"
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module", params=DIALECTS)
def shop(request, tmp_path_factory) -> Iterator[Shop]:
    """A shop on a database that was empty; the tests of a dialect share it."""
    folder = tmp_path_factory.mktemp("shop")
    ledger = folder / "payments.db"
    if request.param == "sqlite":
        with open_shop(f"sqlite:///{folder / 'shop.db'}", ledger) as shop:
            yield shop
        return
    server, name = request.getfixturevalue("postgres_server"), f"shop_{uuid4().hex}"
    server.create_database(name)
    try:
        with open_shop(server.url(name), ledger) as shop:
            yield shop
    finally:
        server.drop_database(name)


def test_shows_every_product_with_its_exact_price(shop):
    products = {each["sku"]: each for each in shop.ask("GET", "/products").json}

    assert len(products) == len(catalogue.ASSORTMENT)
    assert products["notebook-a6"] == {
        "sku": "notebook-a6",
        "name": "Notebook, A6, blank",
        "price": "8.50",
        "stock": 400,
    }


def test_an_accepted_order_is_paid_and_shipped(shop):
    before = shop.stock("ruler-30")

    accepted = shop.order("ruler-30", 3)
    path = accepted.headers["Location"]
    said = shop.ended(path)

    assert accepted.status == 202
    assert path == f"/orders/{accepted.json['id']}"
    (order,) = shop.orders(path)
    assert said == {
        "id": accepted.json["id"],
        "status": "succeeded",
        "result": {
            "order_id": order.id,
            "total": "23.70",
            "tracking": f"SP{order.id:08d}",
        },
    }
    assert order.status is OrderStatus.SHIPPED
    assert shop.stock("ruler-30") == before - 3
    with shop.session() as session:
        payment = session.scalars(select(Payment).filter_by(order_id=order.id)).one()
        session.scalars(select(Shipment).filter_by(order_id=order.id)).one()
    assert (payment.idempotency_key, order.run_id, payment.reference) in charges(
        shop.ledger
    )


def test_the_same_key_twice_is_one_order(shop):
    key = uuid4().hex

    first = shop.order("pencil-hb", 2, Idempotency_Key=key)
    second = shop.order("pencil-hb", 2, Idempotency_Key=key)

    assert (first.status, second.status) == (202, 202)
    assert first.json == second.json == {"id": key}
    assert shop.ended(f"/orders/{key}")["status"] == "succeeded"
    assert len(shop.orders(f"/orders/{key}")) == 1


def test_a_key_that_was_used_for_another_order_is_refused(shop):
    key = uuid4().hex
    shop.order("pencil-4b", 1, Idempotency_Key=key)

    refused = shop.order("pencil-4b", 2, Idempotency_Key=key)

    assert refused.status == 422
    assert refused.json["detail"] == "This key was used for another order."


def test_an_order_of_more_than_is_left_fails_and_takes_nothing(shop):
    path = shop.order("desk-lamp", 13).headers["Location"]

    said = shop.ended(path)

    assert said["status"] == "failed"
    assert said["error"] == {
        "type": "OutOfStockError",
        "message": "only 12 of 'desk-lamp' are left",
    }
    assert shop.orders(path) == []
    assert shop.stock("desk-lamp") == 12


@pytest.mark.parametrize(
    ("quantity", "card", "reason"),
    [
        (1, "declined", "the bank refuses the card"),
        (60, "visa", "2760.00 is more than 1000.00"),
    ],
)
def test_a_declined_payment_puts_the_goods_back(shop, quantity, card, reason):
    path = shop.order("fountain-pen", quantity, card).headers["Location"]

    said = shop.ended(path)

    assert said["error"] == {
        "type": "PaymentDeclinedError",
        "message": f"the payment was declined: {reason}",
    }
    (order,) = shop.orders(path)
    assert order.status is OrderStatus.CANCELLED
    assert shop.stock("fountain-pen") == 60
    assert order.run_id not in {purchase for _, purchase, _ in charges(shop.ledger)}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ('["eraser"]', 400),
        ("{}", 422),
        ('{"sku": "eraser", "color": "red"}', 422),
        ('{"sku": 7}', 422),
        ('{"sku": "eraser", "quantity": 0}', 422),
        ('{"sku": "eraser", "quantity": -1}', 422),
        ('{"sku": "eraser", "quantity": 1.5}', 422),
        ('{"sku": "eraser", "quantity": NaN}', 422),
        ('{"sku": "eraser", "quantity": true}', 422),
        ('{"sku": "eraser", "quantity": "2"}', 422),
        ('{"sku": "eraser", "card": ""}', 422),
        ('{"sku": "unicorn"}', 404),
        ('{"sku": "\\u0000"}', 404),
        (f'{{"sku": "{"x" * 20_000}"}}', 413),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(shop, body, status):
    refused = shop.ask("POST", "/orders", body, Content_Type="application/json")

    assert refused.status == status
    assert refused.json.keys() == {"error", "detail"}


@pytest.mark.parametrize("key", ["two words", "a/b", "", "k" * 101])
def test_a_key_that_cannot_stand_in_an_address_is_refused(shop, key):
    assert shop.order("eraser", Idempotency_Key=key).status == 400


def test_a_body_that_is_not_json_is_refused(shop):
    assert (
        shop.ask("POST", "/orders", "sku=eraser", Content_Type="text/plain").status
        == 415
    )


@pytest.mark.parametrize(
    "path", ["/orders/nobody-knows", "/orders/stock-shelves", "/x"]
)
def test_what_is_not_an_order_is_not_found(shop, path):
    missing = shop.ask("GET", path)

    assert missing.status == 404
    assert missing.json["error"] == "Not Found"


def test_a_form_that_is_sent_twice_is_one_order(shop):
    page = shop.ask("GET", "/").text
    key = page.partition('name="key" value="')[2].partition('"')[0]
    fields = {"key": key, "sku": "sharpener", "quantity": 2, "card": "visa"}

    answers = [shop.submit(**fields), shop.submit(**fields)]

    assert [each.status for each in answers] == [303, 303]
    assert {each.headers["Location"] for each in answers} == {"/"}
    shop.ended(f"/orders/{key}")
    assert len(shop.orders(f"/orders/{key}")) == 1


def test_the_page_shows_the_newest_orders_and_how_they_stand(shop):
    path = shop.order("ink-blue").headers["Location"]
    shop.ended(path)

    page = shop.ask("GET", "/").text

    row = page.partition(f'<a href="{path}">')
    assert row[2].startswith("succeeded</a>")
    assert '<span class="shipped">shipped</span>' in row[0][-200:]


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_shop_that_is_asked_to_end_ends_cleanly(tmp_path, asked):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    with open_shop(url, tmp_path / "payments.db") as shop:
        os.kill(shop.child.pid, asked)

        assert shop.child.wait() == 0, shop.child.output()
        assert shop.child.output() == f"{OPEN_AT}http://{shop.address}/\n"


def test_a_shop_opens_again_as_it_was(database, tmp_path):
    ledger = tmp_path / "payments.db"
    with open_shop(database.url, ledger) as shop:
        path = shop.order("ink-black", 5).headers["Location"]
        first = shop.ended(path)
        shop.child.terminate()
        assert shop.child.wait() == 0, shop.child.output()
        with shop.session() as session:
            assert session.scalar(select(func.count(ExecutorRecord.id))) == 0

    with open_shop(database.url, ledger) as shop:
        assert shop.ask("GET", path).json == first
        assert shop.stock("ink-black") == 195


def test_a_checkout_cancelled_once_it_was_charged_gives_money_and_goods_back(
    make_operon, database, tmp_path, monkeypatch
):
    ledger = tmp_path / "payments.db"
    monkeypatch.setenv("SAMPLE_APP_PAYMENTS", str(ledger))

    def cancel(point: Point, run_id: str) -> None:
        if point is Point.EFFECT_DONE:
            customer = threading.Thread(target=operon.cancel, args=(run_id,))
            customer.start()
            customer.join()

    operon = make_operon(database.url, probe=cancel)
    migrate(operon.engine)
    operon.run(catalogue.stock_shelves())

    with pytest.raises(RunCancelledError):
        operon.run(Checkout("globe-1928"), id="order")

    with Session(operon.engine) as session:
        assert session.get_one(Product, "globe-1928").stock == 1
        assert session.scalars(select(Order)).one().status is OrderStatus.CANCELLED
    with closing(sqlite3.connect(ledger)) as connection:
        assert connection.execute("SELECT * FROM refunds").fetchall() == [("order",)]
    assert [purchase for _, purchase, _ in charges(ledger)] == ["order"]


def test_the_shops_migrations_match_its_models_beside_operons(empty_database):
    engine = empty_database.engine()
    migrate(engine)
    config = Config(INI)

    with schema.exclusive(engine) as connection:
        config.attributes["connection"] = connection
        command.check(config)
        command.downgrade(config, "base")
        command.upgrade(config, "head")

    schema.verify(engine)
    with engine.connect() as connection:
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    assert version == "0001"


def test_an_order_cannot_point_at_a_run_that_does_not_exist(shop):
    operon = create_operon(shop.url)
    stray = Order(sku="eraser", quantity=1, total=Decimal("2.30"), run_id="nobody")

    with Session(operon.engine) as session:
        session.add(stray)
        with pytest.raises(IntegrityError):
            session.flush()

    operon.engine.dispose()
