"""The contract when the answer to a COMMIT is lost, and nobody can be asked.

PostgreSQL only: SQLite has no wire on which an answer could be lost.
"""

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from operon import Workflow
from operon import transaction
from operon.flask import OperonBlueprint
from operon.flask import Refused
from tests.flask.conftest import issuer
from tests.flask.test_contract import problem
from tests.shop import Order
from tests.shop import create_shop

KEY = {"Idempotency-Key": "k-1"}
ASYNC = {"Prefer": "respond-async"}
BOOK = {"sku": "book"}
FORBIDDEN = {"sku": "forbidden"}

ASKED = {
    "a transaction": ("/api/orders", BOOK, 201),
    "a workflow": ("/api/checkouts", BOOK, 202),
    "a refusal": ("/api/orders", FORBIDDEN, 422),
}


@pytest.fixture
def operon(make_operon, wire, postgres_database):
    """An Operon behind the wire that a caller does not wait for."""
    operon = make_operon(
        wire.url(postgres_database.url), database_patience=timedelta(milliseconds=500)
    )
    create_shop(operon.engine, "book")
    return operon


@pytest.fixture
def client(operon, calls):
    api = OperonBlueprint("far", operon, issuers=[issuer()])

    @api.post("/orders", scopes={"orders:write"}, status=201)
    @transaction
    def place_far(session: Session, sku: str) -> int:
        calls.append(sku)
        if sku == "forbidden":
            raise Refused(422, "not-for-sale", "This is not for sale")
        order = Order(sku=sku, quantity=1, run_id="web")
        session.add(order)
        session.flush()
        return order.id

    @api.post("/checkouts", scopes={"orders:write"})
    class FarCheckout(Workflow):
        sku: str

        def run(self) -> str:
            return self.sku

    app = Flask("far")
    app.register_blueprint(api, url_prefix="/api")
    operon.list_runs()  # the tables are looked at
    return app.test_client()


@pytest.fixture
def strike(wire):
    """Let the wire fail at the next statement like that, and stay down."""

    def strike(fault, *, at="COMMIT"):
        def matches(sql: str) -> bool:
            found = sql.strip().upper()
            # the COMMIT of a transaction ends the message that carries its record
            hit = found.endswith(at) if at == "COMMIT" else found.startswith(at)
            wire.refuse = wire.refuse or hit
            return hit

        return getattr(wire, fault)(matches)

    return strike


def _is_unknown(answer) -> None:
    assert problem(answer) == (503, "outcome-unknown")
    assert (answer.json["retryable"], answer.json["safe_new_key"]) == (True, False)
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("fault", ["lose_reply_to", "cut_before"])
def test_row_23_an_unknown_outcome_is_told_and_the_same_key_settles_it(
    *, client, mint, wire, strike, operon, orders, what, fault
):
    path, body, status = ASKED[what]
    ask = {"path": path, "headers": mint() | KEY | ASYNC, "json": body}
    struck = strike(fault)

    lost = client.post(**ask)
    wire.refuse = False
    again, last = client.post(**ask), client.post(**ask)

    assert struck.happened.is_set()
    _is_unknown(lost)
    assert again.status_code == last.status_code == status
    assert again.headers.get("Idempotent-Replayed") == (
        "true" if fault == "lose_reply_to" else None
    )
    assert last.data == again.data
    assert orders() == (1 if what == "a transaction" else 0)
    expected = 0 if what == "a refusal" else 1
    assert len(operon.list_runs()) == expected


@pytest.mark.parametrize("what", ["a transaction", "a workflow"])
def test_row_23_without_a_key_the_outcome_is_as_unknown(
    client, mint, strike, wire, what
):
    path, body, _ = ASKED[what]
    strike("lose_reply_to")

    _is_unknown(client.post(path, headers=mint() | ASYNC, json=body))
    wire.refuse = False


@pytest.mark.parametrize("what", ["a transaction", "a workflow"])
@pytest.mark.parametrize("at", ["INSERT INTO OPERON_RUNS", "WITH BOUND"])
def test_row_22_what_was_lost_before_its_commit_was_not_done(
    *, client, mint, strike, wire, operon, orders, what, at
):
    path, body, status = ASKED[what]
    ask = {"path": path, "headers": mint() | KEY | ASYNC, "json": body}
    struck = strike("lose_reply_to", at=at)

    lost = client.post(**ask)
    wire.refuse = False

    assert struck.happened.is_set()
    assert problem(lost) == (503, "unavailable")
    assert lost.json["safe_new_key"] is True
    assert (orders(), len(operon.list_runs())) == (0, 0)
    again = client.post(**ask)
    assert again.status_code == status
    assert "Idempotent-Replayed" not in again.headers


@pytest.mark.parametrize("what", ASKED)
def test_a_lost_answer_is_made_good_while_the_caller_waits(
    *, client, mint, wire, operon, orders, what
):
    path, body, status = ASKED[what]
    struck = wire.lose_reply_to(lambda sql: sql.strip().upper().endswith("COMMIT"))

    answer = client.post(path, headers=mint() | KEY | ASYNC, json=body)

    assert struck.happened.is_set()
    assert answer.status_code == status
    assert orders() == (1 if what == "a transaction" else 0)
    assert len(operon.list_runs()) == (0 if what == "a refusal" else 1)
