"""What is judged: an application with all kinds of endpoints, really served.

`python -m tests.judges.shop URL` serves it at a free port of this machine, which it
prints. `planted` after the URL plants bugs, so that a judge that finds nothing is
found out.
"""

import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from typing import Any

from flask import Flask
from flask import Response
from flask import request
from pydantic import Field
from sqlalchemy import ForeignKey
from sqlalchemy import create_engine
from sqlalchemy import select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column
from werkzeug.serving import make_server

from operon import Operon
from operon import Workflow
from operon import step
from operon import transaction
from operon.flask import JWTIssuer
from operon.flask import OperonBlueprint
from operon.flask import Refused
from operon.flask.ownership import OPERATOR
from operon.flask.tokens import issue
from operon.schema import upgrade
from sample_app.identity import AUDIENCE
from sample_app.identity import ISSUER

SECRET = "a secret of thirty-two bytes, or more"  # noqa: S105 - a test's
SCOPES = ("orders:read", "orders:write", "orders:refund")
ROLE = "customer"
PREFIX = "/api"

Id = Annotated[int, Field(ge=1, le=2**31 - 1)]
Quantity = Annotated[int, Field(ge=1, le=100)]
Text = Annotated[str, Field(min_length=1, max_length=40)]


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "judged_products"

    sku: Mapped[str] = mapped_column(primary_key=True)
    stock: Mapped[int]


class Order(Base):
    __tablename__ = "judged_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("judged_products.sku"))
    quantity: Mapped[int]
    note: Mapped[str | None]


@dataclass(frozen=True)
class ProductView:
    """What may be bought."""

    sku: str
    stock: int


@dataclass(frozen=True)
class OrderView:
    """What was ordered."""

    id: int
    sku: str
    quantity: int
    note: str | None = None


@dataclass(frozen=True)
class Line:
    """What is to be ordered."""

    sku: Text
    quantity: Quantity = 1


class SoldOutError(Exception):
    """Nothing is left."""


def token(subject: str, *, age: timedelta = timedelta(0), operates: bool = True) -> str:
    """Return a token of *subject*, who may do everything for an hour; *age* ago.

    One that *operates* sees the runs of others as well.
    """
    issued = int(time.time() - age.total_seconds())
    return issue(
        issuer=ISSUER,
        audience=AUDIENCE,
        subject=subject,
        key=SECRET,
        scopes=SCOPES,
        roles=[ROLE, "staff", *([OPERATOR] if operates else [])],
        claims={"iat": issued, "exp": issued + 3600},
    )


def blueprint(operon: Operon) -> OperonBlueprint:
    """Return a blueprint with an endpoint of every kind."""
    issuer = JWTIssuer(ISSUER, audience=AUDIENCE, secret=SECRET, algorithms=["HS256"])
    api = OperonBlueprint("shop", operon, issuers=[issuer], max_body=64 * 1024)
    _add_transactions(api)
    _add_workflows(api)
    return api


def _add_transactions(api: OperonBlueprint) -> None:
    @api.get("/products", public=True)
    @transaction(read_only=True)
    def products(
        session: Session, limit: Quantity = 10, *, in_stock: bool = False
    ) -> list[ProductView]:
        wanted = select(Product).order_by(Product.sku).limit(limit)
        if in_stock:
            wanted = wanted.where(Product.stock > 0)
        return [ProductView(each.sku, each.stock) for each in session.scalars(wanted)]

    @api.post(
        "/orders",
        scopes={"orders:write"},
        status=201,
        location=PREFIX + "/orders/{id}",
        errors={SoldOutError: 409},
    )
    @transaction
    def place_order(
        session: Session, line: Line, note: Text | None = None
    ) -> OrderView:
        return _placed(session, line, note)

    @api.get(
        "/orders/<int:order_id>", scopes={"orders:read"}, errors={NoResultFound: 404}
    )
    @transaction(read_only=True)
    def get_order(
        session: Session, order_id: Id, *, with_note: bool = True
    ) -> OrderView:
        order = session.get_one(Order, order_id)
        note = order.note if with_note else None
        return OrderView(order.id, order.sku, order.quantity, note)

    @api.put(
        "/orders/<int:order_id>/note/<kind>",
        scopes={"orders:write"},
        errors={NoResultFound: 404},
    )
    @transaction
    def annotate(
        session: Session, order_id: Id, kind: Text, note: Text | None
    ) -> OrderView | None:
        order = session.get_one(Order, order_id)
        order.note = None if note is None else f"{kind}: {note}"
        if note is None:
            return None
        return OrderView(order.id, order.sku, order.quantity, order.note)

    @api.delete(
        "/orders/<int:order_id>",
        scopes={"orders:write"},
        roles={"customer", "staff"},
        errors={NoResultFound: 404},
    )
    @transaction
    def delete_order(session: Session, order_id: Id) -> None:
        session.delete(session.get_one(Order, order_id))

    @api.post("/pings", public=True)
    @transaction
    def ping(session: Session, texts: list[Text], at: float | None = None) -> int:
        del session, at
        return len(texts)


def _add_workflows(api: OperonBlueprint) -> None:
    @api.post(
        "/checkouts",
        scopes={"orders:write"},
        roles={ROLE},
        idempotency="required",
        status=201,
        location=PREFIX + "/orders/{id}",
        errors={SoldOutError: 409},
    )
    class Checkout(Workflow):
        line: Line

        @step
        def place(self, session: Session) -> OrderView:
            return _placed(session, self.line, None)

        def run(self) -> OrderView:
            return self.place()

    @api.post("/parcels", scopes={"orders:write"}, wait=timedelta(milliseconds=50))
    class Parcel(Workflow, roles={ROLE, "staff"}):
        """Goes on until it is told where to, for a moment."""

        weight: Annotated[float, Field(gt=0, lt=100)]

        def run(self) -> Any:
            self.publish("weight", self.weight)
            self.write("log", {"weight": self.weight})
            place = self.receive("place", timeout=timedelta(seconds=1))
            self.write("log", {"place": place})
            return place

    @api.post("/greetings", public=True, idempotency="off")
    class Greeting(Workflow):
        name: Text = "you"

        def run(self) -> str:
            return f"Hello {self.name}"


def _placed(session: Session, line: Line, note: str | None) -> OrderView:
    product = session.get(Product, line.sku)
    if product is None:
        raise Refused(404, "not-for-sale", "This is not for sale")
    if product.stock < line.quantity:
        raise SoldOutError
    order = Order(sku=line.sku, quantity=line.quantity, note=note)
    session.add(order)
    session.flush()
    return OrderView(order.id, order.sku, order.quantity, order.note)


def _plant(app: Flask) -> None:
    """Let *app* do other things than its document says."""

    @app.before_request
    def trust_everybody() -> None:
        request.environ["HTTP_AUTHORIZATION"] = f"Bearer {token('ada')}"

    @app.after_request
    def answer_strangely(response: Response) -> Response:
        if request.path.endswith("/pings"):
            strange = {200: 206, 422: 410}
            status = response.status_code
            response.status_code = strange.get(status, status)
        return response


def main(url: str, planted: str | None = None) -> None:
    """Serve it at a free port, with the database at *url*, until it is ended."""
    engine = create_engine(url)
    upgrade(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Product(sku="book", stock=10), Product(sku="a", stock=50)])
        session.add(Product(sku="0", stock=0))
    engine.dispose()
    operon = Operon(url)
    app = Flask("judged")
    app.register_blueprint(blueprint(operon), url_prefix=PREFIX)
    if planted is not None:
        _plant(app)
    operon.launch()
    serve(app)


def serve(app: Flask) -> None:
    """Serve *app* at a free port, which is printed, until the process is ended."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
