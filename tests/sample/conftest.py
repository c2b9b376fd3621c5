"""The sample shop, stocked and launched in this process, on each database."""

import sqlite3
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from sample_app.app import create_app
from sample_app.models import Product
from sample_app.server import prepare
from tests.fix_db import Database
from tests.postgres import DatabaseServer
from tests.sample.tokens import ORDERING
from tests.sample.tokens import REFUNDING
from tests.sample.tokens import SECRET
from tests.sample.tokens import create_token


@dataclass(frozen=True)
class Shop:
    """The shop's page, its rows, and what the payment provider keeps."""

    client: FlaskClient
    session: Session
    """Looks at what is committed; every statement afresh."""
    ledger: Path

    def stock(self, sku: str) -> int:
        """Return how many of *sku* are left."""
        product = self.session.get_one(Product, sku, populate_existing=True)
        return product.stock

    def rows(self, query: Any) -> list[Any]:
        """Return what *query* selects."""
        return list(self.session.scalars(query))

    def charged(self) -> list[str]:
        """Return what was paid, by the shop's names for it, if it was paid at all."""
        return self._ledger("charges")

    def refunded(self) -> list[str]:
        """Return what was given back, by the shop's names for it."""
        return self._ledger("refunds")

    def _ledger(self, table: str) -> list[str]:
        if not self.ledger.exists():
            return []
        with closing(sqlite3.connect(self.ledger)) as connection:
            return [
                each for (each,) in connection.execute(f"SELECT purchase FROM {table}")
            ]


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, or without."""

    client: FlaskClient
    headers: dict[str, str]

    def get(self, path: str) -> TestResponse:
        """Ask for what is at *path*, below the API's prefix."""
        return self.client.get(f"/api{path}", headers=self.headers)

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        """Send *body* to *path*, below the API's prefix."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        headers = {**self.headers, **named}
        return self.client.post(f"/api{path}", headers=headers, json=body)

    def order(self, sku: str, quantity: int = 1, **headers: str) -> TestResponse:
        """Place an order."""
        return self.post("/orders", {"sku": sku, "quantity": quantity}, **headers)


MakeCaller = Callable[..., Caller]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a stocked shop that nobody has open."""
    path = tmp_path_factory.mktemp("shop") / "template.db"
    prepare(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: DatabaseServer) -> Iterator[str]:
    """The name of a stocked shop's database that nobody is connected to."""
    name = f"shop_{uuid4().hex}"
    postgres_server.create_database(name)
    try:
        prepare(postgres_server.url(name))
        yield name
    finally:
        postgres_server.drop_database(name)


@pytest.fixture
def shop(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    ledger = tmp_path / "payments.db"
    monkeypatch.setenv("SAMPLE_APP_PAYMENTS", str(ledger))
    app = create_app(database.url, SECRET)
    operon = app.extensions["operon"]
    engine = database.engine(isolation_level="AUTOCOMMIT")
    try:
        operon.launch()
        with Session(engine) as session:
            yield Shop(app.test_client(), session, ledger)
    finally:
        operon.shutdown(timedelta(seconds=5))
        operon.engine.dispose()


@pytest.fixture
def make_caller(shop: Shop) -> MakeCaller:
    """Make somebody whose token says what it is told to."""

    def make(subject: str, roles: Sequence[str], scopes: Sequence[str]) -> Caller:
        token = create_token(subject, roles, scopes)
        return Caller(shop.client, {"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
def ada(make_caller: MakeCaller) -> Caller:
    """A customer."""
    return make_caller("ada", ["customer"], ORDERING)


@pytest.fixture
def eve(make_caller: MakeCaller) -> Caller:
    """Another customer."""
    return make_caller("eve", ["customer"], ORDERING)


@pytest.fixture
def clerk(make_caller: MakeCaller) -> Caller:
    """One of the staff."""
    return make_caller("bob", ["staff"], REFUNDING)


@pytest.fixture
def nobody(shop: Shop) -> Caller:
    """Somebody without a token."""
    return Caller(shop.client, {})
