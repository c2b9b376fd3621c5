"""Operon behind a real PgBouncer in transaction mode."""

from contextlib import ExitStack
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.orm import Session

from operon import Workflow
from operon import activity
from operon.queue import Queue
from operon.queue import Rate
from tests import shop
from tests.acceptance.pgbouncer import PgBouncer
from tests.acceptance.pgbouncer import PgBouncerNotFoundError
from tests.processes import eventually

POOL = 4  # server connections for everybody
SOON = timedelta(seconds=30)


class PooledApproval(Workflow):
    """Waits for a message, naps, and tells what it heard."""

    nap: timedelta

    @activity
    def look(self) -> str:
        return "seen"

    def run(self) -> str | None:
        self.look()
        self.sleep(self.nap)
        heard = self.receive("decision", type=str, timeout=SOON)
        self.publish("heard", heard)
        return heard


class PooledChild(Workflow):
    number: int

    def run(self) -> int:
        return self.number * 2


class PooledParent(Workflow):
    def run(self) -> list[int]:
        children = [self.start(PooledChild(each), queue="q") for each in range(4)]
        return [each.result() for each in children]


@pytest.fixture
def pooled(postgres_database):
    """The URL of the test's database, leading through a PgBouncer."""
    with PgBouncer(postgres_database.url, connections=POOL) as pooler:
        yield pooler.url(postgres_database.url)


@pytest.fixture
def executors(pooled, make_operon):
    """Two executors and a starter, all of them behind the pooler."""
    queues = [Queue("q", concurrency=2), Queue("rated", rate=Rate(3, SOON))]

    def made():
        return make_operon(
            pooled,
            pooler="transaction",
            queues=queues,
            threads=6,
            inline_wait=timedelta(0),
        )

    operons = [made() for _ in range(3)]
    shop.create_shop(operons[0].engine, "book")
    for each in operons[1:]:
        each.launch()
    yield operons
    for each in operons:
        each.shutdown()
        each.engine.dispose()


def _nothing_leaked(pooled):
    """Look into every server connection, all of them at once."""
    url = make_url(pooled).set(drivername="postgresql").render_as_string()
    query = (
        "SELECT pg_backend_pid(), current_setting('synchronous_commit'), "
        "(SELECT count(*) FROM pg_prepared_statements), "
        "(SELECT count(*) FROM pg_listening_channels()), "
        "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
    )
    with ExitStack() as stack:
        rows = []
        for _ in range(POOL):
            connection = stack.enter_context(
                psycopg.connect(url, prepare_threshold=None)
            )
            rows.append(connection.execute(query).fetchone())
    return len({row[0] for row in rows}), {row[1:] for row in rows}


def test_steps_and_activities_happen_once(executors, ledger):
    starter = executors[0]
    handles = [starter.start(shop.Checkout("book"), id=f"{n}") for n in range(20)]
    orders = {each.result(timeout=SOON) for each in handles}
    with Session(starter.engine) as session:
        left = session.get_one(shop.Product, "book").stock

    assert (len(orders), left) == (20, 80)
    assert len(shop.happened(ledger)) == 20


def test_foreground_runs_pass_as_well(executors, ledger):
    starter = executors[0]
    order = starter.run(shop.Checkout("book"), id="a")

    assert starter.run(shop.Checkout("book"), id="a") == order
    assert starter.run(shop.place("book"), id="b") is not None


def test_sleeps_and_messages_wake_their_runs(executors):
    starter = executors[0]
    handles = [starter.start(PooledApproval(timedelta(seconds=0.3))) for _ in range(6)]
    eventually(lambda: all(each.status() == "waiting" for each in handles))
    for number, each in enumerate(handles):
        each.send("decision", f"yes {number}")

    assert [each.result(timeout=SOON) for each in handles] == [
        f"yes {number}" for number in range(6)
    ]
    assert handles[0].event("heard", type=str, timeout=SOON) == "yes 0"


def test_limits_hold(executors):
    starter = executors[0]
    limited = [starter.start(PooledChild(n), queue="q") for n in range(8)]
    rated = [starter.start(PooledChild(n), queue="rated") for n in range(5)]
    parent = starter.start(PooledParent())

    assert [each.result(timeout=SOON) for each in limited] == list(range(0, 16, 2))
    assert parent.result(timeout=SOON) == [0, 2, 4, 6]
    eventually(
        lambda: [each.status() for each in rated].count("succeeded") == 3,
        saying="three of the rated queue",
    )
    starter.limit_queue("rated", rate=None)
    assert [each.result(timeout=SOON) for each in rated] == [0, 2, 4, 6, 8]


def test_concurrent_starts_with_a_key_join(executors):
    starter = executors[0]
    starter.pause_queue("q")
    ids = {
        starter.start(PooledChild(1), queue="q", deduplicate="k").id for _ in range(5)
    }
    starter.resume_queue("q")

    assert len(ids) == 1
    assert starter.handle(ids.pop()).result(timeout=SOON) == 2


def test_nothing_is_left_on_the_servers_connections(executors, pooled):
    starter = executors[0]
    handles = [starter.start(shop.Checkout("book")) for _ in range(10)]
    for each in handles:
        each.result(timeout=SOON)
    executors[1].shutdown()
    executors[2].shutdown()
    for each in executors:
        each.engine.dispose()
    connections, leaked = _nothing_leaked(pooled)

    assert connections == POOL
    assert leaked == {("on", 0, 0, 0)}


def test_a_machine_without_pgbouncer_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)

    with pytest.raises(PgBouncerNotFoundError, match="apt-get install -y pgbouncer"):
        PgBouncer("postgresql://postgres@127.0.0.1/x", connections=1)
