"""The web pages and endpoints of the shop; all they know of an order is its run.

An order is accepted once `operon.start` returns: what follows is the run's business.
The order's key is the run's id, so the same request twice is one order.
"""

import re
from typing import Any
from typing import cast
from uuid import uuid4

from flask import Blueprint
from flask import Response
from flask import abort
from flask import current_app
from flask import jsonify
from flask import redirect
from flask import render_template
from flask import request
from flask import url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from operon import Handle
from operon import Operon
from operon.errors import DatabaseUnavailableError
from operon.errors import RunConflictError
from operon.models import WorkflowRun
from sample_app import checkout
from sample_app.catalogue import is_sold
from sample_app.catalogue import list_products
from sample_app.checkout import Checkout
from sample_app.checkout import Receipt
from sample_app.orders import attributes
from sample_app.orders import list_orders

blueprint = Blueprint("shop", __name__)

_SHOWN = 20  # orders on the page
_MOST = 10_000  # pieces of one product in one order
_MEMBERS = {"sku", "quantity", "card"}
_WORD = re.compile(r"[A-Za-z0-9._~:-]{1,100}")


def operon() -> Operon:
    """Return the Operon of the application that serves this request."""
    return cast("Operon", current_app.extensions["operon"])


@blueprint.get("/")
def show_shop() -> str:
    """Show the shelves, a form to order from them, and the newest orders."""
    return render_template(
        "shop.html",
        products=operon().run(list_products()),
        orders=operon().run(list_orders(_SHOWN)),
        key=uuid4(),
    )


@blueprint.post("/")
def submit_form() -> AnyResponse:
    """Accept the order of the form, whose hidden key makes a double click one order."""
    form = request.form
    quantity = form.get("quantity", type=int)
    place(_read_order(form.get("sku"), quantity, form.get("card")), form.get("key"))
    return redirect(url_for("shop.show_shop"), 303)


@blueprint.get("/products")
def show_products() -> Response:
    """Answer with every product."""
    return jsonify(operon().run(list_products()))


@blueprint.post("/orders")
def post_order() -> AnyResponse:
    """Accept an order, whose `Idempotency-Key` makes a repeated request one order."""
    body = request.get_json()
    if not isinstance(body, dict):
        abort(400, "The body must be a JSON object.")
    if not _MEMBERS.issuperset(body):
        abort(422, f"The members of an order are {', '.join(sorted(_MEMBERS))}.")
    order = _read_order(
        body.get("sku"), body.get("quantity", 1), body.get("card", "visa")
    )
    handle = place(order, request.headers.get("Idempotency-Key"))
    answer = jsonify(id=handle.id)
    answer.status_code = 202
    answer.location = url_for("shop.show_order", run_id=handle.id)
    return answer


@blueprint.get("/orders/<run_id>")
def show_order(run_id: str) -> Response:
    """Answer with the status of an order, and with what it came to in the end."""
    run = operon().find_run(run_id)
    if run is None or run.workflow != checkout.NAME:
        abort(404, "There is no such order.")
    return jsonify(id=run.id, status=run.status, **_outcome(run))


def place(order: Checkout, key: str | None) -> Handle[Receipt]:
    """Make *order* durable under *key*; it is accepted once this returns."""
    if key is not None and not _WORD.fullmatch(key):
        abort(400, "An order's key is 1 to 100 letters, digits or any of . _ ~ : -")
    return operon().start(order, id=key, attributes=attributes(order))


def _read_order(sku: object, quantity: object, card: object) -> Checkout:
    """Return the order that these values make, or refuse it."""
    if type(quantity) is not int or not 1 <= quantity <= _MOST:
        abort(422, f"The quantity must be a whole number from 1 to {_MOST}.")
    if not isinstance(card, str) or not _WORD.fullmatch(card):
        abort(422, "The card must be a word, such as visa.")
    if not isinstance(sku, str):
        abort(422, "The sku must be text.")
    if not _WORD.fullmatch(sku) or not operon().run(is_sold(sku)):
        abort(404, "There is no such product.")
    return Checkout(sku, quantity, card)


def _outcome(run: WorkflowRun) -> dict[str, Any]:
    """Return the result or the error of *run*, or nothing while it goes on."""
    if not run.status.is_final:
        return {}
    try:
        return {"result": operon().handle(run.id).result()}
    except DatabaseUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever ended the run is the answer
        return {"error": {"type": type(error).__name__, "message": str(error)}}


@blueprint.app_errorhandler(HTTPException)
def refuse(error: HTTPException) -> AnyResponse:
    """Say in JSON what was wrong with a request."""
    answer = error.get_response()
    answer.data = jsonify(error=error.name, detail=error.description).data
    answer.content_type = "application/json"
    return answer


@blueprint.app_errorhandler(RunConflictError)
def refuse_reused_key(_: RunConflictError) -> tuple[Response, int]:
    """Say that the key belongs to another order already."""
    detail = "This key was used for another order."
    return jsonify(error="Unprocessable Entity", detail=detail), 422


@blueprint.app_errorhandler(DatabaseUnavailableError)
def ask_to_come_again(_: DatabaseUnavailableError) -> tuple[Response, int]:
    """Say that nothing is known to have happened; the same key may be sent again."""
    detail = "The shop cannot reach its database; send the same request again."
    return jsonify(error="Service Unavailable", detail=detail), 503
