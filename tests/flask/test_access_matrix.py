"""Who may use what: every operation of the document, and everybody who may not.

What is expected is read from the document, so an operation that is added is tested.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from operon import Operon
from operon import Workflow
from operon import transaction
from operon.clock import SystemClock
from operon.flask import OperonBlueprint
from operon.flask.openapi_parts import Part
from operon.flask.ownership import OPERATOR
from tests.flask.conftest import Mint

PREFIX = "/api"
SCOPES = ["orders:read", "orders:write", "parcels:write"]
ROLES = ["customer", "courier"]
PATIENCE = timedelta(seconds=20)


class _Earlier(SystemClock):
    """A clock of two hours ago."""

    def now(self):
        return super().now() - timedelta(hours=2)


@pytest.fixture
def everything(mint: Mint) -> Mint:
    """Return the headers of somebody who may do everything, but for *claims*."""

    def headers(subject: str = "ada", **claims: Any) -> dict[str, str]:
        return mint(subject, **{"scopes": SCOPES, "roles": ROLES, **claims})

    return headers


@pytest.fixture
def browser(operon: Operon, api: OperonBlueprint) -> FlaskClient:
    """A client of the shop, which has endpoints that ask for roles as well."""

    @api.post("/parcels", scopes={"parcels:write"}, roles={"courier"}, wait=PATIENCE)
    class Parcel(Workflow, roles={"customer"}):
        def run(self) -> str:
            self.publish("place", "home")
            self.write("log", 1)
            return "home"

    @api.put("/parcels/<parcel>", roles={"courier"})
    @transaction
    def deliver(session: Session, parcel: str) -> None:
        del session, parcel

    app = Flask("matrix")
    app.register_blueprint(api, url_prefix=PREFIX)
    operon.launch()
    return app.test_client()


@pytest.fixture
def run_id(browser: FlaskClient, everything: Mint, calls: list[str]) -> str:
    """A run of ada's that has ended, besides the order 1."""
    ordered = browser.post(
        f"{PREFIX}/orders", headers=everything("eve"), json={"sku": "book"}
    )
    assert ordered.json["id"] == 1
    calls.clear()
    answer = browser.post(f"{PREFIX}/parcels", headers=everything(), json={})
    run_id = str(answer.headers["Operon-Run-Id"])
    assert answer.status_code == 200, answer.text
    return run_id


class Operation:
    """One operation of the document, ready to be asked for."""

    def __init__(self, method: str, path: str, told: Part) -> None:
        self.method, self.path = method, path
        self.is_public = told["security"] == []
        self.scopes = [] if self.is_public else told["security"][0]["bearer"]
        self.roles = told.get("x-operon-roles", [])
        self.of_a_run = "{run_id}" in path
        self._values = {
            each["name"]: "1"
            for each in told.get("parameters", [])
            if each["in"] == "path"
        }
        self._schema = (
            told
            .get("requestBody", {})
            .get("content", {})
            .get("application/json", {})
            .get("schema")
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def ask(self, browser: FlaskClient, run_id: str, headers: Any) -> TestResponse:
        """Ask for it as whom *headers* tell."""
        path = self.path.format(**self._values | {"run_id": run_id})
        body = None if self._schema is None else {}
        return browser.open(path, method=self.method, headers=headers, json=body)


@pytest.fixture
def operations(browser: FlaskClient) -> list[Operation]:
    """All that the document names."""
    paths = browser.get(f"{PREFIX}/openapi.json").json["paths"]
    found = [
        Operation(method.upper(), path, told)
        for path, item in paths.items()
        for method, told in item.items()
    ]
    assert {str(each) for each in found} >= {
        "POST /api/orders",
        "PUT /api/parcels/{parcel}",
        "GET /api/runs",
        "POST /api/runs/{run_id}/cancel",
        "GET /api/health/live",
    }
    return found


def answered(
    operations: list[Operation], browser: FlaskClient, run_id: str, headers: Any
) -> Iterator[tuple[Operation, TestResponse]]:
    for operation in operations:
        answer = operation.ask(browser, run_id, headers)
        assert answer.status_code < 500, (str(operation), answer.text)
        yield operation, answer


def told(answer: TestResponse) -> tuple[int, str | None]:
    is_problem = answer.mimetype == "application/problem+json"
    return answer.status_code, answer.json["type"] if is_problem else None


def test_without_a_token_only_what_is_public_is_open(operations, browser, run_id):
    for operation, answer in answered(operations, browser, run_id, {}):
        is_refused = told(answer) == (401, "unauthenticated")
        assert is_refused != operation.is_public, str(operation)


def test_an_expired_token_opens_nothing(operations, browser, run_id, everything):
    headers = everything(clock=_Earlier())
    for operation, answer in answered(operations, browser, run_id, headers):
        is_refused = told(answer) == (401, "invalid-token")
        assert is_refused != operation.is_public, str(operation)


@pytest.mark.parametrize(
    "stranger",
    [
        {"tenant": "acme"},
        {"subject": "bob"},
        {"subject": "bob", "tenant": "acme", "roles": [*ROLES, OPERATOR]},
    ],
    ids=["wrong tenant", "other subject", "operator of another tenant"],
)
def test_a_strangers_run_is_like_one_that_does_not_exist(
    operations, browser, run_id, everything, stranger
):
    headers = everything(**stranger)
    for operation, answer in answered(operations, browser, run_id, headers):
        assert answer.status_code not in {401, 403}, str(operation)
        if not operation.of_a_run:
            continue
        nobodys = operation.ask(browser, "nope", headers)
        assert told(answer) == (404, "not-found"), str(operation)
        assert _body(answer) == _body(nobodys), str(operation)
    assert browser.get(f"{PREFIX}/runs", headers=everything()).json["runs"] != []


def test_a_strangers_list_is_empty(operations, browser, run_id, everything):
    for stranger in ({"tenant": "acme"}, {"subject": "bob"}):
        answer = browser.get(f"{PREFIX}/runs", headers=everything(**stranger))
        assert answer.json == {"runs": []}


def test_every_scope_is_needed(operations, browser, run_id, everything):
    for operation in operations:
        for missing in operation.scopes:
            rest = [each for each in SCOPES if each != missing]
            answer = operation.ask(browser, run_id, everything(scopes=rest))
            assert told(answer) == (403, "insufficient-scope"), str(operation)
    assert {scope for each in operations for scope in each.scopes} == set(SCOPES)


def test_one_of_each_set_of_roles_is_needed(operations, browser, run_id, everything):
    for operation in operations:
        for missing in operation.roles:
            rest = [each for each in ROLES if each not in missing]
            answer = operation.ask(browser, run_id, everything(roles=rest))
            assert told(answer) == (403, "insufficient-scope"), str(operation)
    assert [each.roles for each in operations if each.roles] == [
        [["courier"], ["customer"]],
        [["courier"]],
        [[OPERATOR]],
    ]


def test_the_owner_is_refused_nothing(operations, browser, run_id, everything):
    headers = everything(roles=[*ROLES, OPERATOR])
    for operation, answer in answered(operations, browser, run_id, headers):
        status, slug = told(answer)
        assert status not in {401, 403}, str(operation)
        assert slug != "not-found" or "{key}" in operation.path, str(operation)


def test_what_is_refused_does_nothing(operations, browser, run_id, everything, calls):
    secured = [each for each in operations if not each.is_public]
    for headers in (
        {},
        everything(clock=_Earlier()),
        everything("bob"),
        everything(scopes=[], roles=[]),
    ):
        list(answered(secured, browser, run_id, headers))

    runs = browser.get(f"{PREFIX}/runs", headers=everything()).json["runs"]
    assert [each["id"] for each in runs] == [run_id]
    assert calls == []


def _body(answer: TestResponse) -> dict[str, Any]:
    return {name: each for name, each in answer.json.items() if name != "trace_id"}
