"""The contract when the database is busy or away: 503, and nothing half done."""

import sqlite3
import threading
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event
from sqlalchemy import make_url
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import Workflow
from operon import step
from operon import transaction
from operon.flask import OperonBlueprint
from tests.fix_db import Database
from tests.fix_db import _migrate
from tests.flask.conftest import issuer
from tests.flask.test_contract import problem
from tests.shop import Order
from tests.shop import Product
from tests.shop import create_shop

KEY = {"Idempotency-Key": "k-1"}
BOOK = {"sku": "book"}
SHORT = timedelta(milliseconds=300)


class Hooks:
    """What happens between a transaction's two statements."""

    def __init__(self) -> None:
        self.calls = 0
        self.between = lambda: None


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def serve(make_operon, hooks):
    """Serve a transaction and a workflow on *database*, with little patience."""

    def serve(database, **options):
        operon = make_operon(database, database_patience=SHORT, **options)
        create_shop(operon.engine, "book")
        api = OperonBlueprint("small", operon, issuers=[issuer()])

        @api.post("/orders", scopes={"orders:write"}, status=201)
        @transaction
        def take(session: Session, sku: str) -> int:
            hooks.calls += 1
            product = session.get_one(Product, sku)
            left = product.stock
            hooks.between()
            product.stock = left - 1
            order = Order(sku=sku, quantity=1, run_id="web")
            session.add(order)
            session.flush()
            return order.id

        @api.post("/checkouts", scopes={"orders:write"}, wait=timedelta(seconds=2))
        class SmallCheckout(Workflow):
            sku: str

            @step
            def place(self, session: Session) -> int:
                order = Order(sku=self.sku, quantity=1, run_id="web")
                session.add(order)
                session.flush()
                return order.id

            def run(self) -> int:
                return self.place()

        @api.get("/stock", public=True)
        @transaction(read_only=True)
        def stock(session: Session) -> int:
            return session.get_one(Product, "book").stock

        app = Flask("small")
        app.register_blueprint(api, url_prefix="/api")
        return operon, app.test_client()

    return serve


def _is_unavailable(answer, slug="unavailable") -> None:
    assert problem(answer) == (503, slug)
    assert int(answer.headers["Retry-After"]) >= 1
    assert (answer.json["retryable"], answer.json["safe_new_key"]) == (True, True)
    assert len(answer.json["trace_id"]) == 32


def _count(operon) -> int:
    with Session(operon.engine) as session:
        return session.query(Order).count()


def test_row_22_contention_after_all_retries_is_503(
    serve, hooks, mint, postgres_database
):
    """Somebody always comes between: a serialization failure at each try."""
    operon, client = serve(postgres_database.url)

    def somebody_else() -> None:
        with operon.engine.begin() as connection:
            connection.execute(update(Product).values(stock=Product.stock - 1))

    hooks.between = somebody_else
    answer = client.post("/api/orders", headers=mint() | KEY, json=BOOK)
    tries, hooks.between = hooks.calls, lambda: None

    _is_unavailable(answer, "contention")
    assert tries > 1
    assert _count(operon) == 0
    again = client.post("/api/orders", headers=mint() | KEY, json=BOOK)
    assert again.status_code == 201
    assert "Idempotent-Replayed" not in again.headers
    assert _count(operon) == 1


@pytest.mark.parametrize("path", ["/api/orders", "/api/checkouts"])
def test_row_22_a_database_that_somebody_keeps_locked_is_contention(
    serve, mint, sqlite_database, path
):
    operon, client = serve(sqlite_database.url)
    event.listen(
        operon.engine,
        "connect",
        lambda driver, _record: driver.execute("PRAGMA busy_timeout = 50"),
    )
    operon.engine.dispose()
    assert client.get("/api/stock").status_code == 200  # the tables are looked at
    file = make_url(sqlite_database.url).database
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    answer = client.post(path, headers=mint() | KEY, json=BOOK)
    read = client.get("/api/stock")
    other.rollback()
    other.close()

    _is_unavailable(answer, "contention")
    assert read.json == 100
    operon.launch()
    again = client.post(path, headers=mint() | KEY, json=BOOK)
    assert again.status_code in {200, 201}
    assert _count(operon) == 1


@pytest.fixture
def own_database(own_server):
    own_server.create_database("shop")
    database = Database(own_server.url("shop"), "postgresql")
    _migrate(database)
    return database


def test_row_22_while_the_database_is_away_nothing_is_done(
    serve, mint, own_server, own_database
):
    operon, client = serve(own_database.url)
    run_id = client.post("/api/orders", headers=mint(), json=BOOK).headers[
        "Operon-Run-Id"
    ]
    own_server.stop()

    for method, path in (
        ("POST", "/api/orders"),
        ("POST", "/api/checkouts"),
        ("GET", "/api/stock"),
        ("GET", "/api/runs"),
        ("GET", f"/api/runs/{run_id}"),
        ("GET", f"/api/runs/{run_id}/result"),
        ("GET", f"/api/runs/{run_id}/stream/log"),
        ("POST", f"/api/runs/{run_id}/cancel"),
        ("GET", "/api/health/ready"),
    ):
        body = BOOK if method == "POST" else None
        headers = mint() | (KEY if method == "POST" else {})
        _is_unavailable(client.open(path, method=method, headers=headers, json=body))
    assert client.get("/api/health/live").status_code == 200
    assert client.get("/api/openapi.json").status_code == 200
    unknown = client.post("/api/orders", json=BOOK)
    assert problem(unknown) == (401, "unauthenticated")

    own_server.start()
    again = client.post("/api/orders", headers=mint() | KEY, json=BOOK)
    assert again.status_code == 201
    assert client.get("/api/health/ready").status_code == 200
    assert _count(operon) == 2


def test_row_22_a_database_that_was_never_there_is_away(serve, mint, postgres_database):
    operon, client = serve(postgres_database.url)
    operon.engine.dispose()
    event.listen(
        operon.engine,
        "do_connect",
        lambda _dialect, _record, _args, options: options.update(port=1),
    )

    _is_unavailable(client.post("/api/orders", headers=mint(), json=BOOK))
    _is_unavailable(client.get("/api/health/ready"))
    _is_unavailable(client.get("/api/runs", headers=mint()))


def test_row_22_a_database_without_room_is_away(serve, mint, sqlite_database):
    operon, client = serve(sqlite_database.url)
    assert client.get("/api/stock").status_code == 200

    def full(driver, _record) -> None:
        driver.execute("PRAGMA max_page_count = 1")  # no more than there are

    operon.engine.dispose()
    event.listen(operon.engine, "connect", full)
    answers = [client.post("/api/orders", headers=mint(), json=BOOK)]
    while answers[-1].status_code == 201:  # there is a little room left
        answers.append(client.post("/api/orders", headers=mint(), json=BOOK))
    event.remove(operon.engine, "connect", full)
    operon.engine.dispose()

    _is_unavailable(answers[-1])
    assert _count(operon) == len(answers) - 1
    assert client.post("/api/orders", headers=mint(), json=BOOK).status_code == 201


def test_row_3_a_run_that_was_started_is_told_though_the_database_goes_away(
    serve, mint, own_server, own_database
):
    """It is durable: the caller must not be told that nothing was done."""
    operon, client = serve(own_database.url)
    operon.ready().services.tell_due = own_server.stop  # once a start has committed

    answer = client.post("/api/checkouts", headers=mint() | KEY, json=BOOK)
    own_server.start()

    [(run_id,)] = own_server.execute("SELECT id FROM operon_runs", "shop")
    assert answer.status_code == 202, answer.data
    assert answer.json["run_id"] == run_id
    assert answer.headers["Location"] == f"/api/runs/{run_id}"


def test_a_request_under_way_is_answered_while_the_process_shuts_down(
    serve, hooks, mint, database
):
    operon, client = serve(database.url)
    operon.launch()
    stopping = operon.ready().services.stopping
    shutdown = threading.Thread(target=operon.shutdown, args=(timedelta(seconds=5),))

    def shut_down() -> None:
        shutdown.start()
        assert stopping.wait(30)

    hooks.between = shut_down
    answer = client.post("/api/orders", headers=mint() | KEY, json=BOOK)
    shutdown.join()

    assert answer.status_code == 201
    assert _count(operon) == 1
