"""PostgreSQL itself is killed under load: nothing is lost, nothing is stranded.

`synchronous_commit` is off for finishes and for starts that a step follows, so a
crash of the server may undo both; whoever executed them must notice and go on.
"""

import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy import create_engine
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.points import Point
from operon.status import RunStatus
from tests.acceptance.storm import SKUS
from tests.fix_db import Database
from tests.fix_db import _migrate
from tests.postgres import PostgresServer
from tests.processes import Child
from tests.processes import eventually
from tests.shop import Checkout
from tests.shop import Order
from tests.shop import Payment
from tests.shop import Product
from tests.shop import ThreeSteps
from tests.shop import create_shop
from tests.shop import happened

CRASHES = 5
STOCK = 1000


@dataclass(frozen=True)
class Crashing:
    """A migrated database with a shop, on a server that may be killed."""

    server: PostgresServer
    url: str
    engine: Engine
    """Looks at what is committed, each time by a connection of its own."""

    def crash(self) -> None:
        """Kill the server and start it again."""
        self.server.kill()
        self.server.start()

    def status(self, run_id: str) -> RunStatus | None:
        """Return what the row of *run_id* says; None if there is none."""
        with Session(self.engine) as session:
            run = session.get(WorkflowRun, run_id)
            return None if run is None else run.status


@pytest.fixture
def crashing(own_server):
    own_server.create_database("crashing")
    database = Database(own_server.url("crashing"), "postgresql")
    _migrate(database)
    engine = create_engine(database.url, poolclass=NullPool)
    create_shop(engine, "book", *SKUS, stock=STOCK)
    return Crashing(own_server, database.url, engine)


@pytest.mark.slow
def test_work_goes_on_by_itself_after_each_crash_of_the_server(make_operon, crashing):
    engine = crashing.engine
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    operon = make_operon(crashing.url)
    acknowledged: list[str] = []
    enough = threading.Event()

    def keep_starting() -> None:
        """Start runs all the time, as a web application would."""
        while not enough.is_set():
            number = len(acknowledged)
            run_id = f"storm-{number:03}"
            operon.start(ThreeSteps(SKUS[number % len(SKUS)]), id=run_id)
            acknowledged.append(run_id)
            enough.wait(0.02)

    starter = threading.Thread(target=keep_starting)
    arguments = [crashing.url, 20, 0.5]
    with ExitStack() as stack:
        programs = [
            stack.enter_context(Child("tests.acceptance.worker", arguments))
            for _ in range(2)
        ]
        stack.callback(starter.join)
        stack.callback(enough.set)
        starter.start()
        down = 0.0
        for _ in range(CRASHES):
            wanted = _progress(engine) + chance.randint(20, 60)
            eventually(lambda: _progress(engine) >= wanted)  # noqa: B023 - called at once
            began = time.monotonic()
            crashing.crash()
            down = max(down, time.monotonic() - began)
        wanted = _progress(engine) + 30  # it goes on after the last one, too
        eventually(lambda: _progress(engine) >= wanted, timeout=30)
        enough.set()
        starter.join()
        runs = len(acknowledged)
        eventually(lambda: _succeeded(engine) == runs, timeout=40)
        assert all(each.running for each in programs)

    _assert_everything_happened_once(engine, acknowledged)
    print(f"{runs} runs, {CRASHES} crashes, down for {down:.1f} s at most")


def _progress(engine) -> int:
    return _count(engine, select(func.count()).select_from(Checkpoint))


def _succeeded(engine) -> int:
    done = WorkflowRun.status == RunStatus.SUCCEEDED
    return _count(engine, select(func.count()).where(done))


def _count(engine, query) -> int:
    with suppress(SQLAlchemyError), Session(engine) as session:
        return session.scalar(query) or 0
    return 0


def _assert_everything_happened_once(engine, ids: list[str]) -> None:
    with Session(engine) as session:
        runs = list(session.scalars(select(WorkflowRun)))
        assert sorted(run.id for run in runs) == sorted(ids)
        assert {run.recoveries for run in runs} == {0}  # nobody was ever gone
        orders = list(session.scalars(select(Order)))
        assert sorted(each.run_id for each in orders) == sorted(ids)
        payments = session.scalars(select(Payment.order_id))
        assert sorted(payments) == sorted(each.id for each in orders)
        stock = session.scalar(select(func.sum(Product.stock)))
        assert stock == STOCK * (len(SKUS) + 1) - len(ids)
        recorded = session.execute(select(Checkpoint.run_id, Checkpoint.position))
        assert Counter(tuple(row) for row in recorded) == {
            (run_id, position): 1 for run_id in ids for position in (1, 2, 3)
        }


@pytest.fixture
def forgetful(crashing):
    """The server writes asynchronous commits only after a long while."""
    execute = crashing.server.execute
    execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    execute("ALTER SYSTEM SET wal_writer_flush_after = '1GB'")
    execute("SELECT pg_reload_conf()")
    return crashing


@pytest.mark.parametrize("launched", [False, True], ids=["alone", "launched"])
def test_a_finish_lost_by_a_crash_is_sent_again(
    make_operon, forgetful, ledger, launched
):
    """`run` had its answer; the row must come to say the same, by itself."""

    def crash(point: Point, run_id: str) -> None:
        if point is Point.FINISHED and run_id == "r" and not crashes:
            crashes.append(point)
            forgetful.server.kill()

    crashes: list[Point] = []
    operon = make_operon(
        forgetful.url,
        probe=crash,
        heartbeat=timedelta(milliseconds=200),
        lease=timedelta(seconds=20),
    )
    operon.run(ThreeSteps("book"), id="before")
    if launched:
        operon.launch()
    # what was written up to here is on disk, and the keeper has nothing to confirm
    services = operon._process.ready().services
    eventually(lambda: not services.finisher.unconfirmed())
    order_id = operon.run(Checkout("book"), id="r")
    forgetful.server.start()
    lost = forgetful.status("r") is RunStatus.RUNNING

    eventually(lambda: forgetful.status("r") is RunStatus.SUCCEEDED)

    assert lost, "the crash came too late: this test has tested nothing"
    with Session(forgetful.engine) as session:
        assert session.get_one(WorkflowRun, "r").output == str(order_id)
        orders = session.scalars(select(Order.id).where(Order.run_id == "r"))
        assert list(orders) == [order_id]
    assert len(happened(ledger)) == 1
    assert operon.run(Checkout("book"), id="r") == order_id


def test_a_start_lost_by_a_crash_before_its_first_step_begins_anew(
    make_operon, forgetful, ledger
):
    lost: list[bool] = []

    def crash(point: Point, run_id: str) -> None:
        if point is Point.BEGAN and run_id == "r" and not lost:
            forgetful.crash()
            lost.append(forgetful.status("r") is None)

    operon = make_operon(forgetful.url, probe=crash)
    operon.run(ThreeSteps("book"), id="before")
    services = operon._process.ready().services
    eventually(lambda: not services.finisher.unconfirmed())  # no commit is to come

    order_id = operon.run(Checkout("book"), id="r")

    assert lost == [True], "the crash came too late: this test has tested nothing"
    with Session(forgetful.engine) as session:
        orders = session.scalars(select(Order.id).where(Order.run_id == "r"))
        assert list(orders) == [order_id]
    assert operon.get_run("r").status is RunStatus.SUCCEEDED
    assert len(happened(ledger)) == 1


@pytest.mark.parametrize("point", [Point.BEGAN, Point.RECORDED, Point.COMMITTED])
def test_an_acknowledged_step_survives_a_crash_at_any_point_of_the_next(
    make_operon, crashing, ledger, point
):
    crashes: list[Point] = []

    def crash(reached: Point, run_id: str) -> None:
        if reached is point and _progress(crashing.engine) == 2 and not crashes:
            crashes.append(reached)
            crashing.crash()

    operon = make_operon(crashing.url, probe=crash)
    operon.run(Checkout("book"), id="r")

    assert crashes == [point]
    with Session(crashing.engine) as session:
        orders = session.scalars(select(Order.id).where(Order.run_id == "r"))
        assert len(list(orders)) == 1
    assert [each.position for each in operon.list_steps("r")] == [1, 2, 3]
    assert len(happened(ledger)) <= 2
