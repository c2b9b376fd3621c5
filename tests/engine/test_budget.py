"""What a run costs: statements and commits, counted exactly, and on the wire."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon import step
from tests.sent import Sent
from tests.sent import watching
from tests.shop import Order
from tests.shop import ThreeSteps
from tests.shop import create_shop
from tests.shop import place


@dataclass
class Count:
    statements: list[str] = field(default_factory=list)
    commits: int = 0


@contextmanager
def counting(engine: Engine) -> Iterator[Count]:
    """Count what this thread sends on *engine* within the block.

    The heartbeat's and keeper's few statements a second belong to no run.
    """
    count, here = Count(), threading.get_ident()

    def execute(sent: Sent) -> None:
        if threading.get_ident() == here and not sent.text.startswith("BEGIN"):
            count.statements.append(sent.text)
            count.commits += sent.commits

    def commit(_: object) -> None:
        count.commits += threading.get_ident() == here

    event.listen(engine, "commit", commit)
    try:
        with watching(engine, execute):
            yield count
    finally:
        event.remove(engine, "commit", commit)


class Inserts(Workflow):
    """Some steps, each of which sends exactly one statement of its own."""

    steps: int

    @step
    def insert(self, session: Session, number: int) -> None:
        session.add(Order(sku="book", quantity=number, run_id="r"))

    def run(self) -> None:
        for number in range(self.steps):
            self.insert(number)


@pytest.fixture
def quiet(make_operon, database) -> Operon:
    """An Operon that has done everything once before it is counted."""
    operon = make_operon(database.url)
    create_shop(operon.engine, "book")
    operon.run(ThreeSteps("book"))  # the pool, the prepared statements, the first beat
    return operon


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_run_costs_one_statement_and_one_commit_a_step_and_two_for_itself(
    quiet, steps
):
    with counting(quiet.engine) as count:
        quiet.run(Inserts(steps))

    own = [each for each in count.statements if "INSERT INTO orders" not in each]
    assert len(own) == steps + 2, own
    assert len([each for each in own if "operon_checkpoints" in each]) == steps
    assert count.commits == steps + 2  # those of start and finish are not waited for


def test_a_transaction_costs_two_statements_and_one_commit(quiet):
    with counting(quiet.engine) as count:
        quiet.run(place("book"))

    own = [each for each in count.statements if "INSERT INTO orders" not in each]
    assert len(own) == 2, own
    assert count.commits == 1


def test_a_replayed_run_costs_one_query_and_no_business_statement(quiet):
    quiet.run(Inserts(3), id="replayed")

    with counting(quiet.engine) as count:
        quiet.run(Inserts(3), id="replayed")

    assert not [each for each in count.statements if "orders" in each]
    assert not [each for each in count.statements if "INTO operon_checkpoints" in each]


def test_the_record_and_commit_reach_postgresql_in_one_flush(wire, wired_operon):
    wired_operon.run(place("book"))
    wire.reset()
    wired_operon.run(place("book"))

    assert wire.commits == 1
    # BEGIN and the run's row; the user's INSERT; the checkpoint and COMMIT
    assert wire.round_trips == 3


@pytest.fixture
def still(wire, make_operon, postgres_database) -> Operon:
    """An Operon with one connection for steps, whose background sends nothing."""
    url = wire.url(postgres_database.url)
    operon = make_operon(
        create_engine(url, pool_size=1, max_overflow=0),
        heartbeat=timedelta(days=100),
        lease=timedelta(days=300),
    )
    create_shop(operon.engine, "book")
    operon.run(Inserts(2))  # the finish keeps the connection of the steps
    operon.run(Inserts(2))
    return operon


def trips(wire, operon: Operon) -> int:
    """Return the round trips of one run, some of which may be the heartbeat's.

    The wire takes its time, as real ones do: libpq writes at each sync, and an answer
    to the first of two writes must not be back before the second is made.
    """
    wire.delay = 0.02
    wire.reset()
    operon.run(Inserts(1))
    return int(wire.round_trips)


def test_the_runs_row_and_begin_cost_one_round_trip(wire, still):
    # the run's row and BEGIN; the user's INSERT; the checkpoint and COMMIT; the finish
    assert min(trips(wire, still) for _ in range(5)) == 4


def test_reading_between_runs_costs_them_nothing(wire, still):
    counted: list[int] = []
    for _ in range(5):
        still.list_runs()  # on the connection of the step
        counted.append(trips(wire, still))

    assert min(counted) == 4
