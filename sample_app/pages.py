"""The shop's page, for people: it shows the shelves, and orders for its visitor.

It runs the same workflow as the API. The form carries the order's key, which is the
run's id, so that a double click, or a click repeated after a crash, is one order.
"""

from datetime import timedelta
from typing import cast
from uuid import UUID
from uuid import uuid4

from flask import Blueprint
from flask import abort
from flask import current_app
from flask import redirect
from flask import render_template
from flask import request
from flask import url_for
from pydantic import TypeAdapter
from pydantic import ValidationError
from werkzeug.wrappers import Response

from operon.errors import DatabaseUnavailableError
from operon.errors import ResultTimeoutError
from operon.errors import RunConflictError
from operon.flask import Operon
from sample_app.catalogue import list_products
from sample_app.checkout import Checkout
from sample_app.checkout import NotSoldError
from sample_app.checkout import OutOfStockError
from sample_app.identity import VISITOR
from sample_app.orders import list_orders
from sample_app.provider import PaymentDeclinedError

blueprint = Blueprint("pages", __name__)

_ORDERED = TypeAdapter(Checkout)
_PATIENCE = timedelta(seconds=5)
_VISITOR = VISITOR.as_json()


def operon() -> Operon:
    """Return the Operon of the application that serves this request."""
    return cast("Operon", current_app.extensions["operon"])


@blueprint.get("/")
def show_shop(refusal: str | None = None) -> str:
    """Show the shelves, a form to order from them, and the visitor's newest orders."""
    return render_template(
        "shop.html",
        products=operon().run(list_products()),
        orders=operon().run(list_orders(), principal=_VISITOR),
        key=uuid4(),
        refusal=refusal,
    )


@blueprint.post("/")
def submit_form() -> Response | tuple[str, int]:
    """Sell what the form asks for, or say why not."""
    key = request.form.get("key", type=UUID) or abort(400, "The form has no key.")
    try:
        place(_ORDERED.validate_python(request.form.to_dict()), key)
    except ValidationError:
        abort(422, "The form does not make sense.")
    except RunConflictError:
        abort(409, "This form was sent already, with another order in it.")
    except (NotSoldError, OutOfStockError, PaymentDeclinedError) as refusal:
        return show_shop(str(refusal)), 409
    return redirect(url_for("pages.show_shop"), 303)


@blueprint.errorhandler(DatabaseUnavailableError)
def ask_to_come_again(_: DatabaseUnavailableError) -> tuple[str, int]:
    """Say that the same form may be sent again: it is the same order."""
    return "The shop cannot reach its database; send the same form again.", 503


def place(order: Checkout, key: UUID) -> None:
    """Make *order* durable, and see for a moment what becomes of it.

    Once it is started it will be done, whether or not anybody waits for it.
    """
    handle = operon().start(order, id=f"page-{key}", principal=_VISITOR)
    try:
        handle.result(_PATIENCE)
    except ResultTimeoutError:
        return
