"""What becomes of the rows that are there when the tables change."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest
from sqlalchemy import insert
from sqlalchemy import inspect
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import schema
from operon.models import Checkpoint
from operon.models import Event
from operon.models import Message
from operon.models import QueuePartition
from operon.models import QueueRecord
from operon.models import ScheduleRecord
from operon.models import StreamItem
from operon.models import WorkflowRun
from operon.status import RunStatus
from tests.migrations.facts import check
from tests.migrations.facts import describe

NOON = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)

RUNNING = {
    "id": "running",
    "workflow": "Checkout",
    "version": 2,
    "status": RunStatus.RUNNING,
    "queue": "slow",
    "priority": -3,
    "input": '{"sku": "Öl"}',
    "output": None,
    "error": None,
    "codec": "vault",
    "outcome_codec": None,
    "fingerprint": "0" * 64,
    "principal": {"sub": "ada", "scopes": ["shop"]},
    "attributes": {"order": 7},
    "parent_id": "parent",
    "root_id": "root",
    "forked_from": "fork",
    "executor": "executor",
    "epoch": 4,
    "recoveries": 1,
    "cancel_requested_at": LATER,
    "due_at": NOON,
    "created_at": NOON,
    "started_at": LATER,
    "finished_at": None,
    "code_version": "1.2.3",
}
ENQUEUED = RUNNING | {
    "id": "enqueued",
    "status": RunStatus.ENQUEUED,
    "codec": None,
    "principal": None,
    "attributes": None,
    "parent_id": None,
    "root_id": None,
    "forked_from": None,
    "executor": None,
    "epoch": 0,
    "recoveries": 0,
    "cancel_requested_at": None,
    "started_at": None,
    "code_version": None,
}
ENQUEUED_TOO = ENQUEUED | {"id": "enqueued too"}
SUCCEEDED = RUNNING | {
    "id": "succeeded",
    "status": RunStatus.SUCCEEDED,
    "output": "null",
    "outcome_codec": "vault",
    "finished_at": LATER,
}
FAILED = SUCCEEDED | {
    "id": "failed",
    "status": RunStatus.FAILED,
    "output": None,
    "error": '{"type": "ValueError"}',
}
RUNS = [ENQUEUED, ENQUEUED_TOO, FAILED, RUNNING, SUCCEEDED]

STEP = {
    "run_id": "running",
    "position": 1,
    "kind": "step",
    "name": "reserve",
    "epoch": 3,
    "output": "[1, null]",
    "error": None,
    "codec": "vault",
    "attempts": 2,
    "isolation": "SERIALIZABLE",
    "executor": "executor",
    "started_at": NOON,
    "finished_at": LATER,
    "transaction_id": 2**40,
    "snapshot": "10:20:10,14",
}
ACTIVITY = STEP | {
    "position": 2,
    "kind": "activity",
    "name": "pay",
    "output": None,
    "error": '{"type": "Refused"}',
    "codec": None,
    "isolation": None,
    "transaction_id": None,
    "snapshot": None,
}
CHECKPOINTS = [STEP, ACTIVITY]

WAITING = {
    "partition": "ada",
    "deduplication_key": "deduplication",
    "debounce_key": "debounce",
    "chain_id": "first",
    "continued_as": "next",
    "timeout": timedelta(minutes=90),
    "deadline_at": LATER,
    "wait_kind": "receive",
    "wait_on": "first",
    "wait_key": "topic",
    "wait_position": 3,
    "wait_until": LATER,
    "wake_at": LATER,
}
"""What operon_0002 adds to a run."""
OPEN = {"open_from": 1}
"""What it adds to a checkpoint."""


@pytest.fixture
def engine(empty_database):
    return empty_database.engine()


def create_around():
    """Return a row of each table that operon_0002 adds."""
    times = {"created_at": NOON, "updated_at": NOON}
    return [
        Message(run_id="running", topic="paid", message="1", sent_at=NOON),
        Event(run_id="running", key="total", value="1", published_at=NOON),
        StreamItem(
            run_id="running", stream="log", offset=0, value="1", written_at=NOON
        ),
        QueueRecord(name="slow", partitioned=True, **times),
        QueuePartition(queue="slow", partition="ada"),
        ScheduleRecord(
            name="nightly",
            cron="0 3 * * *",
            timezone="Europe/Berlin",
            workflow="Checkout",
            version=2,
            input="{}",
            takes_tick=True,
            queue="slow",
            catch_up="one",
            last_tick_at=NOON,
            next_at=LATER,
            **times,
        ),
    ]


def write(engine, runs, checkpoints):
    """Insert rows with these columns and no others, as code of their revision does."""
    with engine.begin() as connection:
        for row in runs:
            connection.execute(insert(WorkflowRun).values(row))
        for row in checkpoints:
            connection.execute(insert(Checkpoint).values(row))


def read(engine, entity, columns):
    """Return *columns* of all rows of *entity*, in the order of their keys."""
    table = entity.__table__
    query = select(*(table.c[name] for name in columns)).order_by(*table.primary_key)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def read_columns(engine, entity):
    """Return the names of the columns that *entity*'s table has now."""
    columns = inspect(engine).get_columns(entity.__tablename__)
    return {column["name"] for column in columns}


def test_the_second_revision_keeps_rows_and_adds_nulls_to_them(engine):
    schema.upgrade(engine, "operon_0001")
    assert read_columns(engine, WorkflowRun) == set(RUNNING)
    assert read_columns(engine, Checkpoint) == set(STEP)
    write(engine, RUNS, CHECKPOINTS)

    schema.upgrade(engine, "operon_0002")

    assert read_columns(engine, WorkflowRun) == {*RUNNING, *WAITING}
    assert read_columns(engine, Checkpoint) == {*STEP, *OPEN}
    assert read(engine, WorkflowRun, RUNNING | WAITING) == [
        row | dict.fromkeys(WAITING) for row in RUNS
    ]
    assert read(engine, Checkpoint, STEP | OPEN) == [
        row | dict.fromkeys(OPEN) for row in CHECKPOINTS
    ]


def test_the_mappings_read_the_rows_of_the_first_revision(engine):
    schema.upgrade(engine, "operon_0001")
    write(engine, RUNS, CHECKPOINTS)

    schema.upgrade(engine)

    with Session(engine) as session:
        run = session.get_one(WorkflowRun, "running")
        history = [(each.position, each.name) for each in run.checkpoints]
        assert (run.status, run.due_at) == (RunStatus.RUNNING, NOON)
        assert history == [(1, "reserve"), (2, "pay")]


def test_the_first_revision_keeps_its_part_of_the_rows(engine):
    schema.upgrade(engine, "operon_0001")
    fresh = describe(engine)
    schema.upgrade(engine)
    fill(engine)

    schema.downgrade(engine, "operon_0001")

    assert read(engine, WorkflowRun, RUNNING) == RUNS
    assert read(engine, Checkpoint, STEP) == CHECKPOINTS
    assert fresh == describe(engine)


def test_comes_up_again_with_its_rows_after_a_downgrade(engine):
    schema.upgrade(engine)
    fill(engine)
    once = describe(engine)

    schema.downgrade(engine, "operon_0001")
    schema.upgrade(engine)

    assert read(engine, WorkflowRun, RUNNING | WAITING) == [
        row | dict.fromkeys(WAITING) for row in RUNS
    ]
    assert read(engine, Checkpoint, STEP | OPEN) == [
        row | dict.fromkeys(OPEN) for row in CHECKPOINTS
    ]
    for row in create_around():
        assert read(engine, type(row), row.__table__.primary_key.columns.keys()) == []
    assert once == describe(engine)
    check(engine)
    schema.verify(engine)


def fill(engine):
    """Write to every column and table that operon_0002 adds, and see it there."""
    mark = [
        row | WAITING | {"deduplication_key": row["id"], "debounce_key": row["id"]}
        for row in RUNS
    ]
    write(engine, mark, [row | OPEN for row in CHECKPOINTS])
    with Session(engine) as session, session.begin():
        session.add_all(create_around())
    assert read(engine, WorkflowRun, RUNNING | WAITING) == mark
