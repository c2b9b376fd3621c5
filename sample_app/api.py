"""The shop's API: which workflow or transaction answers which request, and to whom.

That is all there is to it. Tokens, validation, idempotency keys, errors and the OpenAPI
document (`/api/openapi.json`) are the blueprint's.
"""

from operon import Operon
from operon.flask import JWTIssuer
from operon.flask import OperonBlueprint
from sample_app.catalogue import list_products
from sample_app.checkout import Checkout
from sample_app.checkout import NotSoldError
from sample_app.checkout import OutOfStockError
from sample_app.identity import CUSTOMER
from sample_app.identity import STAFF
from sample_app.orders import list_orders
from sample_app.orders import show_order
from sample_app.provider import PaymentDeclinedError
from sample_app.refund import Refund


def create_api(operon: Operon, issuer: JWTIssuer) -> OperonBlueprint:
    """Return the API, which *operon* executes for those whom *issuer* vouches for."""
    api = OperonBlueprint("api", operon, issuers=[issuer], title="The Stationer's")

    api.get("/products", public=True)(list_products)
    api.post(
        "/orders",
        scopes={"orders:write"},
        roles={CUSTOMER},
        status=201,
        location="/api/orders/{order_id}",
        errors={NotSoldError: 404, OutOfStockError: 409, PaymentDeclinedError: 402},
    )(Checkout)
    readers = {CUSTOMER, STAFF}
    api.get("/orders", scopes={"orders:read"}, roles=readers)(list_orders)
    api.get("/orders/<int:order_id>", scopes={"orders:read"}, roles=readers)(show_order)
    api.post("/orders/<int:order_id>/refund", scopes={"orders:refund"})(Refund)
    return api
