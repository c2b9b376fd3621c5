"""The command for Flask applications: `flask operon`, OpenAPI documents and tokens."""

import json

import pytest
from click.testing import CliRunner

from operon.cli import operon as command
from operon.flask.tokens import JWTIssuer
from operon.flask.tokens import Verifier
from tests.processes import Child

SECRET = "a secret of thirty-two bytes, or more"  # noqa: S105 - a test's
CLAIMS = ["--issuer", "https://id.example.org/", "--audience", "shop"]
APP = """
from flask import Flask
from operon.flask import Operon, OperonBlueprint
from operon import transaction

operon = Operon()

@transaction
def greet(session) -> str:
    return "hello"

def create_app(blueprints=1):
    app = Flask(__name__)
    app.config.from_prefixed_env("SHOP")
    operon.init_app(app)
    for number in range(blueprints):
        api = OperonBlueprint(f"api{number}", operon, title=f"API {number}")
        api.post("/greetings", public=True)(greet)
        app.register_blueprint(api, url_prefix=f"/api{number}")
    return app

def create_two():
    return create_app(2)
"""


@pytest.fixture
def env(tmp_path, monkeypatch, database):
    """A folder with an application, and a database for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPERON_APP", raising=False)
    (tmp_path / "cli_flask_app.py").write_text(APP, encoding="utf-8")
    return {
        "PYTHONPATH": str(tmp_path),
        "OPERON_DATABASE_URL": database.url,
        "FLASK_APP": "cli_flask_app:create_app",
    }


@pytest.mark.parametrize(
    ("program", "args"),
    [
        ("flask", ["operon", "runs", "list", "--json"]),
        (
            "operon.cli",
            ["--app", "cli_flask_app:create_app()", "runs", "list", "--json"],
        ),
    ],
    ids=["flask", "operon"],
)
def test_a_flask_application_stands_for_its_operon(env, program, args):
    # the environment's database would need no application
    env["SHOP_OPERON_DATABASE_URL"] = env.pop("OPERON_DATABASE_URL")
    with Child(program, args, env=env) as child:
        assert child.wait() == 0, child.output()
        assert child.output() == "[]\n"


@pytest.mark.parametrize(
    ("program", "args"),
    [
        ("flask", ["operon", "openapi"]),
        ("operon.cli", ["--app", "cli_flask_app:create_app()", "openapi"]),
    ],
    ids=["flask", "operon"],
)
def test_the_document_is_written_without_a_server(env, program, args):
    with Child(program, args, env=env) as child:
        assert child.wait() == 0, child.output()
        written = json.loads(child.output())

    assert written["info"]["title"] == "API 0"
    assert "/api0/greetings" in written["paths"]


def test_of_several_blueprints_one_is_named(env):
    app = ["--app", "cli_flask_app:create_two()", "openapi"]
    with Child("operon.cli", app, env=env) as child:
        assert child.wait() == 1
        assert "has several" in child.output()
        assert "api0, api1" in child.output()
    with Child("operon.cli", [*app, "--blueprint", "api1"], env=env) as child:
        assert child.wait() == 0
        assert json.loads(child.output())["info"]["title"] == "API 1"
    with Child("operon.cli", [*app, "--blueprint", "api2"], env=env) as child:
        assert child.wait() == 1
        assert "has no such" in child.output()


def test_a_document_needs_a_flask_application(env):
    app = ["--app", "cli_flask_app:operon", "openapi"]
    with Child("operon.cli", app, env=env) as child:
        assert child.wait() == 1
        assert "no Flask application" in child.output()


def issue(*args, key=SECRET, stdin=None):
    return CliRunner().invoke(
        command,
        ["token", "issue", *CLAIMS, *args],
        env={"OPERON_TOKEN_KEY": key},
        input=stdin,
    )


@pytest.mark.parametrize("way", ["environment", "file", "stdin", "jwk"])
def test_a_token_that_is_issued_is_accepted(tmp_path, way):
    (tmp_path / "key").write_text(SECRET + "\n", encoding="utf-8")
    jwk = {"kty": "oct", "alg": "HS256", "k": "c" * 43, "kid": "one"}
    how = {
        "environment": issue,
        "file": lambda *args: issue(*args, "--key", str(tmp_path / "key"), key=None),
        "stdin": lambda *args: issue(*args, "--key", "-", key=None, stdin=SECRET),
        "jwk": lambda *args: issue(*args, key=json.dumps(jwk)),
    }
    issued = how[way](
        *["--subject", "ada", "--scope", "a", "--scope", "b", "--role", "customer"],
        *["--tenant", "acme", "--client", "app", "--lifetime", "8h"],
    )
    assert issued.exit_code == 0, issued.output

    keys = {"jwks": {"keys": [jwk]}} if way == "jwk" else {"secret": SECRET}
    accepted = JWTIssuer(
        issuer=CLAIMS[1], audience=CLAIMS[3], algorithms=["HS256"], **keys
    )
    principal = Verifier([accepted]).verify(issued.output.strip())

    assert (principal.subject, principal.tenant, principal.client) == (
        "ada",
        "acme",
        "app",
    )
    assert (principal.scopes, principal.roles) == ({"a", "b"}, {"customer"})


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, "no key is given"),
        ("short", "fewer than the 32 bytes"),
        ("{not json", "is no JSON object"),
    ],
)
def test_without_a_good_key_no_token_is_issued(key, told):
    refused = issue("--subject", "ada", key=key)

    assert refused.exit_code != 0
    assert told in refused.output
    if key is not None:
        assert key not in refused.output
