"""The contract of failures: what a caller is told, and what is nobody's business."""

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from operon import Workflow
from operon import transaction
from operon.flask import OperonBlueprint
from tests.flask.conftest import issuer
from tests.flask.test_contract import problem

KEY = {"Idempotency-Key": "k-1"}
ASYNC = {"Prefer": "respond-async"}
SECRET_TEXT = "kept-between-us"  # noqa: S105 - no password
ALWAYS = {"type", "title", "status", "detail", "retryable", "safe_new_key"}


class DeclinedError(Exception):
    """The bank says no."""


class VeryDeclinedError(DeclinedError):
    """The bank says no, and means it."""


@pytest.fixture
def failing(operon, calls):
    """A client of endpoints that fail."""
    api = OperonBlueprint("failing", operon, issuers=[issuer()])

    @api.post("/payments", scopes={"orders:write"}, errors={DeclinedError: 409})
    class Pay(Workflow):
        how: str = "bad"

        def run(self) -> str:
            calls.append(self.how)
            errors = {"declined": DeclinedError, "very": VeryDeclinedError}
            raise errors.get(self.how, RuntimeError)(SECRET_TEXT)

    @api.post("/breaks", public=True)
    @transaction
    def break_down(session: Session, how: str = "") -> int:
        if how == "misuse":
            operon.start(Pay())
        if how == "value":
            return SECRET_TEXT  # not what is declared
        raise RuntimeError(SECRET_TEXT)

    @api.get("/breaks", public=True)
    @transaction(read_only=True)
    def break_down_quietly(session: Session) -> int:
        raise RuntimeError(SECRET_TEXT)

    app = Flask("failing")

    @app.errorhandler(Exception)
    def everything(_error):
        return "the application's own", 418

    app.register_blueprint(api, url_prefix="/api")
    operon.launch()
    return app.test_client()


@pytest.mark.parametrize(
    ("how", "status"), [("bad", 500), ("declined", 409), ("very", 409)]
)
def test_row_24_a_workflow_that_failed_is_told_with_its_run(
    *, failing, mint, calls, how, status
):
    def ask():
        return failing.post("/api/payments", headers=mint() | KEY, json={"how": how})

    answer, again = ask(), ask()

    assert problem(answer) == (status, "workflow-failed")
    run_id = answer.json["run_id"]
    assert answer.headers["Operon-Run-Id"] == run_id
    run = failing.get(f"/api/runs/{run_id}", headers=mint())
    assert run.json["status"] == "failed"
    result = failing.get(f"/api/runs/{run_id}/result", headers=mint())
    assert problem(result) == (status, "workflow-failed")
    assert (problem(again), again.json["run_id"]) == (problem(answer), run_id)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert calls == [how]
    for each in (answer, again, run, result):
        assert SECRET_TEXT not in each.text
        assert "DeclinedError" not in each.text


def test_row_21_a_run_that_was_cancelled_is_told_as_such(client, mint, operon):
    operon.shutdown()  # nobody executes it
    started = client.post(
        "/api/checkouts", headers=mint() | ASYNC | KEY, json={"sku": "book"}
    )
    run = f"/api/runs/{started.json['run_id']}"

    first = client.post(f"{run}/cancel", headers=mint())
    again = client.post(f"{run}/cancel", headers=mint())
    asked = client.post(
        "/api/checkouts", headers=mint() | ASYNC | KEY, json={"sku": "book"}
    )

    assert (first.status_code, first.json["status"]) == (200, "cancelled")
    assert (again.status_code, again.json) == (200, first.json)
    assert problem(asked) == (409, "run-terminal")
    assert asked.json["run_id"] == started.json["run_id"]


@pytest.mark.parametrize(
    ("method", "how"),
    [("POST", "error"), ("POST", "misuse"), ("POST", "value"), ("GET", "error")],
)
def test_row_26_of_what_nobody_has_foreseen_only_a_trace_id_is_told(
    *, failing, caplog, method, how
):
    body = {"how": how} if method == "POST" else None
    answer = failing.open("/api/breaks", method=method, json=body)

    assert problem(answer) == (500, "internal")
    assert set(answer.json) == {*ALWAYS, "trace_id"}
    assert answer.json["trace_id"] == answer.headers["Operon-Trace-Id"]
    assert (answer.json["retryable"], answer.json["safe_new_key"]) == (False, False)
    for text in (SECRET_TEXT, "RuntimeError", "Traceback", "operon."):
        assert text not in answer.text
    assert answer.headers["Operon-Request-Id"] in caplog.text


def test_every_response_carries_its_ids_and_is_not_stored(failing, mint):
    for method, path in (
        ("POST", "/api/breaks"),
        ("GET", "/api/nothing"),
        ("PUT", "/api/breaks"),
        ("POST", "/api/payments"),
        ("GET", "/api/runs"),
        ("GET", "/api/openapi.json"),
        ("GET", "/api/health/live"),
    ):
        answer = failing.open(path, method=method)
        assert len(answer.headers["Operon-Request-Id"]) == 36, path
        assert len(answer.headers["Operon-Trace-Id"]) == 32, path
        assert answer.headers["Cache-Control"] == "no-store", path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path


def test_a_number_that_no_column_holds_is_the_callers_fault(client, mint, orders):
    for quantity in (2**63, -(2**70), 10**300):
        answer = client.post(
            "/api/orders", headers=mint(), json={"sku": "book", "quantity": quantity}
        )
        assert problem(answer) == (422, "validation")

    assert orders() == 0
