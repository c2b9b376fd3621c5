"""Two hundred runs in a program that is killed again and again, at random moments."""

import random
import time

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.status import RunStatus
from tests.acceptance.storm import SKUS
from tests.acceptance.storm import run_ids
from tests.processes import Child
from tests.processes import eventually
from tests.shop import Order
from tests.shop import Payment
from tests.shop import Product
from tests.shop import create_shop

RUNS = 200
STOCK = 1000
KILLS = 32
PATIENCE = 60.0  # seconds for one bit of progress, on a busy machine

DAWDLE = {"sqlite": 0.004, "postgresql": 0.1}  # seconds at most, at each point
PROCESSES = {"sqlite": 1, "postgresql": 2}


@pytest.fixture
def seed() -> int:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return seed


@pytest.mark.slow
def test_a_program_killed_at_random_loses_and_repeats_nothing(database, seed):
    chance = random.Random(seed)
    engine = database.engine()
    create_shop(engine, *SKUS, stock=STOCK)
    began = time.monotonic()

    def program() -> Child:
        dawdle, own_seed = DAWDLE[database.dialect], chance.randrange(10**6)
        arguments = [database.url, RUNS, dawdle, own_seed]
        return Child("tests.acceptance.storm", arguments).__enter__()

    programs = [program() for _ in range(PROCESSES[database.dialect])]
    kills, survived = 0, []
    try:
        while kills < KILLS:
            before = _progress(engine)
            wanted = chance.randint(1, 16)
            eventually(
                lambda: _progress(engine) >= min(before + wanted, 3 * RUNS),  # noqa: B023 - called at once
                timeout=PATIENCE,
                saying=f"{wanted} more checkpoints\n{programs[0].output()}",
            )
            victim = programs.pop(chance.randrange(len(programs)))
            survived.append(victim.running)
            victim.__exit__(None, None, None)
            kills += 1
            programs.append(program())
        for each in programs:
            assert each.wait(PATIENCE) == 0, each.output()
    finally:
        for each in programs:
            each.__exit__(None, None, None)

    assert sum(survived) >= 30, "too few of them were killed while they worked"
    _assert_everything_happened_once(engine)
    took, again = time.monotonic() - began, _recovered(engine)
    print(f"{database.dialect}: {kills} kills, {again} taken over, {took:.1f} s")


def _progress(engine) -> int:
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(Checkpoint)) or 0


def _recovered(engine) -> int:
    with Session(engine) as session:
        query = select(func.count()).where(WorkflowRun.recoveries > 0)
        return session.scalar(query) or 0


def _assert_everything_happened_once(engine) -> None:
    with Session(engine) as session:
        runs = list(session.scalars(select(WorkflowRun)))
        assert sorted(run.id for run in runs) == run_ids(RUNS)
        assert {run.status for run in runs} == {RunStatus.SUCCEEDED}

        orders = list(session.scalars(select(Order)))
        assert sorted(order.run_id for order in orders) == run_ids(RUNS)
        assert {order.status for order in orders} == {"paid"}

        payments = list(session.scalars(select(Payment)))
        assert sorted(each.order_id for each in payments) == sorted(
            order.id for order in orders
        )
        assert sorted(each.reference for each in payments) == run_ids(RUNS)

        stock = session.scalar(select(func.sum(Product.stock)))
        assert stock == STOCK * len(SKUS) - len(orders)

        steps = session.execute(
            select(Checkpoint.run_id, Checkpoint.position, Checkpoint.name).order_by(
                Checkpoint.run_id, Checkpoint.position
            )
        )
        assert [tuple(row) for row in steps] == [
            (run_id, position, name)
            for run_id in run_ids(RUNS)
            for position, name in enumerate(("take", "pay", "close"), start=1)
        ]
