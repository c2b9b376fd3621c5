"""Workers: short runs wait in reserve for a moment, and none of them for longer."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from operon import Operon
from operon import Workflow
from operon import activity
from operon import registry
from operon.executor.workers import Workers
from operon.store import claims
from tests.engine.facts import status
from tests.engine.hourglass import Hourglass
from tests.engine.turned import Gate
from tests.processes import eventually

gates: list[Gate] = []


class WaitsAtTheGate(Workflow):
    """Goes through the gate when that is open."""

    @activity
    def go_through(self) -> None:
        gates[-1].wait()

    def run(self) -> None:
        self.go_through()


@pytest.fixture
def operon(make_operon, database) -> Operon:
    """An Operon that claims nothing by itself, with four runs to be claimed."""
    gates.append(Gate())
    operon = make_operon(database.url, clock=Hourglass())
    for number in range(4):
        operon.start(WaitsAtTheGate(), id=f"r{number}")
    return operon


def claim(operon: Operon, most: int) -> list[claims.Claimed]:
    """Claim up to *most* of the runs for this process."""
    services = operon._process.ready().services
    with services.database.transaction() as connection:
        return claims.claim_due(
            connection,
            services.database.backend,
            services.executor,
            known=registry.known(),
            queues=["default"],
            limit=most,
            clock=services.clock,
        )


@pytest.fixture
def workers(operon) -> Iterator[Workers]:
    """One thread, which has nothing to do any more when the test is over."""
    workers = Workers(operon._process.ready().services, 1)
    yield workers
    workers.stop()
    gates[-1].open()
    eventually(lambda: workers.busy == 0)


def statuses(operon: Operon) -> list[str]:
    return [status(operon, f"r{number}") for number in range(4)]


def turn(operon: Operon, seconds: float) -> None:
    clock: Any = operon.settings.clock
    clock.turn(seconds=seconds)


def test_a_thread_that_is_done_goes_on_with_what_is_in_reserve(operon, workers):
    workers.employ(claim(operon, 4))

    assert workers.have_reserve
    assert statuses(operon) == ["running"] * 4
    gates[-1].open()
    eventually(lambda: statuses(operon) == ["succeeded"] * 4)
    eventually(lambda: workers.busy == 0)
    assert [operon.get_run(f"r{number}").epoch for number in range(4)] == [1] * 4


def test_what_is_in_reserve_for_too_long_is_given_back(operon, workers):
    workers.employ(claim(operon, 3))

    workers.give_back()
    assert statuses(operon) == ["running"] * 3 + ["enqueued"]
    turn(operon, 0.6)
    workers.give_back()

    assert statuses(operon) == ["running"] + ["enqueued"] * 3
    assert not workers.have_reserve
    gates[-1].open()
    eventually(lambda: statuses(operon) == ["succeeded"] + ["enqueued"] * 3)


def test_workers_that_stop_give_back_what_is_in_reserve_and_take_no_more(
    operon, workers
):
    claimed = claim(operon, 3)
    workers.employ(claimed[:2])

    workers.stop()
    workers.employ(claimed[2:])

    assert statuses(operon) == ["running"] + ["enqueued"] * 3


def test_there_is_room_for_as_many_as_began_in_a_tenth_of_a_second(operon, workers):
    workers.measure()
    assert workers.room == 1  # nothing is known: only a thread that is free counts

    turn(operon, 1)
    workers._begun = 1000
    workers.measure()
    assert 30 < workers.room <= 51  # the mean of none and a thousand, for a tenth

    for _ in range(10):
        turn(operon, 0.2)
        workers.measure()
    assert workers.room == 1  # none for a while


def test_a_run_in_reserve_knows_what_time_it_is(operon, workers):
    workers.employ(claim(operon, 2))
    turn(operon, 0.4)
    gates[-1].open()
    eventually(lambda: status(operon, "r1") == "succeeded")

    first, second = (operon.list_steps(run_id)[0] for run_id in ("r0", "r1"))
    waited = second.started_at - first.started_at
    assert timedelta(seconds=0.4) <= waited < timedelta(seconds=10)
