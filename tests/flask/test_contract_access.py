"""The contract of credentials: who is asked what, and what nobody is told."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask
from sqlalchemy.orm import Session

from operon import Workflow
from operon import transaction
from operon.flask import OperonBlueprint
from operon.flask.tokens import Verifier
from tests.flask.conftest import issuer
from tests.flask.test_contract import problem
from tests.flask.tokens.clock import StillClock
from tests.flask.tokens.forge import Forge
from tests.flask.tokens.keyserver import KeyServer
from tests.flask.wsgi import Served
from tests.flask.wsgi import exchange
from tests.flask.wsgi import request_line

BOOK = {"sku": "book"}
FORM = "application/x-www-form-urlencoded"


def test_row_9_credentials_of_another_scheme_are_none(client, orders):
    headers = {"Authorization": "Basic YWRhOnNlY3JldA=="}
    answer = client.post("/api/orders", headers=headers, json=BOOK)

    assert problem(answer) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="operon"'
    assert orders() == 0


def test_row_10_whatever_is_wrong_with_a_token_the_answer_is_the_same(
    client, mint, orders
):
    token = mint()["Authorization"].removeprefix("Bearer ")
    bad = [
        mint(audience="other"),
        mint(issuer="https://evil.example.org/"),
        mint(claims={"iat": 1_000_000, "exp": 1_000_600}),
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": f"Bearer {token[:-1]}"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer " + "x" * 9000},
        {"Authorization": "Bearer"},
    ]

    answers = [client.post("/api/orders", headers=each, json=BOOK) for each in bad]

    for answer in answers:
        assert problem(answer) == (401, "invalid-token")
        assert answer.headers["WWW-Authenticate"] == (
            'Bearer realm="operon", error="invalid_token"'
        )
    assert len({_without_trace(each) for each in answers}) == 1
    assert orders() == 0


def test_row_11_two_authorization_headers_are_refused(client, mint, orders):
    header = mint()["Authorization"]
    lines = [
        f"Authorization: {header}",
        f"Authorization: {mint('bob')['Authorization']}",
    ]
    more = ["Content-Type: application/json", "Content-Length: 15"]
    with Served(client.application) as served:
        head = request_line("POST", "/api/orders", *lines, *more)
        answer = exchange(served.port, [head, b'{"sku": "book"}'])
        one = request_line("POST", "/api/orders", lines[0], *more)
        assert exchange(served.port, [one, b'{"sku": "book"}']).status == 201

    assert answer.status == 400
    assert b'"invalid-request"' in answer.body
    assert orders() == 1


def test_row_11_two_tokens_in_one_header_are_refused(client, mint, orders):
    header = mint()["Authorization"]
    for both in (f"{header}, {header}", f"{header},{header}"):
        answer = client.post("/api/orders", headers={"Authorization": both}, json=BOOK)
        assert problem(answer) == (400, "invalid-request")

    assert orders() == 0


@pytest.mark.parametrize("name", ["access_token", "token"])
def test_row_11_a_token_in_the_query_is_refused(client, mint, orders, name):
    token = mint()["Authorization"].removeprefix("Bearer ")
    for headers in ({}, mint()):
        query = {name: token}
        posted = client.post(
            "/api/orders", headers=headers, json=BOOK, query_string=query
        )
        read = client.get("/api/orders/1", headers=headers, query_string=query)
        listed = client.get("/api/runs", headers=headers, query_string=query)
        for answer in (posted, read, listed):
            assert problem(answer) == (400, "invalid-request")
            assert token not in answer.text

    assert orders() == 0


def test_row_11_a_token_in_a_form_is_refused(client, mint, orders):
    token = mint()["Authorization"].removeprefix("Bearer ")
    for headers in ({}, mint()):
        answer = client.post(
            "/api/orders",
            headers=headers,
            data={"sku": "book", "access_token": token},
            content_type=FORM,
        )
        assert problem(answer) == (400, "invalid-request")
        assert token not in answer.text

    assert orders() == 0


@pytest.fixture
def guarded(operon):
    """An application whose endpoints ask for roles, and whose workflow does."""
    api = OperonBlueprint("guarded", operon, issuers=[issuer()])

    @api.post("/notes", scopes={"notes:write", "notes"}, roles={"author", "editor"})
    @transaction
    def take_note(session: Session) -> int:
        return 1

    @api.post("/audits", scopes={"notes"})
    class Audit(Workflow, roles={"auditor"}):
        def run(self) -> int:
            return 1

    app = Flask("guarded")
    app.register_blueprint(api, url_prefix="/api")
    operon.launch()
    return app.test_client()


def test_row_12_all_scopes_and_one_of_the_roles_are_needed(guarded, mint):
    def ask(scopes, roles):
        headers = mint(scopes=scopes, roles=roles)
        return guarded.post("/api/notes", headers=headers)

    both = ["notes", "notes:write"]
    for scopes, roles in (
        (["notes"], ["author"]),
        (["notes:write"], ["author"]),
        (["notes:writer", "notes"], ["author"]),
        (both, []),
        (both, ["authors"]),
    ):
        answer = ask(scopes, roles)
        assert problem(answer) == (403, "insufficient-scope")
        assert answer.headers["WWW-Authenticate"] == (
            'Bearer realm="operon", error="insufficient_scope", '
            'scope="notes notes:write"'
        )
    assert ask(both, ["author"]).status_code == 200
    assert ask(both, ["editor"]).status_code == 200


def test_row_12_the_roles_of_a_workflow_are_needed_as_well(guarded, mint):
    def ask(roles):
        headers = mint(scopes=["notes"], roles=roles)
        return guarded.post("/api/audits", headers=headers)

    assert problem(ask(["author"])) == (403, "insufficient-scope")
    assert ask(["auditor"]).status_code == 200


@pytest.fixture(scope="module")
def forge():
    return Forge(
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
    )


@pytest.fixture
def key_server(forge, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = KeyServer()
    server.serve(*forge.jwks()["keys"])
    yield server
    server.close()


@pytest.fixture
def keys_clock():
    return StillClock()


@pytest.fixture
def fetching(operon, forge, key_server, keys_clock, calls):
    """A client of an application whose issuer publishes its keys."""
    fetched = forge.issuer(jwks=None, jwks_url=key_server.url, allow_http=True)
    api = OperonBlueprint(
        "fetching", operon, verifier=Verifier([fetched], clock=keys_clock)
    )

    @api.post("/notes", roles=set(forge.claims()["roles"]))
    @transaction
    def note(session: Session) -> int:
        calls.append("note")
        return 1

    app = Flask("fetching")
    app.register_blueprint(api, url_prefix="/api")
    return app.test_client()


def test_row_14_without_keys_nobody_can_say_whether_a_token_is_good(
    fetching, forge, key_server, calls
):
    key_server.status = 503

    headers = {"Authorization": f"Bearer {forge.token()}"}
    answers = [fetching.post("/api/notes", headers=headers) for _ in range(2)]

    for answer in answers:
        assert problem(answer) == (503, "auth-unavailable")
        assert 1 <= int(answer.headers["Retry-After"]) <= 30
        assert (answer.json["retryable"], answer.json["safe_new_key"]) == (True, True)
        assert forge.token() not in answer.text
    assert calls == []


def test_row_14_keys_that_are_too_old_are_not_used(
    fetching, forge, key_server, keys_clock, calls
):
    headers = {"Authorization": f"Bearer {forge.token()}"}
    assert fetching.post("/api/notes", headers=headers).status_code == 200
    key_server.status = 503

    keys_clock.turn(hours=25)
    stale = fetching.post("/api/notes", headers=headers)

    assert problem(stale) == (503, "auth-unavailable")
    assert int(stale.headers["Retry-After"]) >= 1
    assert calls == ["note"]


def _without_trace(answer) -> str:
    body = {name: each for name, each in answer.json.items() if name != "trace_id"}
    return str(sorted(body.items()))
