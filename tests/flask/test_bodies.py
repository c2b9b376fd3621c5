"""Bodies too long, too deep or too strange: 4xx, soon, and in little memory."""

import json
import socket
import time
import tracemalloc
from itertools import chain
from itertools import repeat
from urllib.parse import urlsplit

import pytest
from flask import Flask
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import transaction
from operon.flask import OperonBlueprint
from tests.flask.server import Server
from tests.flask.server import authorization
from tests.flask.test_contract import problem
from tests.flask.wsgi import HOST
from tests.flask.wsgi import Served
from tests.flask.wsgi import chunked
from tests.flask.wsgi import exchange
from tests.flask.wsgi import request_line
from tests.shop import Order
from tests.shop import create_shop

MOST = 1024 * 1024  # bytes, the blueprint's default
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
BOOK = b'{"sku": "book"}'
SOON = 5.0  # seconds, on a busy machine
LITTLE = 64 * MOST  # bytes


@pytest.fixture
def database(sqlite_database):
    """One database is enough: all this is refused before it is asked."""
    return sqlite_database


@pytest.fixture
def served(client):
    with Served(client.application) as served:
        yield served


@pytest.fixture
def send(served, mint):
    """Send a body in parts, with headers of one's own; return what is answered."""

    def send(parts, *headers, **options):
        credentials = f"Authorization: {mint()['Authorization']}"
        head = request_line("POST", "/api/orders", credentials, JSON, *headers)
        return exchange(served.port, chain([head], parts), **options)

    return send


def _is(received, status: int, slug: str) -> None:
    assert received.status == status, received
    assert received.headers["Content-Type"] == "application/problem+json"
    assert json.loads(received.body)["type"] == slug


def test_a_chunked_body_is_read_whole(send, orders):
    parts = (bytes([byte]) for byte in BOOK)

    assert send(chunked(*parts), CHUNKED).status == 201
    assert orders() == 1


def test_row_19_a_chunked_body_over_the_limit_is_refused(send, orders):
    padding = b" " * 65_536
    endless = chain(chunked(*repeat(padding, 20)), [])

    _is(send(endless, CHUNKED, hang_up=True), 413, "content-too-large")
    assert orders() == 0


def test_row_19_a_chunked_body_that_would_be_good_if_cut_is_refused(send, orders):
    """At a limit that cuts without a word, the beginning would be executed."""
    parts = chunked(BOOK + b" " * (MOST - len(BOOK)), b" " * 10)

    _is(send(parts, CHUNKED), 413, "content-too-large")
    assert orders() == 0


def test_a_chunked_body_of_just_the_limit_is_taken(send, orders):
    parts = chunked(BOOK, b" " * (MOST - len(BOOK)))

    assert send(parts, CHUNKED).status == 201
    assert orders() == 1


@pytest.mark.slow
def test_row_19_gunicorn_hands_on_no_chunked_body_over_the_limit(database):
    engine = database.engine()
    create_shop(engine, "book")
    padding = b" " * (MOST - len(BOOK))
    with Server(database) as server:
        port = urlsplit(server.url).port
        credentials = f"Authorization: {authorization()['Authorization']}"
        head = request_line("POST", "/api/orders", credentials, JSON, CHUNKED)
        over = exchange(port, chain([head], chunked(BOOK + padding, b" ")))
        whole = exchange(port, chain([head], chunked(BOOK, padding)))

    _is(over, 413, "content-too-large")
    assert whole.status == 201
    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Order)) == 1


def test_row_19_a_long_body_is_refused_by_its_length_alone(send, orders):
    _is(send([], f"Content-Length: {10**12}"), 413, "content-too-large")
    assert orders() == 0


def test_a_body_that_ends_too_early_does_nothing(served, send, orders):
    length = f"Content-Length: {len(BOOK) + 10}"

    _is(send([BOOK], length, hang_up=True), 400, "invalid-request")
    _is(send([b"f\r\n" + BOOK], CHUNKED, hang_up=True), 400, "invalid-request")
    assert orders() == 0


def test_a_chunk_of_a_malformed_length_does_nothing(send, orders):
    for chunk in (b"zz\r\n" + BOOK, b"-f\r\n" + BOOK):
        _is(send([chunk], CHUNKED, hang_up=True), 400, "invalid-request")

    assert orders() == 0


def test_nobody_waits_for_a_body_that_was_not_announced(served, mint):
    credentials = f"Authorization: {mint()['Authorization']}"
    head = request_line("POST", "/api/orders", credentials, JSON)
    with socket.create_connection((HOST, served.port), SOON) as link:
        link.sendall(head)

        assert link.recv(65_536).startswith(b"HTTP/1.1 422 ")


@pytest.mark.parametrize("limit", [10, 10 * MOST])
def test_a_limit_of_the_applications_own_is_for_its_own_views(
    client, mint, orders, limit
):
    client.application.config["MAX_CONTENT_LENGTH"] = limit
    headers = mint() | {"Content-Type": "application/json"}

    def ask(body: bytes):
        return client.post("/api/orders", headers=headers, data=body)

    assert ask(BOOK).status_code == 201
    assert problem(ask(BOOK + b" " * MOST)) == (413, "content-too-large")
    assert orders() == 1


def test_a_blueprint_may_have_a_limit_of_its_own(operon, calls):
    api = OperonBlueprint("tiny", operon, max_body=20)

    @api.post("/notes", public=True)
    @transaction
    def note_tiny(session: Session, text: str) -> None:
        calls.append(text)

    app = Flask("tiny")
    app.register_blueprint(api, url_prefix="/api")
    client = app.test_client()

    assert client.post("/api/notes", json={"text": "a"}).status_code == 204
    answer = client.post("/api/notes", json={"text": "a" * 20})
    assert problem(answer) == (413, "content-too-large")
    assert calls == ["a"]


def _nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    return b'{"sku": ' + opening * depth + b"0" + closing * depth + b"}"


STRANGE = {
    "not JSON": (b"{sku: book}", 400, "malformed-json"),
    "nothing but spaces": (b"   ", 400, "malformed-json"),
    "two values": (BOOK + BOOK, 400, "malformed-json"),
    "deep lists": (_nested(100_000, b"[", b"]"), 400, "malformed-json"),
    "deep objects": (_nested(100_000, b'{"a":', b"}"), 400, "malformed-json"),
    "only openings": (b"[" * 1_000_000, 400, "malformed-json"),
    "deep within text": (
        b'{"sku": "\\"", "quantity": ' + b"[" * 70 + b"]" * 70 + b"}",
        400,
        "malformed-json",
    ),
    "NUL": (b'{"sku": "a\\u0000b"}', 422, "validation"),
    "NUL as it is": (b'{"sku": "a\x00b"}', 400, "malformed-json"),
    "a lone surrogate": (b'{"sku": "\\ud800"}', 422, "validation"),
    "a lone surrogate in UTF-8": (b'{"sku": "\xed\xa0\x80"}', 400, "malformed-json"),
    "NUL in a name": (b'{"sku": "a", "b\\u0000": 1}', 422, "validation"),
    "a byte order mark": (b"\xef\xbb\xbf" + BOOK, 400, "malformed-json"),
    "UTF-16": (BOOK.decode().encode("utf-16"), 400, "malformed-json"),
    "bad UTF-8": (b'{"sku": "\xff"}', 400, "malformed-json"),
    "an overlong slash": (b'{"sku": "\xc0\xaf"}', 400, "malformed-json"),
    "1e400": (b'{"sku": "a", "quantity": 1e400}', 400, "malformed-json"),
    "-1e400": (b'{"sku": "a", "quantity": -1e400}', 400, "malformed-json"),
    "NaN": (b'{"sku": "a", "quantity": NaN}', 400, "malformed-json"),
    "Infinity": (b'{"sku": "a", "quantity": -Infinity}', 400, "malformed-json"),
    "a huge integer": (
        b'{"sku": "a", "quantity": ' + b"9" * 1_000_000 + b"}",
        400,
        "malformed-json",
    ),
    "a large integer": (b'{"sku": "book", "quantity": 1e300}', 422, "validation"),
    "half a thing": (b'{"sku": "book", "quantity": 0.5}', 422, "validation"),
    "a member twice": (b'{"sku": "a", "sku": "b"}', 400, "malformed-json"),
    "a member twice, escaped": (
        b'{"sku": "a", "\\u0073ku": "b"}',
        400,
        "malformed-json",
    ),
    "a member twice, within": (b'{"sku": {"a": 1, "a": 1}}', 400, "malformed-json"),
    "many members": (
        json.dumps({f"m{number}": 0 for number in range(60_000)}).encode(),
        422,
        "validation",
    ),
    "many items": (b'{"sku": [' + b"0," * 400_000 + b"0]}", 422, "validation"),
    "a list": (b"[]", 422, "validation"),
    "a text": (b'"book"', 422, "validation"),
    "null": (b"null", 422, "validation"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_rows_17_and_18_a_strange_body_is_refused_soon_and_in_little_memory(
    *, client, mint, calls, name
):
    body, status, slug = STRANGE[name]
    headers = mint() | {"Content-Type": "application/json"}
    client.post("/api/orders", headers=headers, data=b"{}")  # all is loaded

    began = time.monotonic()
    client.post("/api/orders", headers=headers, data=body)
    took = time.monotonic() - began
    tracemalloc.start()
    answer = client.post("/api/orders", headers=headers, data=body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert problem(answer) == (status, slug)
    assert took < SOON
    assert peak < LITTLE
    assert len(answer.data) < MOST / 10
    assert calls == []


def test_a_text_of_the_longest_body_is_told_apart_from_its_brackets(client, mint):
    """Brackets within text do not nest."""
    body = {"sku": "[{" * 1000, "quantity": "x"}
    answer = client.post("/api/orders", headers=mint(), json=body)

    assert problem(answer) == (422, "validation")
    assert [each["pointer"] for each in answer.json["errors"]] == ["/quantity"]
