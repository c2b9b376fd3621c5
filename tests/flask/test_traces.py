"""Requests in traces and metrics: from the caller's span to the last step."""

import logging

import pytest
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode
from sqlalchemy.orm import Session

from operon import transaction
from operon.hooks import RequestAnswered
from operon.hooks import RequestReceived
from operon.telemetry import RunFilter
from tests.processes import eventually
from tests.shop import create_shop

KEY = {"Idempotency-Key": "k-1"}
BOOK = {"sku": "book"}
CANARY = "canary-7f3a"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "a=1"}


@pytest.fixture
def operon(make_operon, database, watching):
    """The shop's Operon, watched."""
    operon = make_operon(database.url, hooks=watching)
    create_shop(operon.engine, "pen")
    return operon


def trace_id(span) -> str:
    return f"{span.context.trace_id:032x}"


def test_a_request_its_run_and_its_steps_are_one_trace(client, mint, recorder):
    given = client.post("/api/checkouts", headers=mint(), json=BOOK)
    assert given.status_code == 200
    eventually(lambda: len(recorder.spans) == 4)

    assert recorder.tree() == [
        ("POST /api/checkouts", None),
        ("start WebCheckout", "POST /api/checkouts"),
        ("run WebCheckout", "start WebCheckout"),
        ("step place", "run WebCheckout"),
    ]
    server = recorder.one("POST /api/checkouts")
    assert server.kind is SpanKind.SERVER
    assert given.headers["Operon-Trace-Id"] == trace_id(server)
    assert dict(server.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/api/checkouts",
        "http.response.status_code": 200,
        "operon.request.id": given.headers["Operon-Request-Id"],
        "operon.run.id": given.headers["Operon-Run-Id"],
        "operon.idempotency.outcome": "none",
    }


def test_a_transaction_is_a_run_below_its_request(client, mint, recorder):
    client.post("/api/orders", headers=mint(), json=BOOK)

    assert recorder.tree() == [
        ("POST /api/orders", None),
        ("run place_order", "POST /api/orders"),
        ("transaction place_order", "run place_order"),
    ]


def test_what_anybody_may_do_is_below_its_request_as_well(client, recorder):
    client.post("/api/pings", json={})

    assert recorder.tree() == [
        ("POST /api/pings", None),
        ("run ping", "POST /api/pings"),
        ("transaction ping", "run ping"),
    ]


def test_a_callers_trace_is_continued_if_its_token_is_accepted(client, mint, recorder):
    client.post("/api/orders", headers=mint() | CALLER, json=BOOK)

    server = recorder.one("POST /api/orders")
    assert trace_id(server) == TRACE
    assert server.parent.is_remote
    assert server.context.trace_state.get("a") == "1"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/pings", {}),
        ("/api/orders", {}),
        ("/api/orders", {"Authorization": "Bearer nonsense"}),
    ],
    ids=["public", "no token", "bad token"],
)
def test_a_strangers_trace_is_not_continued(client, recorder, path, headers):
    client.post(path, headers=headers | CALLER, json={})

    assert TRACE not in {trace_id(span) for span in recorder.spans}


@pytest.mark.parametrize("given", ["nonsense", "", "00-x-y-z", "a" * 5000])
def test_a_malformed_trace_is_ignored(client, mint, recorder, given):
    headers = mint() | {"traceparent": given}

    assert client.post("/api/orders", headers=headers, json=BOOK).status_code == 201
    assert recorder.one("POST /api/orders").parent is None


def test_the_hosts_own_server_span_is_enriched_and_not_doubled(
    api, operon, mint, recorder
):
    app = Flask("host")
    app.register_blueprint(api, url_prefix="/api")
    tracer = recorder.provider.get_tracer("host")
    operon.launch()

    with tracer.start_as_current_span("host", kind=SpanKind.SERVER):
        app.test_client().post("/api/orders", headers=mint(), json=BOOK)

    servers = [span for span in recorder.spans if span.kind is SpanKind.SERVER]
    assert [span.name for span in servers] == ["host"]
    attributes = servers[0].attributes or {}
    assert attributes["http.response.status_code"] == 201
    assert "operon.request.id" in attributes
    assert ("run place_order", "host") in recorder.tree()


def test_a_request_that_the_host_does_not_sample_is_not_sampled_here(
    api, operon, mint, recorder
):
    app = Flask("host")
    app.register_blueprint(api, url_prefix="/api")
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("host")
    operon.launch()

    with unsampled.start_as_current_span("host", kind=SpanKind.SERVER):
        given = app.test_client().post("/api/orders", headers=mint(), json=BOOK)

    assert given.status_code == 201
    assert recorder.spans == []


def test_log_records_tell_the_request_they_are_written_for(
    api, operon, caplog, request
):
    caplog.handler.addFilter(RunFilter())

    @api.post("/logging", public=True)
    @transaction
    def log_something(session: Session) -> None:
        logging.getLogger("app").warning("at work")

    client = request.getfixturevalue("client")  # now that the endpoint is there
    given = client.post("/api/logging", json={})
    logging.getLogger("app").warning("at rest")
    caplog.handler.filters.clear()

    at_work, at_rest = (record for record in caplog.records if record.name == "app")
    assert at_work.request_id == given.headers["Operon-Request-Id"]
    assert at_work.trace_id == given.headers["Operon-Trace-Id"]
    assert at_rest.request_id is None


def test_an_error_of_the_caller_is_none_of_the_servers(client, mint, recorder):
    client.post("/api/orders", headers=mint(), json={"sku": "gone"})

    server = recorder.one("POST /api/orders")
    assert server.status.status_code is StatusCode.UNSET
    assert (server.attributes or {})["operon.problem"] == "sold-out"


def test_what_became_of_a_key_is_told(client, mint, kept):
    client.post("/api/orders", headers=mint(), json=BOOK)
    for body in (BOOK, BOOK, {"sku": "pen"}):
        client.post("/api/orders", headers=mint() | KEY, json=body)

    outcomes = [(each.status, each.key) for each in kept.of(RequestAnswered)]
    assert outcomes == [
        (201, "none"),
        (201, "executed"),
        (201, "replayed"),
        (422, "refused"),
    ]
    assert len(kept.of(RequestReceived)) == 4


def test_every_request_is_told_with_its_route_and_never_its_path(client, mint, kept):
    client.get(f"/api/runs/{CANARY}?x={CANARY}", headers=mint())
    client.get(f"/api/{CANARY}")

    assert [each.route for each in kept.of(RequestAnswered)] == [
        "/api/runs/<run_id>",
        "",
    ]


def test_no_secret_is_in_a_span_or_metric(client, mint, recorder, reader):
    headers = mint(CANARY) | {"Idempotency-Key": CANARY, "X-Password": CANARY}
    client.post("/api/checkouts", headers=headers, json={"sku": CANARY})
    client.post(f"/api/orders?{CANARY}={CANARY}", headers=headers, json=BOOK)
    client.post("/api/orders", headers={"Authorization": f"Bearer {CANARY}"})
    client.get(f"/api/runs/{CANARY}", headers=headers)
    eventually(lambda: recorder.named("run WebCheckout"))

    told = "".join(span.to_json() for span in recorder.spans)
    told += reader.get_metrics_data().to_json()
    assert CANARY not in told
    assert mint(CANARY)["Authorization"].split(".")[1] not in told


def test_no_request_leaves_its_span_behind(client, mint, recorder):
    client.post("/api/orders", headers=mint(), json=BOOK)

    assert not trace.get_current_span().get_span_context().is_valid
