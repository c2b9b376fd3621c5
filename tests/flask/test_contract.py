"""The contract of the web edge, row by row."""

import json
import uuid

KEY = {"Idempotency-Key": "k-1"}


def post(client, path, headers, body, **more):
    return client.post(f"/api{path}", headers={**headers, **more}, json=body)


def test_row_1_a_committed_transaction_is_answered_with_its_result(
    client, mint, orders
):
    answer = post(client, "/orders", mint(), {"sku": "book", "quantity": 2})

    assert answer.status_code == 201
    assert answer.json == {"id": 1, "sku": "book", "quantity": 2}
    assert answer.headers["Location"] == "/api/orders/1"
    assert answer.headers["Operon-Run-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert orders() == 1


def test_row_1_a_transaction_without_a_result_is_204(client, calls):
    answer = post(client, "/pings", {}, {"text": "hello"})

    assert (answer.status_code, answer.data) == (204, b"")
    assert calls == ["hello"]


def test_row_2_a_workflow_that_ends_in_time_is_answered_with_its_result(client, mint):
    answer = post(client, "/checkouts", mint(), {"sku": "book"}, Prefer="wait=20")

    assert (answer.status_code, answer.json) == (200, 1)
    assert answer.headers["Preference-Applied"] == "wait=20"


def test_row_3_a_workflow_that_is_not_waited_for_is_202(client, mint):
    answer = post(client, "/checkouts", mint(), {"sku": "book"}, Prefer="respond-async")

    assert answer.status_code == 202
    assert answer.json["run_id"] == answer.headers["Operon-Run-Id"]
    assert answer.headers["Retry-After"] == "1"


def test_row_4_the_same_request_again_is_answered_with_the_same_bytes(
    client, mint, orders
):
    first = post(client, "/orders", mint() | KEY, {"sku": "book"})
    again = post(client, "/orders", mint() | KEY, {"sku": "book"})

    assert (again.status_code, again.data) == (first.status_code, first.data)
    for name in ("Content-Type", "Location", "Operon-Run-Id"):
        assert again.headers[name] == first.headers[name]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert orders() == 1


def test_row_4_a_workflow_is_answered_by_its_run(client, mint, orders, calls):
    first = post(client, "/checkouts", mint() | KEY, {"sku": "book"})
    again = post(client, "/checkouts", mint() | KEY, {"sku": "book"})

    assert (again.status_code, again.data) == (200, first.data)
    assert again.headers["Operon-Run-Id"] == first.headers["Operon-Run-Id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (orders(), calls) == (1, ["checkout"])


def test_row_4_two_principals_with_one_key_never_meet(client, mint, orders):
    for subject in ("ada", "bob"):
        answer = post(client, "/orders", mint(subject) | KEY, {"sku": "book"})
        assert "Idempotent-Replayed" not in answer.headers

    assert orders() == 2


def test_row_6_a_key_is_for_one_request(client, mint, orders):
    post(client, "/orders", mint() | KEY, {"sku": "book"})
    for path, body in (
        ("/orders", {"sku": "book", "quantity": 2}),
        ("/checkouts", {"sku": "book"}),
    ):
        answer = post(client, path, mint() | KEY, body)
        assert problem(answer) == (422, "idempotency-key-reused")

    assert orders() == 1


def test_row_7_a_malformed_key_is_refused(client, mint, orders):
    for key in ("a,b", 'a"b', "", "é", "x" * 256):
        answer = post(
            client, "/orders", mint() | {"Idempotency-Key": key}, {"sku": "book"}
        )
        assert problem(answer) == (400, "idempotency-key-invalid"), key

    assert orders() == 0


def test_row_7_without_credentials_a_key_is_a_uuid(client, calls):
    guessed = post(client, "/pings", KEY, {"text": "a"})
    key = {"Idempotency-Key": str(uuid.uuid4())}
    answers = [post(client, "/pings", key, {"text": "a"}) for _ in range(2)]

    assert problem(guessed) == (400, "idempotency-key-invalid")
    assert [each.status_code for each in answers] == [204, 204]
    assert calls == ["a"]


def test_row_9_without_credentials_nothing_is_done(client, orders):
    answer = post(client, "/orders", {}, {"sku": "book"})

    assert problem(answer) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="operon"'
    assert orders() == 0


def test_row_10_a_bad_token_is_refused_without_a_reason(client, mint):
    answer = post(client, "/orders", mint(audience="other"), {"sku": "book"})

    assert problem(answer) == (401, "invalid-token")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert "audience" not in answer.text


def test_row_12_a_missing_scope_is_named(client, mint):
    answer = post(client, "/orders", mint(scopes=["orders:read"]), {"sku": "book"})

    assert problem(answer) == (403, "insufficient-scope")
    assert 'scope="orders:write"' in answer.headers["WWW-Authenticate"]


def test_row_15_what_is_not_there_is_a_problem_too(client, mint):
    assert problem(client.get("/api/nothing")) == (404, "not-found")
    answer = client.put("/api/orders", headers=mint())
    assert problem(answer) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert client.get("/elsewhere").mimetype == "text/html"


def test_row_16_another_media_type_is_refused(client, mint):
    headers = mint() | {"Content-Type": "text/plain"}
    answer = client.post("/api/orders", headers=headers, data="{}")
    assert problem(answer) == (415, "unsupported-media-type")

    headers = mint() | {"Content-Encoding": "gzip"}
    answer = client.post("/api/orders", headers=headers, json={"sku": "book"})
    assert problem(answer) == (415, "unsupported-encoding")


def test_row_17_what_is_not_json_is_refused(client, mint):
    for text in (b"{", b'{"sku": "a", "sku": "b"}', b"[NaN]", b"\xff", b"[" * 100):
        headers = mint() | {"Content-Type": "application/json"}
        answer = client.post("/api/orders", headers=headers, data=text)
        assert problem(answer) == (400, "malformed-json"), text


def test_row_18_everything_that_is_wrong_is_told(client, mint):
    body = {"sku": 7, "quantity": "many", "colour": "crimson"}
    answer = post(client, "/orders", mint(), body)

    assert problem(answer) == (422, "validation")
    assert [each["pointer"] for each in answer.json["errors"]] == [
        "/sku",
        "/quantity",
        "/colour",
    ]
    for value in ("many", "crimson"):
        assert value not in answer.text


def test_row_18_text_that_no_database_holds_is_refused(client, mint):
    for text in ("a\x00b", "\ud800"):
        body = json.dumps({"sku": text})
        headers = mint() | {"Content-Type": "application/json"}
        answer = client.post("/api/orders", headers=headers, data=body)
        assert problem(answer) == (422, "validation")
        assert answer.json["errors"][0]["pointer"] == "/sku"


def test_row_19_a_body_over_the_limit_is_refused(client, mint, orders):
    answer = post(client, "/orders", mint(), {"sku": "x" * 2**20})

    assert problem(answer) == (413, "content-too-large")
    assert orders() == 0


def test_row_20_a_handlers_refusal_is_recorded(client, mint, calls):
    answers = [
        post(client, "/orders", mint() | KEY, {"sku": "forbidden"}) for _ in range(2)
    ]

    assert [problem(each) for each in answers] == [(422, "not-for-sale")] * 2
    assert answers[0].data == answers[1].data
    assert calls == ["place_order"]


def test_row_24_a_declared_error_of_a_transaction_has_its_status(client, mint, calls):
    answers = [post(client, "/orders", mint() | KEY, {"sku": "gone"}) for _ in range(2)]

    assert [problem(each) for each in answers] == [(409, "sold-out")] * 2
    assert calls == ["place_order"] * 2  # nothing was done, so it may be tried again


def test_row_20_a_workflows_refusal_is_its_runs(client, mint, calls):
    answers = [
        post(client, "/checkouts", mint() | KEY, {"sku": "forbidden"}) for _ in range(2)
    ]

    assert [problem(each) for each in answers] == [(409, "not-for-sale")] * 2
    assert answers[0].json["run_id"] == answers[0].headers["Operon-Run-Id"]
    assert calls == ["checkout"]


def test_reading_takes_path_and_query(client, mint):
    post(client, "/orders", mint(), {"sku": "book"})

    assert client.get("/api/orders/1?limit=2", headers=mint()).json["sku"] == "book"
    answer = client.get("/api/orders/1?limit=maybe&more=1", headers=mint())
    assert [each["pointer"] for each in answer.json["errors"]] == [
        "query/limit",
        "query/more",
    ]


def problem(answer) -> tuple[int, str]:
    assert answer.mimetype == "application/problem+json", answer.data
    assert answer.json["status"] == answer.status_code
    return answer.status_code, answer.json["type"]
