"""Runs over HTTP: every caller sees its own, and may end, continue and tell them."""

import pytest

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
    assert found("attribute.colour=red") == []


def test_steps_are_shown_without_their_values(client, mint, run_id):
    [step] = client.get(f"/api/runs/{run_id}/steps", headers=mint()).json["steps"]

    assert (step["position"], step["kind"], step["name"]) == (1, "step", "place")
    assert step["failed"] is False
    assert "output" not in step


def test_row_21_a_control_of_a_run_that_has_ended_is_refused(client, mint, run_id):
    for action in ("cancel", "resume", "retry"):
        answer = client.post(f"/api/runs/{run_id}/{action}", headers=mint())
        assert (answer.status_code, answer.json["type"]) == (409, "run-terminal")


def test_a_fork_is_a_run_of_the_same_caller(client, mint, run_id):
    path = f"/api/runs/{run_id}/fork"
    answer = client.post(path, headers=mint(), json={"from_position": 1})

    assert answer.status_code == 201
    forked = f"/api/runs/{answer.json['id']}"
    assert client.get(forked, headers=mint()).status_code == 200
    assert client.get(forked, headers=mint("bob")).status_code == 404
    for position in (99, "1", True, None):
        body = {"from_position": position}
        refused = client.post(path, headers=mint(), json=body)
        assert refused.status_code == 422


def test_without_credentials_no_run_is_shown(client, run_id):
    for path in ("", f"/{run_id}", f"/{run_id}/result", f"/{run_id}/stream/log"):
        assert client.get(f"/api/runs{path}").status_code == 401


def _without_trace(answer) -> dict:
    return {name: each for name, each in answer.json.items() if name != "trace_id"}
