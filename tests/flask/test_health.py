"""Health: what a load balancer is told."""

import threading
from datetime import timedelta

from flask import Flask

from operon import Workflow
from operon import activity
from operon.flask import OperonBlueprint
from operon.schema import upgrade
from tests.processes import eventually


def test_a_process_that_answers_lives(client):
    answer = client.get("/api/health/live")

    assert (answer.status_code, answer.json) == (200, {"status": "live"})


def test_a_process_is_ready_while_its_database_answers(client):
    assert client.get("/api/health/ready").json == {"status": "ready"}


def test_a_process_is_not_ready_without_operons_tables(make_operon, empty_database):
    operon = make_operon(empty_database.url, migrate="verify")
    client = _client(operon)

    _is_not_ready(client)

    upgrade(operon.engine)
    assert client.get("/api/health/ready").json == {"status": "ready"}


def test_a_process_is_not_ready_while_its_database_is_away(make_operon, own_server):
    own_server.create_database("shop")
    operon = make_operon(own_server.url("shop"), database_patience=timedelta(0))
    upgrade(operon.engine)
    client = _client(operon)
    assert client.get("/api/health/ready").status_code == 200

    own_server.stop()
    _is_not_ready(client)

    own_server.start()
    assert client.get("/api/health/ready").status_code == 200


def test_nobody_is_asked_for_credentials(client):
    for path in ("live", "ready"):
        headers = {"Authorization": "Bearer nonsense"}
        answer = client.get(f"/api/health/{path}", headers=headers)
        assert answer.status_code == 200


def test_row_22_a_process_that_is_stopping_asks_for_no_more_requests(
    make_operon, database
):
    operon = make_operon(database.url)
    begun, may_end = threading.Event(), threading.Event()

    class HealthSlow(Workflow):
        @activity
        def take_long(self) -> None:
            begun.set()
            may_end.wait(60)

        def run(self) -> None:
            self.take_long()

    operon.launch()
    operon.start(HealthSlow())
    client = _client(operon)
    assert begun.wait(60)
    assert client.get("/api/health/ready").status_code == 200

    stopping = threading.Thread(target=operon.shutdown)
    stopping.start()
    eventually(lambda: client.get("/api/health/ready").status_code == 503)
    assert "stopping" in client.get("/api/health/ready").json["detail"]
    assert client.get("/api/health/live").status_code == 200
    may_end.set()
    stopping.join()

    assert client.get("/api/health/ready").status_code == 200  # it has begun anew


def _client(operon):
    app = Flask("health")
    app.register_blueprint(OperonBlueprint("health", operon), url_prefix="/api")
    return app.test_client()


def _is_not_ready(client) -> None:
    answer = client.get("/api/health/ready")
    assert (answer.status_code, answer.json["type"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert client.get("/api/health/live").status_code == 200
