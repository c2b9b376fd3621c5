"""Beside whatever else an application does: its own views, errors and sessions."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask import abort
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Workflow
from operon import transaction
from operon.flask import OperonBlueprint
from tests.flask.conftest import issuer
from tests.flask.test_contract import problem
from tests.shop import Order
from tests.shop import Product
from tests.shop import create_shop

KEY = {"Idempotency-Key": "k-1"}
BOOK = {"sku": "book"}
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def host(api, operon):
    """An application with manners of its own."""
    app = Flask("host")
    seen: list[str] = []

    @app.get("/")
    def home():
        return "home"

    @app.get("/breaks")
    def breaks():
        raise LookupError

    @app.post("/api-docs")
    def refuses():
        abort(403)

    @app.errorhandler(404)
    def lost(_error):
        return "lost", 404

    @app.errorhandler(405)
    def no_way(_error):
        return "no way", 405

    @app.errorhandler(403)
    def forbidden(_error):
        return "keep out", 403

    @app.errorhandler(LookupError)
    def broken(_error):
        return "broken", 500

    @app.before_request
    def before():
        seen.append("before")

    @app.after_request
    def after(response):
        response.headers["Host-Says"] = "hello"
        return response

    app.register_blueprint(api, url_prefix="/api")
    app.extensions["seen"] = seen
    operon.launch()
    return app


def test_an_applications_own_views_and_errors_are_left_alone(host):
    client = host.test_client()
    for method, path, status, text in (
        ("GET", "/", 200, "home"),
        ("GET", "/nothing", 404, "lost"),
        ("GET", "/apianother", 404, "lost"),
        ("GET", "/api", 404, "lost"),
        ("PUT", "/", 405, "no way"),
        ("POST", "/api-docs", 403, "keep out"),
        ("GET", "/breaks", 500, "broken"),
    ):
        answer = client.open(path, method=method)
        assert (answer.status_code, answer.text) == (status, text), path
        assert "Operon-Request-Id" not in answer.headers
        assert answer.headers["Host-Says"] == "hello"


def test_below_the_prefix_errors_are_problems(host, mint):
    client = host.test_client()

    assert problem(client.get("/api/nothing")) == (404, "not-found")
    assert problem(client.put("/api/orders")) == (405, "method-not-allowed")
    refused = client.post("/api/orders", headers=mint(), json={"sku": "gone"})
    assert problem(refused) == (409, "sold-out")
    assert refused.headers["Host-Says"] == "hello"


def test_an_applications_hooks_are_called_for_every_request(host, mint):
    client = host.test_client()
    client.post("/api/orders", headers=mint(), json=BOOK)
    client.get("/")

    assert host.extensions["seen"] == ["before", "before"]


def test_a_view_of_the_applications_may_be_where_the_blueprint_is(host):
    app = host

    assert {rule.rule for rule in app.url_map.iter_rules()} >= {"/", "/api/orders"}
    assert app.error_handler_spec[None][404].keys()
    assert app.blueprints["shop"].error_handler_spec == {}


def test_two_blueprints_share_an_application(operon, mint, calls):
    def blueprint(name: str) -> OperonBlueprint:
        api = OperonBlueprint(name, operon, issuers=[issuer()])

        @api.post("/notes", scopes={"orders:write"})
        @transaction(name=f"note_{name}")
        def note(session: Session) -> str:
            calls.append(name)
            return name

        @api.post("/tasks", scopes={"orders:write"})
        class Task(Workflow, name=f"Task{name}"):
            def run(self) -> str:
                return name

        return api

    app = Flask("two")
    app.register_blueprint(blueprint("one"), url_prefix="/one")
    app.register_blueprint(blueprint("two"), url_prefix="/two")
    operon.launch()
    client = app.test_client()

    for name in ("one", "two"):
        assert client.post(f"/{name}/notes", headers=mint()).json == name
        started = client.post(f"/{name}/tasks", headers=mint() | ASYNC)
        place = started.headers["Location"]
        assert place == f"/{name}/runs/{started.json['run_id']}"
        assert client.get(place, headers=mint()).status_code == 200
        assert problem(client.get(f"/{name}/nothing")) == (404, "not-found")
        paths = client.get(f"/{name}/openapi.json").json["paths"]
        assert {f"/{name}/notes", f"/{name}/tasks"} <= set(paths)
        assert all(path.startswith(f"/{name}/") for path in paths)
    assert calls == ["one", "two"]
    keyed = [client.post(f"/{n}/notes", headers=mint() | KEY) for n in ("one", "two")]
    assert problem(keyed[1]) == (422, "idempotency-key-reused")
    assert keyed[0].json == "one"


def test_one_blueprint_is_served_by_two_applications(api, operon, mint, orders):
    apps = {"/first": Flask("first"), "/second": Flask("second")}
    for prefix, app in apps.items():
        app.register_blueprint(api, url_prefix=prefix)
    operon.launch()

    for prefix, app in apps.items():
        client = app.test_client()
        key = {"Idempotency-Key": prefix.strip("/")}
        done = client.post(f"{prefix}/orders", headers=mint() | key, json=BOOK)
        assert done.status_code == 201
        started = client.post(f"{prefix}/checkouts", headers=mint() | ASYNC, json=BOOK)
        assert started.headers["Location"].startswith(f"{prefix}/runs/")
        assert problem(client.get(f"{prefix}/nothing")) == (404, "not-found")
        assert client.get("/elsewhere").mimetype == "text/html"
        paths = client.get(f"{prefix}/openapi.json").json["paths"]
        assert all(path.startswith(f"{prefix}/") for path in paths)


def test_an_address_that_flask_would_correct_is_not_broken(operon):
    api = OperonBlueprint("slashes", operon)

    @api.post("/notes/", public=True)
    @transaction
    def note_slashed(session: Session) -> int:
        return 1

    app = Flask("slashes")
    app.register_blueprint(api, url_prefix="/api")

    answer = app.test_client().post("/api/notes")

    assert answer.status_code in {308, 404}
    assert app.test_client().post("/api/notes/").json == 1


class TestFlaskSQLAlchemy:
    """The engine is Flask-SQLAlchemy's; its scoped session is nobody else's."""

    @pytest.fixture
    def served(self, make_operon, database):
        app = Flask("scoped")
        app.config["SQLALCHEMY_DATABASE_URI"] = database.url
        db = SQLAlchemy(app)
        with app.app_context():
            engine = db.engine
        operon = make_operon(engine)
        create_shop(engine, "book")
        api = OperonBlueprint("scoped", operon, issuers=[issuer()])
        sessions: list[Session] = []

        @api.post("/orders", scopes={"orders:write"}, status=201)
        @transaction
        def place_scoped(session: Session, sku: str) -> int:
            sessions.append(session)
            order = Order(sku=sku, quantity=1, run_id="web")
            session.add(order)
            session.flush()
            return order.id

        @app.post("/mixed")
        def mixed():
            """Leave work of its own undone while another request is served."""
            db.session.add(Product(sku="draft", stock=1))
            answer = app.test_client().post(
                "/api/orders", headers=mixed.headers, json=BOOK
            )
            assert [each.sku for each in db.session.new] == ["draft"]
            assert db.session() not in sessions
            return {"status": answer.status_code}

        app.register_blueprint(api, url_prefix="/api")
        yield app, db, mixed
        with app.app_context():
            db.engine.dispose()

    def test_its_engine_is_shared_and_its_session_left_alone(self, served, mint):
        app, db, mixed = served
        mixed.headers = mint() | KEY

        first = app.test_client().post("/mixed")
        again = app.test_client().post("/mixed")

        assert (first.json, again.json) == ({"status": 201}, {"status": 201})
        with app.app_context():
            count: Callable[[type], int | None] = lambda model: db.session.scalar(  # noqa: E731 - one line, used twice
                select(func.count()).select_from(model)
            )
            assert (count(Order), count(Product)) == (1, 1)
