"""The sample shop as its customers meet it: a process of its own, over HTTP."""

import json
import os
import re
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
from operon.models import ExecutorRecord
from operon.points import Point
from sample_app import catalogue
from sample_app.app import create_operon
from sample_app.checkout import Checkout
from sample_app.database import migrate
from sample_app.identity import VISITOR
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Payment
from sample_app.models import Product
from sample_app.models import Shipment
from tests.fix_db import DIALECTS
from tests.processes import ROOT
from tests.processes import Child
from tests.processes import eventually
from tests.sample.tokens import ORDERING
from tests.sample.tokens import SECRET
from tests.sample.tokens import create_token

INI = ROOT / "sample_app" / "alembic.ini"
OPEN_AT = "The shop is open at "
SAID = "SAMPLE_APP_SECRET is "
GUNICORN = [
    *("--bind=127.0.0.1:0", "--workers=2", "--preload"),
    *("--worker-class=gthread", "--threads=4", "--no-control-socket"),
    "sample_app.app:create_app()",
]
ADA = create_token("ada", ["customer"], ORDERING)


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

    def ask(
        self,
        method: str,
        path: str,
        body: str = "",
        token: str | None = None,
        **headers: str,
    ) -> Answer:
        """Send one request and return the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            named["Authorization"] = f"Bearer {token}"
        with closing(HTTPConnection(self.address, timeout=30)) as connection:
            connection.request(method, path, body.encode(), named)
            answer = connection.getresponse()
            said = answer.read().decode()
            return Answer(answer.status, dict(answer.getheaders()), said)

    def order(
        self,
        sku: str,
        quantity: int = 1,
        card: str = "visa",
        token: str = ADA,
        **headers: str,
    ) -> Answer:
        """Place an order as a program does."""
        body = json.dumps({"sku": sku, "quantity": quantity, "card": card})
        headers |= {"Content-Type": "application/json"}
        return self.ask("POST", "/api/orders", body, token, **headers)

    def submit(self, **fields: object) -> Answer:
        """Place an order as the page's form does."""
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", "/", urlencode(fields), Content_Type=kind)

    def stock(self, sku: str) -> int:
        """Return how many of *sku* are said to be left."""
        products = self.ask("GET", "/api/products").json
        return next(each["stock"] for each in products if each["sku"] == sku)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Look at the rows without the shop's help."""
        engine = create_engine(self.url)
        with Session(engine) as session:
            yield session
        engine.dispose()


def start_shop(url: str, ledger: Path, secret: str = SECRET) -> Child:
    """Return the process of a shop, to be entered."""
    args = ["--database-url", url, "--port", 0]
    env = {"SAMPLE_APP_PAYMENTS": str(ledger), "SAMPLE_APP_SECRET": secret}
    return Child("sample_app", args, env)


@contextmanager
def open_shop(url: str, ledger: Path, secret: str = SECRET) -> Iterator[Shop]:
    """Start a shop and wait until it is open; it is killed in the end."""
    with start_shop(url, ledger, secret) as child:

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


def tokens_of_readme() -> list[str]:
    """Return the tokens that the sample's README makes on the command line."""
    readme = (ROOT / "sample_app" / "README.md").read_text(encoding="utf-8")
    [shared] = re.findall(r"operon (token issue .*?) \"\$@\"", readme)
    found = []
    for own in re.findall(r"=\$\(token (.*?)\)", readme):
        arguments = [*shared.split(), *own.split()]
        with Child("operon.cli", arguments, {"OPERON_TOKEN_KEY": SECRET}) as child:
            assert child.wait() == 0, child.output()
            found.append(child.output().strip())
    return found


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


def test_an_order_is_paid_and_shipped(shop):
    before = shop.stock("ruler-30")

    answer = shop.order("ruler-30", 3)

    assert answer.status == 201
    assert shop.stock("ruler-30") == before - 3
    with shop.session() as session:
        order = session.get_one(Order, answer.json["order_id"])
        payment = session.scalars(select(Payment).filter_by(order_id=order.id)).one()
        parcel = session.scalars(select(Shipment).filter_by(order_id=order.id)).one()
    assert answer.json == {
        "order_id": order.id,
        "total": "23.70",
        "tracking": parcel.tracking,
    }
    assert order.status is OrderStatus.SHIPPED
    assert (payment.idempotency_key, order.run_id, payment.reference) in charges(
        shop.ledger
    )


def test_the_commands_of_the_readme_make_customers_and_staff(shop):
    customer, staff = tokens_of_readme()

    placed = shop.order("eraser", token=customer)
    path = f"{placed.headers['Location']}/refund"
    own = shop.ask("POST", path, token=customer)
    staffs = shop.ask("POST", path, token=staff)

    assert (placed.status, own.status, staffs.status) == (201, 403, 200)
    assert staffs.json == {"order_id": placed.json["order_id"], "amount": "2.30"}


def test_the_page_sells_and_shows_what_it_sold(shop):
    page = shop.ask("GET", "/").text
    key = page.partition('name="key" value="')[2].partition('"')[0]

    sold = shop.submit(key=key, sku="ink-blue", quantity=2, card="visa")

    assert (sold.status, sold.headers["Location"]) == (303, "/")
    row = shop.ask("GET", "/").text.partition("<td>ink-blue</td>")[2]
    assert '<span class="shipped">shipped</span>' in row[:300]


def test_a_shop_without_a_secret_invents_one_and_shows_it(tmp_path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    with open_shop(url, tmp_path / "payments.db", secret="") as shop:
        secret = shop.child.output().split(SAID)[1].split()[0]
        token = create_token("ada", ["customer"], ORDERING, secret)

        assert shop.order("eraser").status == 401
        assert shop.order("eraser", token=token).status == 201


def test_a_shop_with_a_short_secret_does_not_open(tmp_path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    with start_shop(url, tmp_path / "payments.db", secret="short") as child:  # noqa: S106 - as it says
        assert child.wait() == 1
        assert "Traceback" not in child.output()
        assert not (tmp_path / "shop.db").exists()


def test_gunicorn_serves_a_shop_that_was_prepared(empty_database, tmp_path):
    env = {
        "SAMPLE_APP_DATABASE_URL": empty_database.url,
        "SAMPLE_APP_PAYMENTS": str(tmp_path / "payments.db"),
        "SAMPLE_APP_SECRET": SECRET,
    }
    with Child("sample_app", ["--prepare"], env) as child:
        assert child.wait() == 0, child.output()

    with Child("gunicorn", GUNICORN, env) as child:

        def listening() -> re.Match[str] | None:
            assert child.running, child.output()
            return re.search(r"Listening at: http://(\S+)", child.output())

        address = eventually(listening, timeout=60)[1]
        shop = Shop(child, address, empty_database.url, tmp_path / "payments.db")
        key = {"Idempotency_Key": uuid4().hex}
        answers = [shop.order("eraser", 2, **key) for _ in range(2)]

        assert [each.status for each in answers] == [201, 201], child.output()
        assert answers[0].text == answers[1].text
        assert shop.stock("eraser") == 798
        child.terminate()
        assert child.wait(60) == 0, child.output()


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
        key = uuid4().hex
        first = shop.order("ink-black", 5, Idempotency_Key=key)
        assert first.status == 201
        shop.child.terminate()
        assert shop.child.wait() == 0, shop.child.output()
        with shop.session() as session:
            assert session.scalar(select(func.count(ExecutorRecord.id))) == 0

    with open_shop(database.url, ledger) as shop:
        again = shop.order("ink-black", 5, Idempotency_Key=key)
        assert (again.status, again.text) == (201, first.text)
        assert again.headers["Idempotent-Replayed"] == "true"
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
        operon.run(Checkout("globe-1928"), id="order", principal=VISITOR.as_json())

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
    stray = Order(
        customer="ada",
        sku="eraser",
        quantity=1,
        total=Decimal("2.30"),
        run_id="nobody",
    )

    with Session(operon.engine) as session:
        session.add(stray)
        with pytest.raises(IntegrityError):
            session.flush()

    operon.engine.dispose()
