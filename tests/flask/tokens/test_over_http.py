"""Every attack on the guard once more as a request: refused, and nothing is done."""

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from operon import registry
from operon import transaction
from operon.flask import OperonBlueprint
from tests.flask.tokens.forge import AUDIENCE
from tests.flask.tokens.test_attacks_on_claims import ATTACKS as CLAIMS
from tests.flask.tokens.test_attacks_on_headers import ATTACKS as HEADERS
from tests.flask.tokens.test_attacks_on_text import ATTACKS as TEXTS

REFUSED = {400, 401}
NONE_ON_THE_WIRE = {"a space before", "bytes"}
"""RFC 9110 allows several spaces before a token, and a token arrives as bytes."""


@pytest.fixture
def done() -> list[str]:
    """What was done, and should not have been."""
    return []


@pytest.fixture
def send(make_operon, sqlite_database, guard, done):
    """Send a request with these credentials; return the answer."""
    operon = make_operon(sqlite_database.url)
    app = Flask("attacked")
    with registry.isolated():
        api = OperonBlueprint("api", operon, verifier=guard)

        @api.post("/attacked", scopes={"orders:write"})
        @transaction
        def attacked(session: Session) -> None:
            done.append("done")

        app.register_blueprint(api, url_prefix="/api")
        client = app.test_client()

        def post(credentials: str):
            # not as a header: werkzeug's client would refuse some by itself
            environ = {"HTTP_AUTHORIZATION": credentials}
            return client.post("/api/attacked", json={}, environ_overrides=environ)

        yield post


def on_the_wire(token: str | bytes) -> str:
    """Return a header with *token*, as a WSGI server hands over what it was sent."""
    data = token if isinstance(token, bytes) else token.encode("utf-8", "surrogatepass")
    return f"Bearer {data.decode('latin-1')}"


def test_a_good_token_is_let_in(send, forge, done):
    token = forge.token(claims={"aud": AUDIENCE, "scope": "orders:write"})

    assert send(f"Bearer {token}").status_code == 204
    assert done == ["done"]


def test_no_attack_is_answered_with_success_or_an_error_of_the_server(
    send, forge, done
):
    attacks = {
        **{name: forge.token(claims=claims) for name, (claims, _) in CLAIMS.items()},
        **{name: attack(forge) for name, (attack, _) in HEADERS.items()},
        **{name: attack(forge) for name, (attack, _) in TEXTS.items()},
    }
    assert len(attacks) >= 200
    answers = {
        name: send(on_the_wire(token))
        for name, token in attacks.items()
        if isinstance(token, str | bytes)  # nothing else can be sent
        and name not in NONE_ON_THE_WIRE
    }

    wrong = {
        name: answer.status_code
        for name, answer in answers.items()
        if answer.status_code not in REFUSED
    }
    assert wrong == {}
    assert done == []
    told = {answer.json["detail"] for answer in answers.values()}
    assert len(told) <= 2  # one text for what is ambiguous, and one for all the rest
