"""A small shop behind the web edge, on each database."""

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon import registry
from operon import step
from operon import transaction
from operon.flask import JWTIssuer
from operon.flask import OperonBlueprint
from operon.flask import Refused
from operon.flask.tokens import issue
from tests.shop import Order
from tests.shop import create_shop

ISSUER = "https://id.example.org/"
AUDIENCE = "shop"
SECRET = "a secret of thirty-two bytes, or more"  # noqa: S105 - a test's

Mint = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def own_declarations() -> Iterator[None]:
    """Let every test declare workflows of its own."""
    with registry.isolated():
        yield


@pytest.fixture
def mint() -> Mint:
    """Return the headers of a customer's request, or of somebody else's."""

    def headers(subject: str = "ada", **claims: Any) -> dict[str, str]:
        options = {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "scopes": ["orders:write", "orders:read"],
            "roles": ["customer"],
            **claims,
        }
        token = issue(subject=subject, key=SECRET, **options)
        return {"Authorization": f"Bearer {token}"}

    return headers


def issuer() -> JWTIssuer:
    """Return whose tokens `mint` makes."""
    return JWTIssuer(
        issuer=ISSUER, audience=AUDIENCE, secret=SECRET, algorithms=["HS256"]
    )


@dataclass(frozen=True)
class OrderView:
    """An order as customers see it."""

    id: int
    sku: str
    quantity: int


class SoldOutError(Exception):
    """Nothing is left."""


@pytest.fixture
def calls() -> list[str]:
    """What was executed, in order."""
    return []


@pytest.fixture
def api(operon: Operon, calls: list[str]) -> OperonBlueprint:
    """A blueprint with an endpoint of each kind."""
    api = OperonBlueprint("shop", operon, issuers=[issuer()])
    create_shop(operon.engine, "book")

    @api.post(
        "/orders",
        scopes={"orders:write"},
        status=201,
        location="/api/orders/{id}",
        errors={SoldOutError: 409},
    )
    @transaction
    def place_order(session: Session, sku: str, quantity: int = 1) -> OrderView:
        calls.append("place_order")
        if sku == "gone":
            raise SoldOutError
        if sku == "forbidden":
            raise Refused(422, "not-for-sale", "This is not for sale")
        order = Order(sku=sku, quantity=quantity, run_id="web")
        session.add(order)
        session.flush()
        return OrderView(order.id, sku, quantity)

    @api.get("/orders/<int:order_id>", scopes={"orders:read"})
    @transaction(read_only=True)
    def get_order(session: Session, order_id: int, limit: int = 1) -> OrderView:
        del limit
        order = session.get_one(Order, order_id)
        return OrderView(order.id, order.sku, order.quantity)

    @api.post("/checkouts", scopes={"orders:write"}, wait=timedelta(seconds=20))
    class WebCheckout(Workflow):
        sku: str

        @step
        def place(self, session: Session) -> int:
            calls.append("checkout")
            if self.sku == "forbidden":
                raise Refused(409, "not-for-sale", "This is not for sale")
            order = Order(sku=self.sku, quantity=1, run_id="web")
            session.add(order)
            session.flush()
            return order.id

        def run(self) -> int:
            return self.place()

    @api.post("/pings", public=True)
    @transaction
    def ping(session: Session, text: str = "") -> None:
        del session
        calls.append(text)

    return api


@pytest.fixture
def client(operon: Operon, api: OperonBlueprint) -> FlaskClient:
    """A client of the application."""
    app = Flask("shop")
    app.register_blueprint(api, url_prefix="/api")
    operon.launch()
    return app.test_client()


@pytest.fixture
def orders(operon: Operon) -> Callable[[], int]:
    """Count the orders that are committed."""

    def count() -> int:
        with Session(operon.engine) as session:
            return session.scalar(select(func.count()).select_from(Order)) or 0

    return count
