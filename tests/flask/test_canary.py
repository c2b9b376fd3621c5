"""Secrets: what a caller sends as a secret is repeated nowhere, and logged nowhere."""

import logging

import pytest

CANARY = "c4n4ry-7f3a9b"
JSON = {"Content-Type": "application/json"}
SECRETS = {"sku": "book", "password": CANARY}


@pytest.fixture
def seen(caplog, capfd):
    """Return all that was logged, at every level, or written to a standard stream."""
    caplog.set_level(logging.DEBUG)

    def seen() -> str:
        written = capfd.readouterr()
        lines = [str(record.__dict__) for record in caplog.records]
        return "\n".join([caplog.text, *lines, written.out, written.err])

    return seen


CREDENTIALS = [
    f"Bearer {CANARY}",
    f"Bearer {CANARY}.{CANARY}.{CANARY}",
    f"Bearer {CANARY} {CANARY}",
    f"Bearer {CANARY}, Bearer {CANARY}",
    f"Basic {CANARY}",
    f"{CANARY}",
    f"Bearer {CANARY}" * 2000,
]


@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_a_token_is_not_told(client, seen, credentials):
    for path in ("/api/orders", "/api/runs/x/cancel"):
        answer = client.post(path, headers={"Authorization": credentials}, json={})
        assert answer.status_code in {400, 401}
        assert CANARY not in _all_of(answer)
    assert CANARY not in seen()


def test_a_token_that_is_good_is_not_told(client, mint, seen):
    headers = mint(claims={"canary": CANARY}) | {"Idempotency-Key": "k"}
    token = headers["Authorization"].removeprefix("Bearer ")

    for body in ({"sku": "book"}, {"sku": "gone"}, {"sku": "forbidden"}, {"sku": 7}):
        answer = client.post("/api/orders", headers=headers, json=body)
        assert token not in _all_of(answer)
    with_query = client.get(f"/api/orders/1?access_token={token}")
    assert token not in _all_of(with_query)

    everything = seen()
    assert CANARY not in everything
    for part in token.split("."):
        assert part not in everything


BODIES = [
    f'{{"sku": "book", "password": "{CANARY}"}}',
    f'{{"sku": "book", "quantity": "{CANARY}"}}',
    f'{{"sku": ["{CANARY}"]}}',
    f'{{"sku": "{CANARY}\\u0000"}}',
    f'{{"sku": "{CANARY}", "sku": "{CANARY}"}}',
    f'{{"sku": "{CANARY}"',
    f'"{CANARY}"',
    f"{CANARY}",
    f'{{"sku": "gone", "quantity": 1}} {CANARY}',
    f'{{"sku": "{CANARY}", "quantity": 1e999}}',
]


@pytest.mark.parametrize("body", BODIES)
def test_a_value_that_is_refused_is_not_told(client, mint, seen, body):
    for path in ("/api/orders", "/api/checkouts"):
        answer = client.post(path, headers=mint() | JSON, data=body)
        assert answer.status_code in {400, 422}
        assert CANARY not in _all_of(answer)
    assert CANARY not in seen()


HEADERS = [
    {"Idempotency-Key": f"{CANARY},{CANARY}"},
    {"Idempotency-Key": f'"{CANARY}'},
    {"Content-Type": f"text/{CANARY}"},
    {"Content-Encoding": CANARY},
    {"Prefer": f"wait={CANARY}"},
    {"X-Password": CANARY},
    {"Cookie": f"session={CANARY}"},
    {"Traceparent": CANARY},
]


@pytest.mark.parametrize("headers", HEADERS)
def test_a_header_is_not_told(client, mint, seen, headers):
    every = mint() | JSON | headers
    answer = client.post("/api/orders", headers=every, data='{"sku": "gone"}')

    assert answer.status_code in {400, 409, 415}
    assert CANARY not in _all_of(answer)
    assert CANARY not in seen()


PLACES = [
    ("GET", f"/api/{CANARY}"),
    ("POST", f"/api/{CANARY}"),
    ("GET", f"/api/orders/{CANARY}"),
    ("PUT", f"/api/runs/{CANARY}"),
    ("GET", f"/api/runs/{CANARY}"),
    ("GET", f"/api/runs/{CANARY}/result"),
    ("GET", f"/api/runs/{CANARY}/stream/{CANARY}"),
    ("POST", f"/api/runs/{CANARY}/messages/{CANARY}"),
    ("GET", f"/api/runs?limit={CANARY}"),
    ("GET", f"/api/runs?status={CANARY}&after={CANARY}"),
    ("GET", f"/api/orders/1?limit={CANARY}"),
    ("GET", f"/api/orders/1?access_token={CANARY}"),
]


@pytest.mark.parametrize(("method", "path"), PLACES)
def test_a_part_of_the_address_is_not_told(client, mint, seen, method, path):
    body = {"password": CANARY} if method == "POST" else None
    answer = client.open(path, method=method, headers=mint(), json=body)

    assert answer.status_code in {400, 404, 405, 422}
    assert CANARY not in _all_of(answer)
    assert CANARY not in seen()


def test_a_value_that_is_taken_is_not_logged(client, mint, seen, orders):
    """Also what is stored, replayed and executed elsewhere."""
    for _ in range(2):
        for path in ("/api/pings", "/api/pings"):
            answer = client.post(path, json={"text": CANARY})
            assert answer.status_code == 204
    assert CANARY not in seen()


def test_a_value_that_the_database_refuses_is_neither_told_nor_logged(
    client, mint, seen, operon
):
    """Its message has the statement's parameters in it."""
    with operon.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE payments")
        connection.exec_driver_sql("DROP TABLE orders")
    for path in ("/api/orders", "/api/checkouts"):
        answer = client.post(path, headers=mint(), json={"sku": CANARY})
        assert answer.status_code == 500
        assert CANARY not in _all_of(answer)

    everything = seen()
    assert "request " in everything
    assert CANARY not in everything


def _all_of(answer) -> str:
    return f"{answer.headers} {answer.text}"
