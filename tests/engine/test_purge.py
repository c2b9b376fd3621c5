"""Purging: ended runs go with all that belongs to them; nothing else does."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy import event
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column

from operon import Retry
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.errors import MisuseError
from operon.errors import RunCancelledError
from operon.errors import RunNotFoundError
from operon.models import Attempt
from operon.models import Checkpoint
from operon.models import Event
from operon.models import Message
from operon.models import StreamItem
from operon.models import WorkflowRun
from operon.testing import TurnedClock
from tests.engine.facts import count
from tests.engine.facts import insert_order
from tests.engine.turned import HOUR
from tests.engine.turned import SOON
from tests.engine.turned import Gate
from tests.engine.turned import await_status
from tests.engine.turned import turn
from tests.processes import eventually
from tests.shop import Order
from tests.shop import create_shop
from tests.shop import happen
from tests.shop import happened

BELONGINGS = (WorkflowRun, Checkpoint, Attempt, Message, Event, StreamItem)
MONTH = 720 * HOUR


class PurgeFull(Workflow):
    """Leaves something in every table."""

    @step
    def write_one(self, session: Session) -> None:
        insert_order(session, current().run_id)

    @activity(retry=Retry(attempts=2, delay=timedelta(milliseconds=1)))
    def ask(self) -> str:
        if current().attempt == 1:
            raise LookupError
        return happen(current().run_id)

    def run(self) -> str:
        self.write_one()
        self.send(current().run_id, "talk", 1)
        self.publish("key", 1)
        self.write("log", 1)
        return self.ask()


class PurgeSleeps(Workflow):
    def run(self) -> None:
        self.sleep(10 * MONTH)


class PurgePlain(Workflow):
    def run(self) -> int:
        return 1


class PurgeCalls(Workflow):
    """PurgeCalls a child that ends, then waits for long."""

    def run(self) -> None:
        self.call(PurgeFull())
        self.call(PurgeSleeps())


@pytest.fixture
def operon(make_operon, database):
    """An Operon on a turned clock, whose runs are suspended at once when they wait."""
    operon = make_operon(database.url, clock=TurnedClock(), inline_wait=timedelta(0))
    create_shop(operon.engine, "book")
    return operon


def rows(operon) -> list[int]:
    """Return how many rows there are, table by table."""
    with Session(operon.engine) as session:
        return [
            session.scalar(select(func.count()).select_from(model)) or 0
            for model in BELONGINGS
        ]


def ids(operon) -> list[str]:
    with Session(operon.engine) as session:
        return list(session.scalars(select(WorkflowRun.id).order_by(WorkflowRun.id)))


def test_an_ended_run_goes_with_all_that_belongs_to_it(operon, ledger):
    operon.run(PurgeFull(), id="r")
    assert rows(operon) == [1, 5, 1, 1, 1, 1]
    turn(operon, 2 * HOUR)

    purged = operon.purge(HOUR)

    assert (purged.removed, purged.referenced) == (1, 0)
    assert rows(operon) == [0] * 6
    assert count(operon, Order, run_id="r") == 1
    with pytest.raises(RunNotFoundError):
        operon.handle("r").result()


def test_what_has_not_ended_for_long_enough_stays_whole(operon, ledger):
    operon.run(PurgeFull(), id="old")
    turn(operon, 2 * HOUR)
    operon.run(PurgeFull(), id="young")

    assert operon.purge(HOUR).removed == 1

    assert ids(operon) == ["young"]
    assert rows(operon) == [1, 5, 1, 1, 1, 1]
    assert operon.handle("young").result() == "paid young"


@pytest.mark.parametrize("ending", ["succeeded", "failed", "cancelled", "dead"])
def test_runs_go_however_they_ended(operon, ending):
    class Ends(Workflow):
        def run(self) -> None:
            if ending == "failed":
                raise LookupError
            if ending == "dead":
                raise SystemExit
            if ending == "cancelled":
                self.sleep(HOUR)

    operon.launch()
    operon.start(Ends(), id="r")
    if ending == "cancelled":
        await_status(operon, "r", "waiting")
        operon.cancel("r")
    await_status(operon, "r", ending)

    assert operon.purge(timedelta(0)).removed == 1
    assert rows(operon) == [0] * 6


def test_no_live_run_goes_however_old_it_is(operon):
    operon.start(PurgeSleeps(), id="enqueued", delay=20 * MONTH)
    operon.launch()
    operon.start(PurgeSleeps(), id="waiting")
    await_status(operon, "waiting", "waiting")
    gate = Gate()

    class Asks(Workflow):
        @activity
        def ask(self) -> None:
            gate.wait()

        def run(self) -> None:
            self.ask()

    handle = operon.start(Asks(), id="running")
    await_status(operon, "running", "running")
    turn(operon, MONTH)
    try:
        assert operon.purge(timedelta(0)).removed == 0
        assert ids(operon) == ["enqueued", "running", "waiting"]
    finally:
        gate.open()
    handle.result(SOON)


def test_ended_children_of_a_live_run_stay_until_it_has_ended(operon, ledger):
    class Grandparent(Workflow):
        def run(self) -> None:
            self.call(PurgePlain())
            self.call(PurgeCalls())

    operon.launch()
    operon.start(Grandparent(), id="g")
    eventually(lambda: operon.find_run("g/3/3") is not None)
    await_status(operon, "g/3/3", "waiting")
    turn(operon, MONTH)

    assert operon.purge(HOUR).removed == 0
    operon.cancel("g")
    for run_id in ("g", "g/3", "g/3/3"):
        await_status(operon, run_id, "cancelled")
    turn(operon, 2 * HOUR)

    assert operon.purge(HOUR).removed == 5
    assert rows(operon) == [0] * 6


def test_an_ended_parent_goes_and_its_live_child_stays(operon):
    class Starts(Workflow):
        def run(self) -> None:
            self.start(PurgeSleeps())

    operon.launch()
    operon.start(Starts(), id="r").result(SOON)
    await_status(operon, "r/1", "waiting")
    turn(operon, 2 * HOUR)

    assert operon.purge(HOUR).removed == 1
    assert ids(operon) == ["r/1"]
    operon.cancel("r/1")
    await_status(operon, "r/1", "cancelled")


# --- referenced rows


class Base(DeclarativeBase):
    pass


class Invoice(Base):
    __tablename__ = "invoices"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey(WorkflowRun.id))


def refer(operon, *run_ids: str) -> None:
    """Let rows of the application refer to *run_ids*, as SQLite can be told to."""
    if operon.engine.dialect.name == "sqlite":
        event.listen(operon.engine, "connect", _enforce_keys)
        operon.engine.dispose()
    with operon.engine.begin() as connection:
        Invoice.__table__.create(connection)
    with Session(operon.engine) as session, session.begin():
        session.add_all(Invoice(run_id=run_id) for run_id in run_ids)


def _enforce_keys(connection: Any, _: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")


@pytest.mark.parametrize("batch", [1, 2, 3, 500])
def test_runs_that_the_application_refers_to_stay_and_are_told(operon, ledger, batch):
    everything = [f"r{number}" for number in range(8)]
    for run_id in everything:
        operon.run(PurgeFull(), id=run_id)
    refer(operon, "r2", "r3", "r7")
    turn(operon, 2 * HOUR)

    purged = operon.purge(HOUR, batch=batch)

    assert (purged.removed, purged.referenced) == (5, 3)
    assert ids(operon) == ["r2", "r3", "r7"]
    assert rows(operon) == [3, 15, 3, 3, 3, 3]
    assert operon.handle("r3").result() == "paid r3"
    with Session(operon.engine) as session, session.begin():
        session.query(Invoice).delete()
    assert operon.purge(HOUR).removed == 3


@pytest.mark.timeout(10)
def test_a_chain_whose_first_run_is_referred_to_tells_what_became_of_it(operon):
    class Goes(Workflow):
        number: int = 1

        def run(self) -> int:
            if self.number == 1:
                self.continue_as(Goes(2))
            return self.number

    operon.run(Goes(), id="root")
    refer(operon, "root")
    turn(operon, 2 * HOUR)
    operon.purge(HOUR)
    assert ids(operon) == ["root"]

    with pytest.raises(RunNotFoundError):
        operon.handle("root").status()


# --- batches


def test_runs_are_removed_in_batches_and_the_progress_tells_how_far_it_is(
    operon, ledger
):
    for number in range(7):
        operon.run(PurgePlain(), id=f"r{number}")
    turn(operon, 2 * HOUR)
    seen: list[tuple[int, int]] = []

    purged = operon.purge(
        HOUR, batch=3, progress=lambda done, total: seen.append((done, total))
    )

    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert purged.removed == 7


def test_a_purge_cut_between_batches_goes_on_when_called_again_and_reruns_nothing(
    operon, ledger
):
    for number in range(6):
        operon.run(PurgeFull(), id=f"r{number}")
    turn(operon, 2 * HOUR)

    with pytest.raises(KeyboardInterrupt):
        operon.purge(HOUR, batch=2, progress=_die)
    assert ids(operon) == ["r2", "r3", "r4", "r5"]
    assert rows(operon) == [4, 20, 4, 4, 4, 4]
    assert operon.run(PurgeFull(), id="r3") == "paid r3"
    operon.launch()

    assert operon.purge(HOUR, batch=2).removed == 4
    assert rows(operon) == [0] * 6
    assert sorted(happened(ledger)) == [f"r{number}" for number in range(6)]
    assert count(operon, Order) == 6


def _die(*_: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("table", ["checkpoints", "attempts", "messages", "streams"])
def test_a_purge_cut_within_a_batch_has_removed_whole_runs_only(operon, ledger, table):
    for number in range(4):
        operon.run(PurgeFull(), id=f"r{number}")
    turn(operon, 2 * HOUR)
    left = [2]

    def die(_c, _cursor, statement, *_: object) -> None:
        if statement.startswith(f"DELETE FROM operon_{table}"):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    event.listen(operon.engine, "before_cursor_execute", die)
    with pytest.raises(KeyboardInterrupt):
        operon.purge(HOUR, batch=2)
    event.remove(operon.engine, "before_cursor_execute", die)

    assert rows(operon) == [2, 10, 2, 2, 2, 2]
    assert operon.purge(HOUR).removed == 2
    assert rows(operon) == [0] * 6
    assert len(happened(ledger)) == 4


def test_a_run_that_somebody_has_locked_is_left_for_the_next_time(
    make_operon, postgres_database
):
    operon = make_operon(postgres_database.url)
    for run_id in "abc":
        operon.run(PurgePlain(), id=run_id)

    with Session(operon.engine) as session:
        session.get_one(WorkflowRun, "b", with_for_update=True)
        assert operon.purge(timedelta(0)).removed == 2
        session.rollback()
    assert ids(operon) == ["b"]
    assert operon.purge(timedelta(0)).removed == 1


def test_a_purge_is_asked_for_nothing_and_does_nothing(operon):
    seen: list[Any] = []

    purged = operon.purge(HOUR, progress=lambda *told: seen.append(told))

    assert (purged.removed, purged.referenced, seen) == (0, 0, [])


@pytest.mark.parametrize(
    "asked",
    [
        {"older_than": timedelta(seconds=-1)},
        {"older_than": 30},
        {"older_than": None},
        {"older_than": HOUR, "batch": 0},
        {"older_than": HOUR, "batch": -1},
    ],
)
def test_a_purge_of_what_cannot_be_meant_is_refused(operon, asked):
    operon.run(PurgePlain(), id="r")

    with pytest.raises(MisuseError, match=r"operon\.purge"):
        operon.purge(**asked)
    assert ids(operon) == ["r"]


def test_an_id_that_was_purged_may_be_used_again(operon, ledger):
    operon.run(PurgeFull(), id="r")
    operon.purge(timedelta(0))

    assert operon.run(PurgeFull(), id="r") == "paid r"
    assert len(happened(ledger)) == 2


def test_purging_needs_no_knowledge_of_the_workflow(operon, make_operon, database):
    """A run that was cancelled before it began is removed by another process."""
    operon.start(PurgePlain(), id="r")
    operon.cancel("r")
    with pytest.raises(RunCancelledError):
        operon.handle("r").result(SOON)
    other = make_operon(database.url)

    assert other.purge(timedelta(0)).removed == 1
    assert operon.find_run("r") is None


def test_a_schedule_does_not_fire_a_purged_tick_again(operon):
    operon.schedule("0 * * * *", PurgePlain(), name="hourly", catch_up="all")
    operon.launch()
    turn(operon, 3 * HOUR)
    eventually(lambda: len(operon.list_runs(workflow="PurgePlain")) == 3)
    for each in operon.list_runs(workflow="PurgePlain"):
        await_status(operon, each.id, "succeeded")
    assert operon.purge(timedelta(0)).removed == 3
    turn(operon, HOUR)
    eventually(lambda: operon.list_runs(attributes={"schedule": "hourly"}))

    assert len(operon.list_runs(attributes={"schedule": "hourly"})) == 1
