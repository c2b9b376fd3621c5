"""Crashing at every boundary of a run, one after the other, changes nothing.

RELIABILITY section 4, tier 1: the events of a clean run are counted, then a process
dies by SIGKILL at each of them and another one makes the same call again.
"""

import json
import os
import signal
from collections import Counter
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.clock import SystemClock
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.points import Point
from tests import shop
from tests.processes import Child

POINTS_OF_A_RUN = set(Point) - {Point.CLAIMED, Point.LOADED}
"""`run` begins a run already claimed, with no history to load."""

REACHED = {
    "run": POINTS_OF_A_RUN,
    "launched": set(Point),
    "stumbling": POINTS_OF_A_RUN - {Point.EFFECT_DONE},
    "corresponding": POINTS_OF_A_RUN | {Point.LOADED},
    "transaction": {
        Point.BEGAN,
        Point.BODY_DONE,
        Point.FLUSHED,
        Point.RECORDED,
        Point.COMMITTED,
    },
}


def crash_everywhere(database, directory, scenario: str, *bug: str):
    """Return what the harness found: a clean run, and one crashed at each event."""
    arguments = [database.url, scenario, directory, *bug]
    with Child("tests.acceptance.boundaries", arguments) as harness:
        code = harness.wait(900)
        said = harness.output()
    assert code == 0, said
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    assert "failed" not in report["clean"], said
    return report["clean"], report["crashed"], said


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("scenario", REACHED)
def test_a_crash_at_any_event_changes_nothing(database, tmp_path, scenario):
    clean, crashed, said = crash_everywhere(database, tmp_path, scenario)

    points = {each.removeprefix("point ") for each in clean["events"]} & set(Point)
    assert points == REACHED[scenario]
    assert len(crashed) == len(clean["events"]) > 10
    for number, (where, found) in enumerate(
        zip(clean["events"], crashed, strict=True), start=1
    ):
        at = f"event {number}: {where}\n{said}"
        assert "failed" not in found, at
        assert found["died_by"] == signal.SIGKILL, at
        assert found["state"] == clean["state"], at
        assert (found["returned"], found["error"]) == (
            clean["returned"],
            clean["error"],
        ), at
        assert found["ledger"] == _effects(clean, found), at
    repeated = sum(found["ledger"] == 2 for found in crashed)
    assert 2 <= repeated <= 9 or clean["ledger"] == 0  # that window was visited
    print(f"{scenario} on {database.dialect}: {len(crashed)} events")


def _effects(clean, found) -> int:
    """Return how often the activity had to happen, given when the crash was.

    Once, unless the crash came between the effect and its record.
    """
    in_between = found["effects_before"] > found["recorded_before"]
    return clean["ledger"] + in_between * (clean["ledger"] > 0)


def test_a_checkpoint_in_its_own_transaction_would_be_found_out(database, tmp_path):
    """The planted bug shows that the loop above can fail."""
    clean, crashed, _ = crash_everywhere(database, tmp_path, "run", "checkpoint apart")

    assert clean["state"]["orders"] != crashed[-1]["state"]["orders"]
    assert len(crashed[-1]["state"]["orders"]) == 2


class HastyClock(SystemClock):
    """Waits a tenth of what it is asked to."""

    def wait(self, event, seconds):
        return super().wait(event, seconds / 10)


@pytest.fixture
def quiet(make_operon, postgres_database, wire, ledger):
    """An Operon behind the wire whose heartbeat is silent: every message is a run's."""
    operon = make_operon(
        wire.url(postgres_database.url),
        heartbeat=timedelta(days=100),
        lease=timedelta(days=300),
        clock=HastyClock(),
        threads=2,
    )
    skus = [f"sku-{n}-{after}" for n in range(300) for after in (0, 1)]
    shop.create_shop(operon.engine, "book", *skus)
    return operon


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("scenario", ["run", "transaction"])
def test_a_connection_cut_at_any_message_changes_nothing(
    quiet, postgres_database, wire, scenario, after
):
    def execute(sku: str) -> int:
        asked = shop.Checkout(sku) if scenario == "run" else shop.place(sku)
        return quiet.run(asked, id=f"run-{sku}")

    execute("book")
    engine = postgres_database.engine()  # looks past the wire
    cuts = 0
    for number in count(1):
        sku = f"sku-{number}-{int(after)}"
        wire.reset()
        fault = wire.cut_at(number, after=after)
        result = execute(sku)

        assert _rows_of(engine, sku) == _expected(result, scenario), number
        if not fault.happened.is_set():
            break
        cuts += 1

    assert cuts > (20 if scenario == "run" else 5)
    if scenario == "run":
        times = Counter(shop.happened(Path(os.environ[shop.LEDGER]))).values()
        assert len(times) == cuts + 2
        assert max(times) <= 2
        assert sum(times) - len(times) <= 12  # only where its record was cut
    print(f"{scenario}: {cuts} cuts")


def _rows_of(engine, sku: str):
    """Return everything that is committed of the run on *sku*."""
    run_id = f"run-{sku}"
    with Session(engine) as session:
        orders = list(session.scalars(select(shop.Order).filter_by(sku=sku)))
        paid = select(func.count()).where(
            shop.Payment.order_id.in_([order.id for order in orders])
        )
        positions = select(Checkpoint.position).where(Checkpoint.run_id == run_id)
        return (
            [order.id for order in orders],
            session.scalar(paid),
            session.get_one(shop.Product, sku).stock,
            list(session.scalars(positions.order_by(Checkpoint.position))),
            session.get_one(WorkflowRun, run_id).status.value,
        )


def _expected(order_id: int, scenario: str):
    if scenario == "run":
        return ([order_id], 1, 99, [1, 2, 3], "succeeded")
    return ([order_id], 0, 100, [1], "succeeded")
