"""One request, one effect: whatever happens to the processes that serve it.

HTTP section 3, with gunicorn, its workers and their deaths.
"""

import signal
from collections.abc import Callable
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.client import OnceTransport
from operon.models import WebRequest
from operon.models import WorkflowRun
from operon.points import Point
from operon.status import RunStatus
from tests.fix_db import Database
from tests.flask.served import WORKER
from tests.flask.served import Place
from tests.flask.server import REPLAYED
from tests.flask.server import SKU
from tests.flask.server import Server
from tests.flask.server import asked
from tests.processes import eventually
from tests.shop import Order
from tests.shop import Payment
from tests.shop import Product
from tests.shop import create_shop

pytestmark = pytest.mark.slow

ORDERS, CHECKOUTS = "/api/orders", "/api/checkouts"
STATUS = {ORDERS: 201, CHECKOUTS: 200}
by_path = pytest.mark.parametrize("path", STATUS, ids=["order", "checkout"])

TIMES = 200
CALLERS = 24
STOCK = 100
PATIENCE = 120  # seconds for an answer, on a busy machine

SERVED = [
    pytest.param("sqlite", {"preload": True}, id="sqlite"),
    pytest.param("postgresql", {"isolation": "SERIALIZABLE"}, id="serializable"),
    pytest.param(
        "postgresql",
        {"isolation": "SERIALIZABLE", "preload": True},
        id="serializable-preload",
    ),
    pytest.param(
        "postgresql",
        {"isolation": "READ COMMITTED", "preload": True},
        id="read-committed",
    ),
]
"""On which database, and how, many workers serve."""

BEFORE_COMMIT = {
    ORDERS: [Place.KEYED, Point.BODY_DONE, Point.FLUSHED, Point.RECORDED],
    CHECKOUTS: [Place.KEYED, Place.STARTING],
}
AFTER_COMMIT = {
    ORDERS: [Point.COMMITTED, Place.ANSWERING],
    CHECKOUTS: [
        Point.FINISHED,  # first: of a run before, it may come after the answer
        Place.STARTED,
        Point.CLAIMED,
        Point.FLUSHED,
        Point.RECORDED,
        Point.COMMITTED,
        Place.ANSWERING,
    ],
}
"""Of a transaction, and of what starts the run of a workflow."""


@dataclass(frozen=True)
class Ordered:
    """What strikes a worker once."""

    file: Path

    def at(self, place: Place | Point, by: signal.Signals = signal.SIGKILL) -> None:
        """Have the first worker at *place* struck."""
        assert not self.file.exists(), "nobody was struck by the one before"
        draft = self.file.with_suffix(".draft")
        draft.write_text(f"{place},{by.name}", encoding="ascii")
        draft.rename(self.file)  # whole at once

    @property
    def struck(self) -> bool:
        """Whether one was."""
        return not self.file.exists()


@pytest.fixture
def blow(tmp_path: Path) -> Ordered:
    return Ordered(tmp_path / "blow")


@pytest.fixture
def stocked(database: Database) -> Database:
    create_shop(database.engine(), SKU, stock=STOCK)
    return database


@pytest.fixture
def effects(stocked: Database) -> Callable[[], dict[str, object]]:
    """Count what is committed."""
    engine = stocked.engine()

    def count() -> dict[str, object]:
        counted: dict[str, object] = {}
        with Session(engine) as session:
            for model in (Order, Payment, WorkflowRun, WebRequest):
                query = select(func.count()).select_from(model)
                counted[model.__name__] = session.scalar(query)
            taken = STOCK - session.get_one(Product, SKU).stock
            statuses = set(session.scalars(select(WorkflowRun.status)))
        return {**counted, "taken": taken, "statuses": statuses}

    return count


def once_each(paths: Collection[str]) -> dict[str, object]:
    """Return the effects of one request at each of *paths*."""
    asked_for = dict.fromkeys(("Order", "WorkflowRun", "WebRequest"), len(paths))
    return {
        **asked_for,
        "Payment": [*paths].count(CHECKOUTS),
        "taken": len(paths),
        "statuses": {RunStatus.SUCCEEDED},
    }


def order_of(database: Database, answer: httpx.Response) -> dict[str, object]:
    """Return the one order of the run behind *answer* as it has to be shown."""
    with Session(database.engine()) as session:
        run_id = answer.headers["Operon-Run-Id"]
        order = session.scalars(select(Order).filter_by(run_id=run_id)).one()
        return {"id": order.id, "sku": order.sku}


def told(answer: httpx.Response) -> tuple[int, tuple[str | None, ...], bytes]:
    """Return what has to be the same, however often it is asked for."""
    names = ("Content-Type", "Location", "ETag", "Operon-Run-Id")
    kept = tuple(answer.headers.get(name) for name in names)
    return answer.status_code, kept, answer.content


def is_replayed(answer: httpx.Response) -> bool:
    value: str | None = answer.headers.get(REPLAYED)
    return value == "true"


def insistently(
    server: Server, path: str, key: str
) -> tuple[httpx.Response, httpx.Response]:
    """Return the answers to a request that is sent until answered, and to its twin."""
    with server.client(OnceTransport()) as client:
        first = client.post(path, **asked(key))
        return first, client.post(path, **asked(key))


def warm_up(server: Server, workers: int) -> None:
    """Have each worker serve a request, so that it executes runs as well."""
    seen = set[str]()

    def all_served() -> bool:
        with server.client() as client:
            ready = client.get("/api/health/ready")
        assert ready.status_code == 200, ready.text
        seen.add(ready.headers[WORKER])
        return len(seen) == workers

    eventually(all_served, timeout=60, saying="each worker has served")


@pytest.mark.parametrize(("database", "manner"), SERVED, indirect=["database"])
def test_one_request_sent_two_hundred_times_at_once_is_done_once(
    stocked, effects, manner
):
    with Server(stocked, workers=4, **manner) as server, server.client() as client:
        warm_up(server, 4)
        for path, status in STATUS.items():
            answers = server.post_at_once(path, path, times=TIMES)
            again = client.post(path, **asked(path))

            assert len({answer.headers[WORKER] for answer in answers}) > 1
            busy = [answer for answer in answers if answer.status_code == 409]
            done = [answer for answer in answers if answer.status_code != 409]
            assert [is_replayed(answer) for answer in done].count(False) == 1
            assert {told(answer) for answer in done} == {told(again)}
            assert (again.status_code, is_replayed(again)) == (status, True)
            assert again.json() == order_of(stocked, again)
            for answer in busy:
                assert answer.json()["type"] == "request-in-progress"
                assert answer.headers["Retry-After"]
            print(f"{path}: {len(done)} answered, {len(busy)} told to ask again")

    assert effects() == once_each(STATUS)


@pytest.mark.parametrize(
    "places", [BEFORE_COMMIT, AFTER_COMMIT], ids=["before", "after"]
)
@by_path
def test_a_worker_killed_anywhere_leaves_all_or_nothing_and_the_retry_is_answered(
    stocked, effects, blow, path, places
):
    with Server(stocked, preload=True, blow=blow.file) as server:
        for number, place in enumerate(places[path], start=1):
            blow.at(place)
            first, again = insistently(server, path, f"k-{number}")

            assert blow.struck, place
            is_done = places is AFTER_COMMIT
            assert (first.status_code, is_replayed(first)) == (STATUS[path], is_done)
            assert first.json() == order_of(stocked, first)
            assert (told(again), is_replayed(again)) == (told(first), True), place
            assert effects() == once_each([path] * number), place


def test_callers_who_insist_get_one_answer_though_a_worker_is_killed_meanwhile(
    stocked, effects, blow
):
    places = (Point.RECORDED, Point.COMMITTED)
    asked_for = [(path, place) for path in STATUS for place in places]
    with Server(stocked, workers=2, preload=True, blow=blow.file) as server:
        for path, place in asked_for:
            warm_up(server, 2)
            blow.at(place)
            with ThreadPoolExecutor(CALLERS) as pool:
                sent = [
                    pool.submit(insistently, server, path, f"{path}-{place}")
                    for _ in range(CALLERS)
                ]
            answers = [answer for pair in sent for answer in pair.result(PATIENCE)]

            assert blow.struck, (path, place)
            assert {told(answer) for answer in answers} == {told(answers[0])}
            assert answers[0].status_code == STATUS[path]
            assert answers[0].json() == order_of(stocked, answers[0])
            assert [is_replayed(answer) for answer in answers].count(False) <= 1

    assert effects() == once_each([path for path, _ in asked_for])


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_request_whose_twin_is_frozen_is_told_to_ask_again(stocked, effects, blow):
    with (
        ThreadPoolExecutor(1) as pool,
        Server(stocked, workers=2, blow=blow.file) as server,
    ):
        warm_up(server, 2)
        for path, status in STATUS.items():
            blow.at(Place.KEYED, by=signal.SIGSTOP)
            frozen = pool.submit(insistently, server, path, path)
            eventually(lambda: blow.struck, saying="a worker is frozen")
            with server.client() as client:
                busy = client.post(path, **asked(path))
            server.thaw()
            first, again = frozen.result(PATIENCE)

            assert busy.status_code == 409
            assert busy.json()["type"] == "request-in-progress"
            assert busy.json()["safe_new_key"] is False
            assert busy.headers["Retry-After"]
            assert (first.status_code, is_replayed(first)) == (status, False)
            assert (told(again), is_replayed(again)) == (told(first), True)

    assert effects() == once_each(STATUS)


def test_an_answer_is_replayed_by_every_server_that_is_started_anew(stocked, effects):
    def answers(end: Callable[[Server], None]) -> list[httpx.Response]:
        with Server(stocked, preload=True) as server, server.client() as client:
            found = [client.post(path, **asked(path)) for path in STATUS]
            end(server)
        return found

    first = answers(Server.stop)
    after_a_stop = answers(Server.kill)
    after_a_kill = answers(Server.stop)

    assert [answer.status_code for answer in first] == list(STATUS.values())
    assert [answer.json() for answer in first] == [
        order_of(stocked, answer) for answer in first
    ]
    assert not any(map(is_replayed, first))
    assert all(map(is_replayed, after_a_stop + after_a_kill))
    assert list(map(told, after_a_stop)) == list(map(told, first))
    assert list(map(told, after_a_kill)) == list(map(told, first))
    assert effects() == once_each(STATUS)


@by_path
def test_a_request_cut_off_by_the_end_of_its_server_is_done_once_by_the_next(
    stocked, effects, blow, path
):
    with (
        ThreadPoolExecutor(1) as pool,
        Server(stocked, blow=blow.file) as server,
        server.client() as client,
    ):
        blow.at(Point.FLUSHED, by=signal.SIGSTOP)
        cut_off = pool.submit(client.post, path, **asked("k"))
        eventually(lambda: blow.struck, saying="the worker is frozen")
        server.kill()
        error = cut_off.exception(PATIENCE)
    with Server(stocked) as server:
        first, again = insistently(server, path, "k")

    assert isinstance(error, httpx.TransportError)
    assert (first.status_code, is_replayed(first)) == (STATUS[path], path == CHECKOUTS)
    assert first.json() == order_of(stocked, first)
    assert (told(again), is_replayed(again)) == (told(first), True)
    assert effects() == once_each([path])
