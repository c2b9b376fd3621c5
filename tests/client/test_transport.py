"""The client's transport: a call is repeated with one key until it is answered."""

from collections.abc import Callable
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest

from operon.client import OnceTransport

Answer = httpx.Response | Exception
Calling = Callable[..., httpx.Client]

CREATED = httpx.Response(201)


class Server(httpx.BaseTransport):
    """Gives the answers it was told, one after the other."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = iter(answers)
        self.seen: list[tuple[str, str | None, bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        key = request.headers.get("Idempotency-Key")
        self.seen.append((request.method, key, request.content))
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Time:
    """A clock that stands still unless somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def calling(time) -> Iterator[Callable[[Server], httpx.Client]]:
    """Make a client of a server."""
    made: list[httpx.Client] = []

    def client(server: Server) -> httpx.Client:
        transport = OnceTransport(
            server,
            patience=timedelta(seconds=60),
            sleep=time.sleep,
            monotonic=time.monotonic,
        )
        made.append(httpx.Client(transport=transport, base_url="https://shop.test"))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.mark.parametrize("status", [425, 429, 502, 503, 504])
def test_a_server_that_cannot_work_is_asked_again_with_the_same_key(calling, status):
    server = Server([httpx.Response(status), httpx.Response(status), CREATED])

    answer = calling(server).post("/orders", json={"sku": "book"})

    assert answer.status_code == 201
    assert len(server.seen) == 3
    assert len(set(server.seen)) == 1
    assert server.seen[0][1] is not None


def test_a_lost_answer_is_asked_for_again_with_the_same_key(calling):
    server = Server([httpx.ReadError("lost"), httpx.ConnectError("away"), CREATED])

    assert calling(server).post("/orders", content=b"{}").status_code == 201
    assert len(set(server.seen)) == 1


class Torn(httpx.SyncByteStream):
    """A body of which only the beginning comes."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"order_id"'
        raise httpx.RemoteProtocolError("peer closed connection")


def test_an_answer_that_breaks_off_is_asked_for_again_with_the_same_key(calling):
    torn = httpx.Response(201, stream=Torn())
    server = Server([torn, httpx.Response(201, json={"order_id": 7})])

    answer = calling(server).post("/orders", json={})

    assert answer.json() == {"order_id": 7}
    [(_, first, _), (_, again, _)] = server.seen
    assert first == again is not None


def test_an_answer_may_be_read_in_parts(calling):
    server = Server([httpx.Response(200, content=b"1234")])

    with calling(server).stream("POST", "/orders", json={}) as answer:
        assert b"".join(answer.iter_raw(2)) == b"1234"


def test_every_call_has_a_key_of_its_own(calling):
    server = Server([CREATED, CREATED])
    client = calling(server)
    for _ in range(2):
        client.post("/orders")

    assert server.seen[0][1] != server.seen[1][1]


def test_a_key_of_the_callers_own_is_kept(calling):
    server = Server([httpx.Response(503), CREATED])

    calling(server).post("/orders", headers={"Idempotency-Key": "mine"})

    assert [key for _, key, _ in server.seen] == ["mine", "mine"]


def test_reading_needs_no_key_to_be_repeated(calling):
    server = Server([httpx.ReadError("lost"), httpx.Response(200)])

    assert calling(server).get("/orders").status_code == 200
    assert [key for _, key, _ in server.seen] == [None, None]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 400, 401, 404, 409, 422, 500])
def test_what_is_an_answer_is_not_asked_for_again(calling, status):
    server = Server([httpx.Response(status)])

    assert calling(server).post("/orders").status_code == status


def test_a_conflict_with_itself_is_waited_for(calling, time):
    busy = httpx.Response(409, headers={"Retry-After": "7"})

    assert calling(Server([busy, CREATED])).post("/orders").status_code == 201
    assert time.naps[0] >= 7


def test_retry_after_may_be_a_time(calling, time):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    busy = httpx.Response(503, headers={"Retry-After": later})

    calling(Server([busy, CREATED])).post("/orders")

    assert 25 < time.naps[0] <= 30


@pytest.mark.parametrize("told", ["soon", "-1", ""])
def test_a_retry_after_that_says_nothing_is_not_heard(calling, time, told):
    busy = httpx.Response(503, headers={"Retry-After": told})

    calling(Server([busy, CREATED])).post("/orders")

    assert time.naps[0] <= 1


def test_patience_ends_with_the_last_answer_or_error(calling, time):
    away = [httpx.Response(503) for _ in range(99)]
    assert calling(Server([*away])).post("/orders").status_code == 503
    assert time.now <= 60

    with pytest.raises(httpx.ReadError):
        calling(Server([httpx.ReadError("lost") for _ in range(99)])).post("/orders")
