"""`operon.flask.Operon`: applications made by factories, forks, configuration."""

import gc
import os
import threading
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask import current_app
from flask import g
from sqlalchemy.orm import Session

import operon as plain
from operon import Workflow
from operon import activity
from operon import step
from operon import transaction
from operon.errors import ConfigurationError
from operon.errors import MisuseError
from operon.flask import Operon
from operon.flask import OperonBlueprint
from operon.schema import upgrade
from operon.testing import TurnedClock
from tests.fix_db import Database
from tests.processes import eventually

MakeApp = Callable[..., Flask]


@pytest.fixture
def extension() -> Operon:
    """The Operon of a module, made before any application."""
    return Operon(lease=timedelta(seconds=60), clock=TurnedClock())


@pytest.fixture
def bound(extension: Operon) -> Iterator[Callable[[Flask], Flask]]:
    """Bind applications to `extension`; all are shut down at the end."""
    made: list[Flask] = []

    def bind(app: Flask) -> Flask:
        extension.init_app(app)
        made.append(app)
        app.add_url_rule("/", "index", lambda: "open")
        return app

    yield bind
    for app in made:
        with app.app_context():
            extension.shutdown(timedelta(seconds=5))
            extension.engine.dispose()


@pytest.fixture
def make_app(bound: Callable[[Flask], Flask], database: Database) -> MakeApp:
    """Make applications, by default on the test's database."""

    def make(name: str = "shop", url: str = database.url, **config: Any) -> Flask:
        app = Flask(name)
        app.config.from_mapping(OPERON_DATABASE_URL=url, **config)
        return bound(app)

    return make


def serve(app: Flask) -> None:
    """Let *app* serve its first request."""
    assert app.test_client().get("/").status_code == 200


def is_launched(app: Flask) -> bool:
    """Whether the process executes runs of *app*."""
    with app.app_context():
        found: plain.Operon = app.extensions["operon"]
        return len(found.list_executors()) > 0


def threads() -> set[str]:
    return {each.name for each in threading.enumerate() if "operon" in each.name}


def test_making_an_application_opens_nothing(make_app, tmp_path):
    before = threads()
    path = tmp_path / "shop.db"

    make_app(url=f"sqlite:///{path}")

    assert threads() == before
    assert not path.exists()


def test_the_first_request_lets_the_process_execute_runs(make_app, extension):
    app = make_app()

    class ExtAnswer(Workflow):
        def run(self) -> str:
            return current_app.name

    with app.app_context():
        handle = extension.start(ExtAnswer())
    serve(app)

    with app.app_context():
        assert handle.result(timedelta(seconds=20)) == "shop"


def test_a_process_that_was_shut_down_executes_again_when_it_serves_again(
    make_app, extension
):
    app = make_app()
    serve(app)
    eventually(lambda: is_launched(app))
    with app.app_context():
        extension.shutdown()
    assert not is_launched(app)

    serve(app)

    eventually(lambda: is_launched(app))


@pytest.mark.parametrize("place", ["configuration", "environment"])
def test_a_process_may_be_kept_from_executing_runs(make_app, monkeypatch, place):
    if place == "environment":
        monkeypatch.setenv("OPERON_LAUNCH", "false")
    app = make_app(**{"OPERON_LAUNCH": "false"} if place == "configuration" else {})

    serve(app)

    assert not [name for name in threads() if name == "operon-launch"]
    assert not is_launched(app)


def test_requests_are_served_while_the_tables_are_missing_and_runs_once_they_are_there(
    bound, extension, empty_database, caplog
):
    app = Flask("shop")
    app.config["OPERON_DATABASE_URL"] = empty_database.url
    app.config["OPERON_MIGRATE"] = "verify"
    bound(app)

    serve(app)
    eventually(lambda: "runs are not executed here yet" in caplog.text)
    with app.app_context():
        upgrade(extension.engine)
        extension.settings.clock.turn(seconds=5)

    eventually(lambda: is_launched(app))


def test_a_forked_child_executes_runs_once_it_serves_a_request_itself(make_app):
    app = make_app()
    child = os.fork()
    if child == 0:
        try:
            serve(app)
            eventually(lambda: is_launched(app))
        except BaseException:  # noqa: BLE001 - the child says it by its exit code
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def test_bodies_steps_and_activities_are_called_within_a_context_of_their_own(
    make_app, extension
):
    app = make_app()
    seen: list[tuple[str, str, bool]] = []

    def look(where: str) -> None:
        seen.append((where, current_app.name, "mine" in g))
        g.mine = where

    class ExtLooks(Workflow):
        @step
        def save(self, session: Session) -> None:
            look("step")

        @activity
        def ring(self) -> None:
            look("activity")

        @activity(timeout=timedelta(seconds=60))
        def ring_in_time(self) -> None:
            look("activity within a time")

        def run(self) -> None:
            look("body")
            self.save()
            self.ring()
            self.ring_in_time()

    @transaction
    def ext_settle(session: Session) -> None:
        look("transaction")

    with app.app_context():
        g.mine = "the caller's"
        extension.run(ExtLooks())
        extension.run(ext_settle())
    extension.run(ExtLooks())

    places = ["body", "step", "activity", "activity within a time"]
    called = [*places, "transaction", *places]
    assert seen == [(place, "shop", False) for place in called]


def test_one_object_serves_each_application_on_its_own_database(
    make_app, extension, tmp_path
):
    one = make_app("one", f"sqlite:///{tmp_path}/one.db", OPERON_THREADS=2)
    two = make_app("two", f"sqlite:///{tmp_path}/two.db", OPERON_THREADS="3")

    class ExtNames(Workflow):
        def run(self) -> str:
            return current_app.name

    for app, threads in (one, 2), (two, 3):
        serve(app)
        with app.app_context():
            assert extension.settings.threads == threads
            handle = extension.start(ExtNames(), id="same")
            assert handle.result(timedelta(seconds=20)) == app.name
            assert len(extension.list_runs()) == 1


def test_with_several_applications_it_has_to_be_said_which_is_meant(
    make_app, extension, tmp_path
):
    make_app("one", f"sqlite:///{tmp_path}/one.db")
    assert extension.list_runs() == []
    make_app("two", f"sqlite:///{tmp_path}/two.db")

    with pytest.raises(MisuseError, match="for which application"):
        extension.list_runs()


def test_an_application_that_was_never_bound_is_told(make_app, extension):
    make_app()

    with (
        Flask("stranger").app_context(),
        pytest.raises(MisuseError, match="call init_app"),
    ):
        extension.list_runs()


def test_an_application_has_one_operon(make_app, extension):
    app = make_app()

    with pytest.raises(ConfigurationError, match="has an Operon already"):
        extension.init_app(app)
    with pytest.raises(ConfigurationError, match="has an Operon already"):
        Operon().init_app(app)


def test_the_configuration_goes_before_keywords_and_these_before_the_environment(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("OPERON_THREADS", "1")
    monkeypatch.setenv("OPERON_LEASE", "90")
    monkeypatch.setenv("OPERON_RETENTION", "1000")
    app = Flask("shop")
    app.config.update(OPERON_THREADS=3, OPERON_INLINE_WAIT=0.5)
    app.config["OPERON_DATABASE_URL"] = f"sqlite:///{tmp_path}/configured.db"

    operon = Operon(
        f"sqlite:///{tmp_path}/other.db",
        app=app,
        threads=2,
        lease=timedelta(seconds=60),
    )

    assert operon.settings.threads == 3
    assert operon.settings.inline_wait == timedelta(seconds=0.5)
    assert operon.settings.lease == timedelta(seconds=60)
    assert operon.settings.retention == timedelta(seconds=1000)
    assert str(operon.engine.url.database).endswith("configured.db")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OPERON_THREDS", 3, "OPERON_THREDS in the application's configuration"),
        ("OPERON_THREADS", "three", "OPERON_THREADS='three'"),
        ("OPERON_ISOLATION", "CHAOS", "isolation='CHAOS'"),
        ("OPERON_KEY_RETENTION", 3, "key_retention"),
        ("OPERON_LAUNCH", "perhaps", "OPERON_LAUNCH='perhaps'"),
    ],
)
def test_a_configuration_that_cannot_be_meant_stops_the_start(
    name, value, told, tmp_path
):
    app = Flask("shop")
    app.config["OPERON_DATABASE_URL"] = f"sqlite:///{tmp_path}/shop.db"
    app.config[name] = value

    with pytest.raises(ConfigurationError, match=told):
        Operon(app=app)


def test_an_application_without_a_database_is_told(monkeypatch):
    monkeypatch.delenv("OPERON_DATABASE_URL", raising=False)

    with pytest.raises(ConfigurationError, match="OPERON_DATABASE_URL"):
        Operon(app=Flask("shop"))


def test_an_application_that_nobody_keeps_is_not_kept_by_its_operon(tmp_path):
    app = Flask("shop")
    operon = Operon(f"sqlite:///{tmp_path}/shop.db", app=app)
    api = OperonBlueprint("api", operon)
    app.register_blueprint(api, url_prefix="/api")
    serve_nothing = app.test_client()
    assert serve_nothing.get("/api/health/live").status_code == 200
    operon.shutdown()
    operon.engine.dispose()
    present = weakref.ref(app)

    del app, serve_nothing
    gc.collect()

    assert present() is None
