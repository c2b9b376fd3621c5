"""What judges have found with the document alone, kept as tests of its own."""

import pytest

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def run_id(client, mint) -> str:
    """A run of ada's that has ended."""
    answer = client.post("/api/checkouts", headers=mint(), json={"sku": "book"})
    assert answer.status_code == 200
    return str(answer.headers["Operon-Run-Id"])


@pytest.mark.parametrize("path", ["/runs/%00", "/runs/a%00b/steps"])
def test_a_run_whose_id_no_database_holds_is_not_found(client, mint, path):
    answer = client.get(f"/api{path}", headers=mint())

    assert (answer.status_code, answer.json["type"]) == (404, "not-found")


@pytest.mark.parametrize(
    "query",
    [
        "workflow=%00",
        "attribute[%00]=red",
        "attribute[colour]=%00",
        "after=1.%00",
        "after=99999999999999999.id",
        "limit=1_0",
        "limit=true",
        "limit=1&limit=2",
        "workflow=a&workflow=b",
        "created_after=0001-01-01T00:00:00%2B01:00",
        "created_after=2026-01-01",
    ],
)
def test_a_list_refuses_what_no_database_compares(client, mint, query):
    answer = client.get(f"/api/runs?{query}", headers=mint())

    assert (answer.status_code, answer.json["type"]) == (422, "validation")


def test_a_list_takes_all_that_its_document_allows(client, mint, run_id):
    for query in (
        "limit=1.0",
        "limit=200",
        "status=succeeded&status=failed",
        "created_after=2026-01-01t00:00:00.1234567z",
        "created_before=9999-12-31T23:59:59-00:00",
        "after=9999999999999999.z",
    ):
        answer = client.get(f"/api/runs?{query}", headers=mint())
        assert answer.status_code == 200, query
        assert [each["id"] for each in answer.json["runs"]] == [run_id], query


def test_text_that_no_database_holds_is_refused_in_path_and_query(client, mint):
    answer = client.get("/api/orders/1?limit=%00", headers=mint())

    assert (answer.status_code, answer.json["type"]) == (422, "validation")
    assert answer.json["errors"][0]["pointer"] == "query/limit"
    assert "NUL" in answer.json["errors"][0]["detail"]


def test_runs_refuse_query_parameters_that_there_are_not(client, mint, run_id):
    for method, path in (
        ("GET", ""),
        ("GET", "/result"),
        ("GET", "/stream/log"),
        ("POST", "/cancel"),
    ):
        place = f"/api/runs/{run_id}{path}?colour=red"
        answer = client.open(place, method=method, headers=mint())
        assert (answer.status_code, answer.json["type"]) == (422, "validation"), path


@pytest.mark.parametrize("name", ["%0A", "a%00", "%E2%80%8B", "x" * 256])
def test_names_that_nothing_in_a_run_can_have_are_refused(client, mint, run_id, name):
    read = client.get(f"/api/runs/{run_id}/stream/{name}", headers=mint())
    sent = client.post(f"/api/runs/{run_id}/messages/{name}", headers=mint(), json=1)

    assert (read.status_code, read.json["type"]) == (422, "validation")
    assert (sent.status_code, sent.json["type"]) == (422, "validation")


def test_a_message_that_no_database_holds_is_refused(client, mint, run_id):
    place = f"/api/runs/{run_id}/messages/topic"
    answer = client.post(place, headers=mint() | JSON, data='{"a": ["\\u0000"]}')

    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json["errors"]] == ["/a/0"]


def test_a_fork_refuses_unknown_members_and_says_where_it_is(client, mint, run_id):
    def fork(**body: int):
        place = f"/api/runs/{run_id}/fork"
        headers = mint(roles=["operon:operator"])
        return client.post(place, headers=headers, json=body)

    refused, made = fork(from_position=1, colour=2), fork(from_position=1)

    assert refused.status_code == 422
    assert [each["pointer"] for each in refused.json["errors"]] == ["/colour"]
    assert made.status_code == 201
    assert made.headers["Location"] == f"/api/runs/{made.json['id']}"


def test_any_and_weak_etags_are_compared(client, mint, run_id):
    tag = client.get(f"/api/runs/{run_id}", headers=mint()).headers["ETag"]
    for asked, status in (
        ("*", 304),
        (f"W/{tag}", 304),
        (f'"other", {tag}', 304),
        (f'"{tag[1:-2]}"', 200),
    ):
        headers = mint() | {"If-None-Match": asked}
        answer = client.get(f"/api/runs/{run_id}", headers=headers)
        assert answer.status_code == status, asked


def test_an_answer_without_a_body_has_no_type(client, mint, run_id):
    headers = mint() | {"If-None-Match": "*"}
    unchanged = client.get(f"/api/runs/{run_id}", headers=headers)
    nothing = client.post("/api/pings", json={})

    assert (unchanged.status_code, nothing.status_code) == (304, 204)
    for answer in (unchanged, nothing):
        assert "Content-Type" not in answer.headers


def test_a_path_that_flask_would_redirect_is_not_found(client, mint):
    answer = client.get("/api//runs", headers=mint())

    assert (answer.status_code, answer.json["type"]) == (404, "not-found")
