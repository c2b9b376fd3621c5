"""The contract of idempotency keys: one key, one effect, one answer."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Workflow
from operon import step
from operon import transaction
from operon.flask import OperonBlueprint
from operon.models import WebRequest
from operon.models import WorkflowRun
from operon.store import requests
from tests.flask.conftest import issuer
from tests.flask.test_contract import problem
from tests.processes import eventually
from tests.shop import Order

KEY = {"Idempotency-Key": "k-1"}
BOOK = {"sku": "book"}
ASYNC = {"Prefer": "respond-async"}
LONG = timedelta(seconds=30)


class Gate:
    """Where requests stop until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.error: Exception | None = None

    def pass_through(self) -> None:
        self.reached.set()
        assert self.opened.wait(30)
        error, self.error = self.error, None
        if error is not None:
            raise error


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def make_client(operon, gate, calls):
    """Serve an endpoint of each kind, with a patience and more of one's own."""

    def make(**options):
        api = OperonBlueprint("gated", operon, issuers=[issuer()], **options)

        @api.post("/orders", scopes={"orders:write"}, status=201)
        @transaction
        def place_gated(session: Session, sku: str) -> int:
            calls.append("place")
            gate.pass_through()
            order = Order(sku=sku, quantity=1, run_id="web")
            session.add(order)
            session.flush()
            return order.id

        @api.post("/checkouts", scopes={"orders:write"}, wait=timedelta(seconds=20))
        class GatedCheckout(Workflow):
            sku: str

            @step
            def place(self, session: Session) -> int:
                calls.append("checkout")
                gate.pass_through()
                order = Order(sku=self.sku, quantity=1, run_id="web")
                session.add(order)
                session.flush()
                return order.id

            def run(self) -> int:
                return self.place()

        app = Flask("gated")
        app.register_blueprint(api, url_prefix="/api")
        return app.test_client

    return make


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2, thread_name_prefix="caller") as pool:
        yield pool


@pytest.fixture
def stop_commits(operon, gate):
    """Let the transactions of callers' threads stop at the gate, before COMMIT."""

    def stop(_connection) -> None:
        if threading.current_thread().name.startswith("caller"):
            gate.pass_through()

    def arm() -> None:
        operon.list_runs()  # the tables are looked at before
        event.listen(operon.engine, "commit", stop)

    return arm


def test_row_5_a_request_that_is_still_going_is_409(
    *, make_client, mint, gate, pool, orders, calls
):
    client = make_client(key_patience=timedelta(milliseconds=100))
    ask = {"path": "/api/orders", "headers": mint() | KEY, "json": BOOK}
    first = pool.submit(client().post, **ask)
    assert gate.reached.wait(30)

    second = client().post(**ask)
    gate.opened.set()
    done = first.result(30)
    third = client().post(**ask)

    assert problem(second) == (409, "request-in-progress")
    assert second.headers["Retry-After"] == "1"
    assert (second.json["safe_new_key"], second.json["retryable"]) == (False, True)
    assert done.status_code == third.status_code == 201
    assert third.data == done.data
    assert (orders(), calls) == (1, ["place"])


def test_row_5_a_run_that_is_still_being_started_is_409(
    *, make_client, mint, gate, pool, stop_commits, operon
):
    client = make_client(key_patience=timedelta(milliseconds=100))
    stop_commits()
    headers = mint() | KEY | ASYNC
    ask = {"path": "/api/checkouts", "headers": headers, "json": BOOK}
    first = pool.submit(client().post, **ask)
    assert gate.reached.wait(30)

    second = client().post(**ask)
    gate.opened.set()
    started = first.result(30)
    third = client().post(**ask)

    assert problem(second) == (409, "request-in-progress")
    assert second.json["safe_new_key"] is False
    assert started.status_code == third.status_code == 202
    assert third.headers["Idempotent-Replayed"] == "true"
    assert third.json["run_id"] == started.json["run_id"]
    assert len(operon.list_runs()) == 1


def test_row_5_a_refusal_that_is_still_being_recorded_is_409(
    *, client, mint, gate, pool, stop_commits, calls
):
    client.application.blueprints["shop"]._serving.__dict__["key_patience"] = timedelta(
        milliseconds=100
    )
    stop_commits()
    ask = {"path": "/api/orders", "headers": mint() | KEY, "json": {"sku": "forbidden"}}
    other = client.application.test_client
    first = pool.submit(other().post, **ask)
    assert gate.reached.wait(30)

    second = other().post(**ask)
    gate.opened.set()

    assert problem(second) == (409, "request-in-progress")
    assert problem(first.result(30)) == (422, "not-for-sale")


@pytest.mark.parametrize("path", ["/api/orders", "/api/checkouts"])
def test_row_4_who_comes_second_at_once_waits_and_is_answered_the_same(
    *, make_client, mint, gate, pool, operon, orders, calls, path
):
    client = make_client(key_patience=LONG)
    operon.launch()
    ask = {"path": path, "headers": mint() | KEY, "json": BOOK}
    first = pool.submit(client().post, **ask)
    assert gate.reached.wait(30)
    second = pool.submit(client().post, **ask)

    gate.opened.set()
    answers = [first.result(30), second.result(30)]

    assert answers[0].status_code == answers[1].status_code
    assert answers[0].status_code in {200, 201}
    assert answers[0].data == answers[1].data
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert (orders(), len(calls)) == (1, 1)


def test_row_4_who_comes_second_does_the_work_if_the_first_has_not(
    *, make_client, mint, gate, pool, orders, calls
):
    client = make_client(key_patience=LONG)
    ask = {"path": "/api/orders", "headers": mint() | KEY, "json": BOOK}
    gate.error = RuntimeError("the first one fails")
    first = pool.submit(client().post, **ask)
    assert gate.reached.wait(30)
    second = pool.submit(client().post, **ask)

    gate.opened.set()

    assert problem(first.result(30)) == (500, "internal")
    assert second.result(30).status_code == 201
    assert "Idempotent-Replayed" not in second.result().headers
    assert (orders(), calls) == (1, ["place", "place"])


def test_row_4_a_run_that_goes_on_is_answered_as_it_stands(
    *, make_client, mint, gate, operon, orders, calls
):
    client = make_client()()
    operon.launch()

    def ask(**headers):
        every = mint() | KEY | headers
        return client.post("/api/checkouts", headers=every, json=BOOK)

    first, again = ask(**ASYNC), ask(**ASYNC)
    gate.opened.set()
    last = ask(Prefer="wait=20")

    assert (first.status_code, again.status_code, last.status_code) == (202, 202, 200)
    ids = {each.headers["Operon-Run-Id"] for each in (first, again, last)}
    assert len(ids) == 1
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert last.headers["Idempotent-Replayed"] == "true"
    assert last.headers["Preference-Applied"] == "wait=20"
    assert (orders(), calls) == (1, ["checkout"])


@pytest.mark.parametrize(
    ("prefer", "status", "applied"),
    [
        ("wait=20", 200, "wait=20"),
        ("wait=0", 202, "wait=0"),
        ('WAIT = "20"; of=patience', 200, "wait=20"),
        ("respond-async", 202, "respond-async"),
        ("respond-async, wait=20", 200, "wait=20"),
        ("wait=20, wait=0", 200, "wait=20"),
        ("wait=86400", 200, "wait=60"),
        ("return=minimal", 200, None),
        ("wait=-1", 200, None),
        ("wait=²", 200, None),
        ("wait=" + "9" * 5000, 200, "wait=60"),
        (",;=,", 200, None),
    ],
)
def test_row_2_a_preference_that_is_heeded_is_named(
    *, make_client, mint, gate, operon, prefer, status, applied
):
    client = make_client()()
    if status == 200:
        gate.opened.set()
        operon.launch()

    headers = mint() | {"Prefer": prefer}
    answer = client.post("/api/checkouts", headers=headers, json=BOOK)

    assert answer.status_code == status
    assert answer.headers.get("Preference-Applied") == applied


def test_row_7_a_key_that_is_required_is_asked_for(
    make_client, mint, gate, orders, calls
):
    client = make_client(idempotency="required")()
    gate.opened.set()

    without = client.post("/api/orders", headers=mint(), json=BOOK)
    malformed = client.post(
        "/api/orders", headers=mint() | {"Idempotency-Key": "a,b"}, json=BOOK
    )
    done = client.post("/api/orders", headers=mint() | KEY, json=BOOK)

    assert problem(without) == (400, "idempotency-key-missing")
    assert problem(malformed) == (400, "idempotency-key-invalid")
    assert done.status_code == 201
    assert (orders(), calls) == (1, ["place"])


@pytest.fixture
def endpoint(operon, calls):
    """Serve one transaction on terms of one's own."""

    def serve(**options):
        api = OperonBlueprint("single", operon, issuers=[issuer()])

        @api.post("/notes", **options)
        @transaction
        def note(session: Session, id: str = "") -> str:  # noqa: A002 - a webhook's word
            calls.append(id)
            return id

        app = Flask("single")
        app.register_blueprint(api, url_prefix="/api")
        return app.test_client()

    return serve


def test_an_endpoint_may_require_a_key_by_itself(endpoint):
    client = endpoint(public=True, idempotency="required")

    assert problem(client.post("/api/notes")) == (400, "idempotency-key-missing")


def test_an_endpoint_may_take_no_keys(endpoint, calls):
    client = endpoint(public=True, idempotency="off")

    for key in ("k", "k", "a,b"):
        answer = client.post("/api/notes", headers={"Idempotency-Key": key})
        assert answer.status_code == 200
        assert "Idempotent-Replayed" not in answer.headers

    assert calls == ["", "", ""]


def test_a_natural_key_is_found_in_a_header(endpoint, calls):
    client = endpoint(public=True, key=lambda request: request.headers.get("Delivery"))

    answers = [
        client.post("/api/notes", headers={"Delivery": name}, json={"id": name})
        for name in ("one", "two", "one")
    ]

    assert [each.json for each in answers] == ["one", "two", "one"]
    assert [each.headers.get("Idempotent-Replayed") for each in answers] == [
        None,
        None,
        "true",
    ]
    assert calls == ["one", "two"]


def test_a_natural_key_is_found_in_the_body(endpoint, calls):
    client = endpoint(public=True, key=lambda request: request.get_json()["id"])

    for name in ("one", "one", "two"):
        answer = client.post("/api/notes", json={"id": name})
        assert (answer.status_code, answer.json) == (200, name)

    assert calls == ["one", "two"]


def test_a_request_without_its_natural_key_may_have_another(endpoint, calls):
    client = endpoint(
        scopes={"notes"},
        idempotency="required",
        key=lambda request: request.headers.get("Delivery"),
    )
    assert problem(client.post("/api/notes")) == (401, "unauthenticated")
    assert calls == []


def test_row_7_a_natural_key_that_is_malformed_is_refused(endpoint, calls):
    client = endpoint(public=True, key=lambda request: request.headers.get("Delivery"))

    answer = client.post("/api/notes", headers={"Delivery": "one two"})

    assert problem(answer) == (400, "idempotency-key-invalid")
    assert calls == []


def test_reading_ignores_keys_and_leaves_no_trace(client, mint, session):
    client.post("/api/orders", headers=mint(), json=BOOK)
    runs = _count(session, WorkflowRun)

    for key in ("k", "k", "a,b"):
        headers = mint() | {"Idempotency-Key": key}
        answer = client.get("/api/orders/1", headers=headers)
        assert (answer.status_code, answer.json["sku"]) == (200, "book")
        assert "Idempotent-Replayed" not in answer.headers
        assert "Operon-Run-Id" not in answer.headers

    assert _count(session, WebRequest) == 0
    assert _count(session, WorkflowRun) == runs


@pytest.fixture
def prune(operon):
    """Drop answers that are older than nothing; keys as well if told so."""

    def prune(keys: timedelta = timedelta(days=90)) -> None:
        services = operon.ready().services
        with services.database.transaction() as connection:
            changed = requests.prune(
                connection,
                services.database.backend,
                answers=timedelta(0),
                keys=keys,
                most=100,
                clock=services.clock,
            )
        assert changed > 0

    return prune


@pytest.mark.parametrize("path", ["/api/orders", "/api/checkouts"])
def test_row_8_an_answer_that_was_pruned_is_told_of(
    *, client, mint, prune, orders, calls, path
):
    ask = {"path": path, "headers": mint() | KEY, "json": BOOK}
    first = client.post(**ask)
    assert first.status_code in {200, 201}

    prune()
    again = client.post(**ask)
    other = client.post(path, headers=mint() | KEY, json={"sku": "pen"})

    assert problem(again) == (409, "idempotency-result-expired")
    assert again.json["safe_new_key"] is False
    assert again.json["run_id"] == first.headers["Operon-Run-Id"]
    run = client.get(f"/api/runs/{again.json['run_id']}", headers=mint())
    assert (run.status_code, run.json["status"]) == (200, "succeeded")
    assert problem(other) == (422, "idempotency-key-reused")
    assert (orders(), len(calls)) == (1, 1)


def test_row_8_a_run_that_was_purged_is_told_of(client, mint, operon, calls):
    ask = {"path": "/api/checkouts", "headers": mint() | KEY, "json": BOOK}
    first = client.post(**ask)
    assert first.status_code == 200
    eventually(lambda: operon.purge(timedelta(0)).removed)

    again = client.post(**ask)

    assert problem(again) == (409, "idempotency-result-expired")
    assert again.json["run_id"] == first.headers["Operon-Run-Id"]
    assert calls == ["checkout"]


def test_a_handlers_own_time_out_is_not_taken_for_a_twin(client, mint, api, calls):
    app = Flask("slow")
    slow = OperonBlueprint("slow", api._serving.operon, issuers=[issuer()])

    @slow.post("/calls", scopes={"orders:write"})
    @transaction
    def call_out(session: Session) -> None:
        calls.append("called")
        raise TimeoutError

    app.register_blueprint(slow, url_prefix="/slow")

    given = app.test_client().post("/slow/calls", headers=mint() | KEY, json={})

    assert problem(given) == (500, "internal")
    assert calls == ["called"]


def test_row_8_a_refusal_that_was_pruned_is_told_of(client, mint, prune, calls):
    ask = {"path": "/api/orders", "headers": mint() | KEY, "json": {"sku": "forbidden"}}
    assert problem(client.post(**ask)) == (422, "not-for-sale")

    prune()

    assert problem(client.post(**ask)) == (409, "idempotency-result-expired")
    assert calls == ["place_order"]


def test_a_key_whose_tombstone_is_gone_is_free(client, mint, prune, orders):
    ask = {"path": "/api/orders", "headers": mint() | KEY, "json": BOOK}
    client.post(**ask)

    prune()
    prune(keys=timedelta(0))

    assert client.post(**ask).status_code == 201
    assert orders() == 2


def test_a_replay_is_not_validated_again(client, mint, api, calls):
    """A stricter deploy must not break the replays of what was done before."""
    ask = {"path": "/api/orders", "headers": mint() | KEY, "json": BOOK}
    first = client.post(**ask)
    [placing] = [each for each in api._endpoints if each.rule == "/orders"]
    placing.parameters.body = placing.parameters.body.__class__(
        "Stricter", (placing.parameters.body,), {"__annotations__": {"colour": str}}
    )

    again = client.post(**ask)
    new = client.post("/api/orders", headers=mint(), json=BOOK)

    assert (again.status_code, again.data) == (201, first.data)
    assert problem(new) == (422, "validation")
    assert calls == ["place_order"]


def test_a_replay_is_authenticated_and_authorized_like_a_first_request(
    client, mint, calls
):
    ask = {"path": "/api/orders", "json": BOOK}
    client.post(headers=mint() | KEY, **ask)

    assert problem(client.post(headers=KEY, **ask)) == (401, "unauthenticated")
    lacking = mint(scopes=["orders:read"]) | KEY
    assert problem(client.post(headers=lacking, **ask)) == (403, "insufficient-scope")
    assert calls == ["place_order"]


def test_failures_of_the_server_and_of_the_request_are_not_recorded(
    client, mint, operon, calls
):
    for body in ({"sku": "gone"}, {"sku": 7}, {"colour": "red"}):
        assert client.post("/api/orders", headers=mint() | KEY, json=body).is_json

    with Session(operon.engine) as session:
        assert _count(session, WebRequest) == 0
    again = client.post("/api/orders", headers=mint() | KEY, json=BOOK)
    assert again.status_code == 201


def _count(session, model) -> int:
    return session.scalar(select(func.count()).select_from(model)) or 0


def test_a_request_that_is_repeated_for_ever_ends_with_one_answer(
    make_client, mint, gate, orders
):
    client = make_client(key_patience=timedelta(milliseconds=20))
    ask = {"path": "/api/orders", "headers": mint() | KEY, "json": BOOK}
    statuses: list[int] = []

    def ask_again() -> bool:
        statuses.append(client().post(**ask).status_code)
        return statuses[-1] == 201

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(eventually, ask_again, timeout=60) for _ in range(8)]
        eventually(lambda: 409 in statuses)
        gate.opened.set()
        assert all(each.result(60) for each in callers)

    assert set(statuses) == {201, 409}
    assert orders() == 1
