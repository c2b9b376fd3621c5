"""A small shop for gunicorn, whose worker can be told to strike itself at a place.

    gunicorn "tests.flask.served:create_app()"

Operon's own variables say which database it works on, and how. While the file that
`BLOW` names says `PLACE,SIGNAL`, the first worker that reaches the place removes it and
sends itself the signal.
"""

import os
import signal
import threading
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from flask import Flask
from flask import Response
from flask import request
from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from operon import Workflow
from operon import current
from operon import step
from operon import transaction
from operon.flask import JWTIssuer
from operon.flask import Operon
from operon.flask import OperonBlueprint
from operon.points import Point
from tests.shop import Order
from tests.shop import Payment
from tests.shop import Product

ISSUER = "https://id.example.org/"
AUDIENCE = "shop"
SECRET = "a secret of thirty-two bytes, or more"  # noqa: S105 - a test's
SCOPE = "orders:write"

BLOW = "OPERON_TEST_BLOW"
"""Environment variable: the file that names a place and a signal, while it is there."""

WORKER = "Served-By"
"""The header that tells the process id of the worker."""

_WAIT = timedelta(seconds=30)


class Place(StrEnum):
    """Where a worker may be struck besides the engine's points."""

    KEYED = "keyed"
    """The row of the idempotency key was sent, and nothing after it."""
    STARTING = "starting"
    """The key and the run of a workflow were sent; COMMIT was not."""
    STARTED = "started"
    """They are committed, and nothing has happened since."""
    ANSWERING = "answering"
    """All is done, and the response not sent."""


@dataclass(frozen=True)
class OrderView:
    """An order as customers see it."""

    id: int
    sku: str


@transaction
def place_served_order(session: Session, sku: str) -> OrderView:
    """Take one from the shelf."""
    return _ordered(session, sku)


class ServedCheckout(Workflow):
    """Takes one from the shelf, then the money."""

    sku: str

    @step
    def take(self, session: Session) -> OrderView:
        return _ordered(session, self.sku)

    @step
    def pay(self, session: Session, order_id: int) -> None:
        session.add(Payment(order_id=order_id, reference=current().run_id))

    def run(self) -> OrderView:
        order = self.take()
        self.pay(order.id)
        return order


class Blow:
    """Strikes the first process that reaches the place that *order* names, if any.

    Whoever removes that file is struck, so it is only one.
    """

    def __init__(self, order: str | None) -> None:
        self._order = None if order is None else Path(order)

    def __call__(self, point: Point | Place, run_id: str = "") -> None:
        """Take notice that *point* is reached; also an Operon's probe."""
        del run_id
        if self._order is None:
            return
        try:
            place, how = self._order.read_text(encoding="ascii").split(",")
            if place != point:
                return
            self._order.unlink()
        except FileNotFoundError:
            return
        # to this thread: another one might let this go on for a moment
        signal.pthread_kill(threading.get_ident(), signal.Signals[how])

    def watch(self, engine: Engine) -> None:
        """Notice the key of a request on its way to the database."""

        def executed(connection: Connection, _: Any, statement: str, *__: Any) -> None:
            if "INSERT INTO operon_requests" in statement:
                connection.info[Place.KEYED] = True
                self(Place.KEYED)

        def commits(connection: Connection) -> None:
            if connection.info.pop(Place.KEYED, False):
                self(Place.STARTING)
                connection.info[Place.STARTED] = True

        def returned(_: Any, record: ConnectionPoolEntry) -> None:
            if record.info.pop(Place.STARTED, False):
                self(Place.STARTED)

        event.listen(engine, "after_cursor_execute", executed)
        event.listen(engine, "commit", commits)
        event.listen(engine, "checkin", returned)


def create_app() -> Flask:
    """Return the application; nothing is opened before its first request."""
    blow = Blow(os.environ.get(BLOW))
    app = Flask("served")
    operon = Operon(probe=blow)
    operon.init_app(app)
    blow.watch(operon.engine)
    app.register_blueprint(_blueprint(operon), url_prefix="/api")

    @app.after_request
    def answering(response: Response) -> Response:
        response.headers[WORKER] = str(os.getpid())
        if request.method == "POST":
            blow(Place.ANSWERING)
        return response

    return app


def _blueprint(operon: Operon) -> OperonBlueprint:
    issuer = JWTIssuer(
        issuer=ISSUER, audience=AUDIENCE, secret=SECRET, algorithms=["HS256"]
    )
    api = OperonBlueprint("served", operon, issuers=[issuer])
    api.post("/orders", scopes={SCOPE}, status=201, location="/api/orders/{id}")(
        place_served_order
    )
    api.post("/checkouts", scopes={SCOPE}, wait=_WAIT)(ServedCheckout)
    return api


def _ordered(session: Session, sku: str) -> OrderView:
    session.get_one(Product, sku, with_for_update=True).stock -= 1
    order = Order(sku=sku, quantity=1, run_id=current().run_id)
    session.add(order)
    session.flush()
    return OrderView(order.id, sku)
