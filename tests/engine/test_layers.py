"""Each layer of the defence alone: the fence, the primary key, one transaction.

PostgreSQL lets somebody disturb a step while its transaction is open; on SQLite one
writer excludes the others, so there the claim comes before the step begins.
"""

import threading
from contextlib import contextmanager
from functools import partial

import pytest
from sqlalchemy import Integer
from sqlalchemy import Text
from sqlalchemy import bindparam
from sqlalchemy import case
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from operon import errors
from operon.engine.body import play
from operon.engine.run import ActiveRun
from operon.ids import new_id
from operon.points import Point
from operon.request import StartOptions
from operon.request import request
from operon.status import RunStatus
from operon.store import checkpoints
from operon.store import claims
from operon.store import finishes
from operon.store import starts
from operon.store.checkpoints import Lease
from operon.store.checkpoints import Record
from operon.store.dialect import PostgreSQL
from operon.store.direct import Direct
from operon.store.finishes import Finish
from operon.store.starts import Beginning
from tests.engine import seam
from tests.engine.facts import status
from tests.engine.seam import Disturbed
from tests.engine.seam import orders
from tests.processes import eventually
from tests.shop import Order
from tests.shop import create_shop

LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture(params=LEVELS)
def postgres_operon(request, make_operon, postgres_database):
    operon = make_operon(postgres_database.url, isolation=request.param)
    create_shop(operon.engine, "book")
    yield operon
    seam.disturb.clear()


def test_a_claim_before_the_record_refuses_the_steps_rows(postgres_operon):
    seam.disturb.append(partial(seam.take_over_and_finish, postgres_operon))

    result = postgres_operon.run(Disturbed(), id="r")

    assert result == -1  # what the new holder came to
    assert orders(postgres_operon, "r") == 0
    assert seam.checkpoints_of(postgres_operon, "r") == []


def test_a_claim_that_a_crash_of_the_server_has_lost_is_refused_under_its_epoch(
    postgres_operon,
):
    """Claims do not wait for the disk: the next one may be given the same epoch."""
    seam.disturb.append(partial(seam.lose_the_claim, postgres_operon))

    result = postgres_operon.run(Disturbed(), id="r")

    assert result == -1
    assert orders(postgres_operon, "r") == 0
    assert seam.checkpoints_of(postgres_operon, "r") == []


def test_without_the_fence_the_zombie_would_have_committed(
    postgres_operon, monkeypatch
):
    """The planted bug shows that the test above can fail."""
    mine = bindparam("held_epoch", type_=Integer)
    told = case((bindparam("held_id", type_=Text) != "", mine))
    monkeypatch.setattr(checkpoints, "FENCE", told)
    seam.disturb.append(partial(seam.take_over_and_finish, postgres_operon))

    postgres_operon.run(Disturbed(), id="r")

    assert orders(postgres_operon, "r") == 1


@pytest.mark.parametrize("end", [seam.cancel, seam.force_cancel])
def test_a_cancel_before_the_record_refuses_the_steps_rows(postgres_operon, end):
    seam.disturb.append(partial(end, postgres_operon))

    with pytest.raises(errors.RunCancelledError):
        postgres_operon.run(Disturbed(), id="r")

    assert orders(postgres_operon, "r") == 0
    kinds = [each.kind for each in seam.checkpoints_of(postgres_operon, "r")]
    assert kinds == (["cancel"] if end is seam.cancel else [])


def test_a_fence_that_reads_the_steps_snapshot_would_not_hold(
    make_operon, postgres_database, monkeypatch
):
    """FOR SHARE is what makes the fence see a claim that came later."""
    operon = make_operon(postgres_database.url, isolation="SERIALIZABLE")
    create_shop(operon.engine, "book")
    unlocked = checkpoints.FENCE.element._clone()
    unlocked._for_update_arg = None
    monkeypatch.setattr(checkpoints, "FENCE", unlocked.scalar_subquery())
    seam.disturb.append(partial(seam.take_over_and_finish, operon))

    operon.run(Disturbed(), id="r")

    assert orders(operon, "r") == 1


@contextmanager
def _apart(self, driver):
    """Send record and COMMIT one after the other, so that one can come between."""
    yield Direct(driver, self.dialect)


@pytest.mark.parametrize("change", ["claim", "cancel"])
def test_a_change_of_hands_after_the_record_waits_for_the_commit(
    make_operon, postgres_database, monkeypatch, change
):
    monkeypatch.setattr(PostgreSQL, "commits_with_last", False)
    monkeypatch.setattr(PostgreSQL, "committing", _apart)
    threads: list[threading.Thread] = []

    def disturb(point: Point, run_id: str) -> None:
        if point is not Point.RECORDED or threads:
            return
        seen.append(orders(operon, run_id))
        work = {"claim": claim_again, "cancel": seam.cancel}[change]
        threads.append(threading.Thread(target=work, args=(operon, run_id)))
        threads[0].start()
        eventually(lambda: _waits_for_a_lock(operon))

    def claim_again(operon, run_id: str) -> None:
        services = operon._process.made().services
        with services.database.transaction() as connection:
            backend, executor = services.database.backend, services.executor
            claims.claim_again(
                connection, backend, executor, run_id, clock=services.clock
            )
            claimed.append(checkpoints.history(connection, run_id))

    seen: list[int] = []
    claimed: list[list[Record]] = []
    operon = make_operon(postgres_database.url, probe=disturb)
    create_shop(operon.engine, "book")

    operon.start(Disturbed(), id="r")  # so that its row is there to be fenced
    operon.launch()
    operon.handle("r").result()
    threads[0].join()

    assert seen == [0]  # nobody saw the rows before COMMIT
    assert orders(operon, "r") == 1
    assert [each.position for each in seam.checkpoints_of(operon, "r")] == [1]
    if change == "claim":
        assert [record.name for record in claimed[0]] == ["insert"]


def _waits_for_a_lock(operon) -> bool:
    with operon.engine.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return connection.execute(text(query)).scalar() == 1


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_record_under_another_epoch_than_the_newest_is_refused(operon, epoch):
    services = _started(operon)
    with Session(operon.engine) as session:
        session.add(Order(sku="book", quantity=1, run_id="r"))
        session.flush()
        lease = Lease("r", services.executor, epoch)
        with pytest.raises(IntegrityError, match="epoch"):
            _record(services, session.connection(), lease)

    assert orders(operon, "r") == 0


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize(
    ("executor", "epoch"), [("a-stranger", 1), (None, 0), (None, 2)]
)
def test_a_finish_under_another_claim_than_the_newest_is_refused(
    operon, executor, epoch, together
):
    services = _started(operon)
    lease = Lease("r", executor or services.executor, epoch)
    how = Finish(lease=lease, status=RunStatus.SUCCEEDED, output="-1")
    with services.database.transaction() as connection:
        backend, clock = services.database.backend, services.clock
        written = finishes.finish(connection, backend, [how] * together, clock=clock)

    assert written == set()
    assert status(operon, "r") == "running"


def test_a_position_is_recorded_once_even_by_one_holder(operon):
    services = _started(operon)
    lease = Lease("r", services.executor, 1)
    with Session(operon.engine) as session, session.begin():
        session.add(Order(sku="book", quantity=1, run_id="r"))
        _record(services, session.connection(), lease)
    with Session(operon.engine) as again:
        again.add(Order(sku="book", quantity=1, run_id="r"))
        again.flush()
        with pytest.raises(IntegrityError, match=r"(?i)unique"):
            _record(services, again.connection(), lease)

    assert orders(operon, "r") == 1


def test_a_step_whose_position_is_taken_adopts_what_is_recorded(operon):
    """The position runs twice under one claim; only the primary key tells."""
    services = _started(operon)

    first, second = (
        play(
            ActiveRun(
                services,
                Disturbed.__operon__,
                Disturbed(),
                Lease("r", services.executor, 1),
            )
        )
        for _ in range(2)
    )

    assert first.output == second.output
    assert orders(operon, "r") == 1


@pytest.mark.parametrize("point", [Point.BODY_DONE, Point.FLUSHED, Point.RECORDED])
def test_rows_and_checkpoint_are_invisible_until_both_are_there(
    make_operon, database, point
):
    seen: list[tuple[int, int]] = []

    def look(reached: Point, run_id: str) -> None:
        if reached in {point, Point.COMMITTED}:
            with other.connect() as connection:
                rows = [
                    connection.scalar(text(f"SELECT count(*) FROM {table}"))
                    for table in ("orders", "operon_checkpoints")
                ]
            seen.append((rows[0], rows[1]))

    other = database.engine()
    operon = make_operon(database.url, probe=look)
    create_shop(operon.engine, "book")

    operon.run(Disturbed())

    assert seen == [(0, 0), (1, 1)]


def test_an_exception_between_flush_and_record_keeps_neither(make_operon, database):
    def crash(reached: Point, run_id: str) -> None:
        if reached is Point.FLUSHED:
            raise KeyboardInterrupt

    operon = make_operon(database.url, probe=crash)
    create_shop(operon.engine, "book")
    with pytest.raises(KeyboardInterrupt):
        operon.run(Disturbed(), id="r")

    assert orders(operon, "r") == 0
    assert seam.checkpoints_of(operon, "r") == []


def _started(operon):
    """Write the row of run `r`, held by this process under epoch 1."""
    services = operon._process.ready().services
    new = request(
        Disturbed(),
        StartOptions(id="r"),
        parent=None,
        default_id=new_id,
        payloads=services.payloads,
        code_version=None,
        trace={},
    ).new
    running = Beginning(status=RunStatus.RUNNING, executor=services.executor, epoch=1)
    with services.database.transaction() as connection:
        backend = services.database.backend
        assert starts.insert_new(
            connection, backend, new, running, clock=services.clock
        )
    return services


def _record(services, connection, lease: Lease) -> None:
    outcome = Record(position=1, kind="step", name="insert", output="1")
    checkpoints.record(
        connection,
        services.database.backend,
        lease,
        outcome,
        clock=services.clock,
        started_at=services.clock.now(),
    )
