"""Runs over HTTP: every caller sees its own, and may end, continue and tell them."""

import json
from typing import Any

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Workflow
from operon.models import Message
from tests.processes import eventually

OPERATOR = {"roles": ["operon:operator"]}


@pytest.fixture
def run_id(client, mint) -> str:
    """A run of ada's that has ended."""
    answer = client.post("/api/checkouts", headers=mint(), json={"sku": "book"})
    assert answer.status_code == 200
    return str(answer.headers["Operon-Run-Id"])


def test_a_202_says_where_its_run_is(client, mint):
    headers = mint() | {"Prefer": "respond-async"}
    answer = client.post("/api/checkouts", headers=headers, json={"sku": "book"})
    place = answer.headers["Location"]

    assert place == f"/api/runs/{answer.json['run_id']}"
    eventually(lambda: client.get(place, headers=mint()).json["status"] == "succeeded")
    result = client.get(f"{place}/result", headers=mint())
    assert (result.status_code, result.json) == (200, 1)


def test_row_25_a_run_is_shown_until_it_has_changed(client, mint, run_id):
    first = client.get(f"/api/runs/{run_id}", headers=mint())
    headers = mint() | {"If-None-Match": first.headers["ETag"]}
    again = client.get(f"/api/runs/{run_id}", headers=headers)

    assert first.json["status"] == "succeeded"
    assert first.json["workflow"] == "WebCheckout"
    assert (again.status_code, again.data) == (304, b"")


def test_row_13_a_strangers_run_is_like_one_that_does_not_exist(client, mint, run_id):
    for headers in (mint("bob"), mint(tenant="acme"), mint("eve", tenant="acme")):
        for path in (run_id, f"{run_id}/result", f"{run_id}/steps"):
            theirs = client.get(f"/api/runs/{path}", headers=headers)
            nobodys = client.get("/api/runs/nope", headers=headers)
            assert theirs.status_code == nobodys.status_code == 404
            assert _without_trace(theirs) == _without_trace(nobodys)
        cancelled = client.post(f"/api/runs/{run_id}/cancel", headers=headers)
        assert cancelled.status_code == 404


def test_an_operator_sees_the_runs_of_its_tenant(client, mint, run_id):
    ours = client.get(f"/api/runs/{run_id}", headers=mint("bob", **OPERATOR))
    others = mint("bob", tenant="acme", **OPERATOR)

    assert ours.status_code == 200
    assert client.get(f"/api/runs/{run_id}", headers=others).status_code == 404
    assert client.get("/api/runs", headers=others).json["runs"] == []


def test_a_list_has_pages_and_only_the_callers_runs(client, mint):
    for subject in ("ada", "ada", "bob", "ada"):
        client.post("/api/checkouts", headers=mint(subject), json={"sku": "book"})

    first = client.get("/api/runs?limit=2", headers=mint()).json
    query = {"limit": 2, "after": first["next"]}
    second = client.get("/api/runs", query_string=query, headers=mint()).json
    everything = client.get("/api/runs", headers=mint("eve", **OPERATOR)).json

    assert [len(first["runs"]), len(second["runs"])] == [2, 1]
    assert "next" not in second
    ids = [each["id"] for each in first["runs"] + second["runs"]]
    assert len(set(ids)) == 3
    assert len(everything["runs"]) == 4


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=many",
        "status=lost",
        "after=!",
        "after=bm90IGpzb24",
        "colour=red",
        "created_after=yesterday",
        "created_after=2026-01-01T00:00:00",
    ],
)
def test_a_list_refuses_what_it_does_not_understand(client, mint, query):
    answer = client.get(f"/api/runs?{query}", headers=mint())

    assert (answer.status_code, answer.json["type"]) == (422, "validation")


def test_a_list_is_filtered(client, mint, run_id):
    def found(query: str) -> list[str]:
        answer = client.get(f"/api/runs?{query}", headers=mint())
        return [each["id"] for each in answer.json["runs"]]

    assert found("status=succeeded&workflow=WebCheckout") == [run_id]
    assert found("status=failed&status=dead") == []
    assert found("created_before=2026-01-01T00:00:00%2B00:00") == []
    assert found("attribute[colour]=red") == []


def test_steps_are_shown_without_their_values(client, mint, run_id):
    [step] = client.get(f"/api/runs/{run_id}/steps", headers=mint()).json["steps"]

    assert (step["position"], step["kind"], step["name"]) == (1, "step", "place")
    assert step["failed"] is False
    assert "output" not in step


def test_row_21_a_control_of_a_run_that_has_ended_is_refused(client, mint, run_id):
    for action in ("cancel", "resume", "retry"):
        answer = client.post(f"/api/runs/{run_id}/{action}", headers=mint())
        assert (answer.status_code, answer.json["type"]) == (409, "run-terminal")


def test_an_operators_fork_is_a_run_of_the_same_caller(client, mint, run_id):
    path = f"/api/runs/{run_id}/fork"
    operator = mint("olga", roles=["operon:operator"])
    answer = client.post(path, headers=operator, json={"from_position": 1})

    assert answer.status_code == 201
    forked = f"/api/runs/{answer.json['id']}"
    assert client.get(forked, headers=mint()).status_code == 200
    assert client.get(forked, headers=mint("bob")).status_code == 404
    for position in (99, "1", True, None):
        body = {"from_position": position}
        refused = client.post(path, headers=operator, json=body)
        assert refused.status_code == 422


def test_a_fork_repeats_what_was_done_so_its_owner_may_not_make_one(
    client, mint, run_id
):
    path = f"/api/runs/{run_id}/fork"
    refused = client.post(path, headers=mint(), json={"from_position": 1})
    unknown = client.post(path, headers=mint("bob"), json={"from_position": 1})

    assert (refused.status_code, refused.json["type"]) == (403, "insufficient-scope")
    assert unknown.status_code == 404
    assert len(client.get("/api/runs", headers=mint()).json["runs"]) == 1


@pytest.mark.parametrize("action", ["retry", "resume"])
def test_who_may_not_start_a_run_any_more_cannot_have_it_redone(
    client, mint, run_id, action
):
    path = f"/api/runs/{run_id}/{action}"
    refused = client.post(path, headers=mint(scopes=["orders:read"]))
    operator = mint("olga", scopes=[], roles=["operon:operator"])

    assert (refused.status_code, refused.json["type"]) == (403, "insufficient-scope")
    assert client.post(path, headers=mint()).json["type"] == "run-terminal"
    assert client.post(path, headers=operator).json["type"] == "run-terminal"


@pytest.fixture
def api(api):
    """The shop, and somebody to talk to."""

    @api.post("/talks", scopes={"orders:write"})
    class Talk(Workflow):
        def run(self) -> Any:
            self.publish("progress", {"done": 1})
            self.write("log", "one\n\nid: 7")
            self.write("log", {"two": 2})
            said = self.receive("answers")
            self.write("log", "three")
            return said

    return api


@pytest.fixture
def talk(client, mint):
    """The place of a run of ada's that waits for a message."""
    headers = mint() | {"Prefer": "respond-async"}
    place = client.post("/api/talks", headers=headers).headers["Location"]
    status = f"{place}/events/progress"
    eventually(lambda: client.get(status, headers=mint()).status_code == 200)
    return place


def test_what_a_run_publishes_is_shown(client, mint, talk):
    published = client.get(f"{talk}/events/progress", headers=mint())
    unknown = client.get(f"{talk}/events/nothing", headers=mint())
    strangers = client.get(f"{talk}/events/progress", headers=mint("bob"))

    assert (published.status_code, published.json) == (200, {"done": 1})
    assert unknown.status_code == strangers.status_code == 404


def test_a_run_takes_a_message_once_for_each_key(client, mint, talk, operon):
    key = {"Idempotency-Key": "m-1"}
    for _ in range(2):
        path = f"{talk}/messages/answers"
        sent = client.post(path, headers=mint() | key, json={"say": "yes"})
        assert (sent.status_code, sent.data) == (204, b"")

    def result():
        return client.get(f"{talk}/result", headers=mint())

    eventually(lambda: result().status_code == 200)
    assert result().json == {"say": "yes"}
    with operon.engine.connect() as connection:
        count = select(func.count()).select_from(Message)
        assert connection.scalar(count) <= 1  # the other one was the same


def test_a_key_of_a_message_is_for_one_message_of_one_caller(
    client, mint, talk, operon
):
    path = f"{talk}/messages/answers"
    olga = mint("olga", roles=["operon:operator"])

    def send(text: str, headers: dict[str, str]):
        keyed = {**headers, "Idempotency-Key": "m-1"}
        return client.post(path, headers=keyed, json=text)

    first, again, other = send("one", mint()), send("one", mint()), send("2", mint())
    theirs = send("three", olga)

    assert (first.status_code, theirs.status_code) == (204, 204)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status_code, other.json["type"]) == (422, "idempotency-key-reused")
    with Session(operon.engine) as session:
        sent = session.scalars(select(Message.message).order_by(Message.id)).all()
    assert [json.loads(each) for each in sent] == ["one", "three"]


def test_a_fork_with_a_key_is_made_once(client, mint, run_id, operon):
    path = f"/api/runs/{run_id}/fork"
    headers = {
        **mint("olga", roles=["operon:operator"]),
        "Idempotency-Key": "f-1",
    }

    refused = client.post(path, headers=headers, json={"from_position": 99})
    answers = [
        client.post(path, headers=headers, json={"from_position": 1}) for _ in range(3)
    ]

    assert refused.status_code == 422
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert [each.headers.get("Idempotent-Replayed") for each in answers] == [
        None,
        "true",
        "true",
    ]
    assert len(operon.list_runs()) == 2
    eventually(lambda: operon.get_run(answers[0].json["id"]).status == "succeeded")


def test_a_message_that_is_none_is_refused(client, mint, talk):
    path = f"{talk}/messages/answers"
    headers = mint() | {"Content-Type": "application/json"}
    for data, status in ((b"{", 400), (b'"a\\u0000b"', 422), (b" " * 2**21, 413)):
        assert client.post(path, headers=headers, data=data).status_code == status
    keyed = headers | {"Idempotency-Key": "a,b"}
    assert client.post(path, headers=keyed, data=b"1").status_code == 400
    assert client.post(path, headers=mint("bob"), json=1).status_code == 404
    assert client.post(path, json=1).status_code == 401

    assert client.get(talk, headers=mint()).json["status"] != "succeeded"


def _events(text: str) -> list[tuple[str, str]]:
    """Return the ids and data of server-sent events; comments have neither."""
    found = []
    for block in text.split("\n\n"):
        lines = [each.partition(": ") for each in block.splitlines()]
        fields = {name: value for name, _, value in lines if name}
        if fields:
            found.append((fields.get("id", fields.get("event", "")), fields["data"]))
    return found


LOG = [("0", '"one\\n\\nid: 7"'), ("1", '{"two": 2}'), ("2", '"three"'), ("end", "{}")]


def test_a_stream_goes_on_until_its_run_ends(client, mint, talk):
    answer = client.get(f"{talk}/stream/log", headers=mint(), buffered=False)
    parts = answer.iter_encoded()
    read = ""
    while '{"two": 2}' not in read:
        read += next(parts).decode()
    other = client.application.test_client()
    other.post(f"{talk}/messages/answers", headers=mint(), json=1)
    read += b"".join(parts).decode()

    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Operon-Request-Id"]
    assert answer.headers["Operon-Trace-Id"]
    assert "Content-Length" not in answer.headers
    assert _events(read) == LOG


@pytest.mark.parametrize(
    ("last", "first"),
    [
        (None, 0),
        ("0", 1),
        ("1", 2),
        ("2", 3),
        ("99", 3),
        ("-1", 0),
        ("one", 0),
        ("²", 0),
        ("9" * 20, 0),
        ("9" * 5000, 0),
    ],
)
def test_a_stream_is_resumed_after_what_was_seen_last(client, mint, talk, last, first):
    client.post(f"{talk}/messages/answers", headers=mint(), json=1)
    headers = mint() if last is None else mint() | {"Last-Event-ID": last}

    answer = client.get(f"{talk}/stream/log", headers=headers)

    assert answer.status_code == 200
    assert _events(answer.text) == LOG[first:]


def test_a_strangers_stream_is_like_one_that_does_not_exist(client, mint, talk):
    theirs = client.get(f"{talk}/stream/log", headers=mint("bob"))
    nobodys = client.get("/api/runs/nope/stream/log", headers=mint())

    assert theirs.status_code == nobodys.status_code == 404
    assert _without_trace(theirs) == _without_trace(nobodys)


def test_without_credentials_no_run_is_shown(client, run_id):
    for path in ("", f"/{run_id}", f"/{run_id}/result", f"/{run_id}/stream/log"):
        assert client.get(f"/api/runs{path}").status_code == 401


def _without_trace(answer) -> dict:
    return {name: each for name, each in answer.json.items() if name != "trace_id"}
