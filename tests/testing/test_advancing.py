"""Time that a test lets pass: everything that falls due meanwhile happens in order."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest
from sqlalchemy import select

from operon import Queue
from operon import Rate
from operon import Retry
from operon import RunStatus
from operon import Workflow
from operon import activity
from operon.errors import MisuseError
from operon.errors import RunTimeoutError
from operon.models import WorkflowRun
from operon.testing import Crash
from operon.testing import DrivenClock
from operon.testing import inline

MONDAY = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SIX_HOURS = Retry(attempts=3, delay=DAY / 4, factor=1, cap=DAY, jitter=0)


class AdvanceReport(Workflow):
    """Tells the time of its start."""

    def run(self) -> datetime:
        return self.now()


class AdvanceWaits(Workflow, timeout=timedelta(hours=1)):
    """Waits for a word that nobody says."""

    def run(self) -> str:
        return self.receive("word", type=str)


class AdvanceTries(Workflow):
    """Reaches nobody, three times."""

    @activity(retry=SIX_HOURS)
    def reach(self) -> None:
        reached.append(clock.now())
        raise ConnectionError

    def run(self) -> None:
        self.reach()


class AdvanceDies(Workflow):
    """The process dies in the middle of the first attempt."""

    @activity
    def reach(self) -> int:
        reached.append(clock.now())
        if len(reached) == 1:
            raise Crash
        return len(reached)

    def run(self) -> int:
        return self.reach()


reached: list[datetime] = []
clock = DrivenClock()


@pytest.fixture
def driver(operon):
    global clock  # noqa: PLW0603 - activities have no other way to it
    clock = DrivenClock(MONDAY)
    reached.clear()
    with inline(operon, clock) as driver:
        yield driver


def _moments(operon):
    with operon.ready().services.database.reading() as connection:
        query = select(WorkflowRun.created_at).order_by(WorkflowRun.created_at)
        return [each.replace(microsecond=0) for each in connection.scalars(query)]


def test_schedules_tick_on_the_way(operon, driver):
    operon.schedule("0 9 * * 1-5", AdvanceReport(), name="weekdays", timezone="UTC")

    clock.advance(weeks=1)

    nine = MONDAY.replace(hour=9)
    assert _moments(operon) == [nine + n * DAY for n in range(5)]
    assert {each.status for each in operon.list_runs()} == {RunStatus.SUCCEEDED}


def test_attempts_are_made_at_their_moments(operon, driver):
    operon.start(AdvanceTries())

    clock.advance(hours=11)
    assert len(reached) == 2
    clock.advance(hours=2)

    assert [round((at - MONDAY) / timedelta(hours=1)) for at in reached] == [0, 6, 12]


def test_a_deadline_that_passes_ends_its_run(operon, driver):
    handle = operon.start(AdvanceWaits())

    clock.advance(minutes=59)
    assert handle.status() is RunStatus.WAITING
    clock.advance(minutes=2)

    with pytest.raises(RunTimeoutError):
        handle.result()


def test_a_rate_is_kept(make_operon, database):
    operon = make_operon(
        database.url, queues=[Queue("slowly", rate=Rate(2, timedelta(minutes=1)))]
    )
    with inline(operon, DrivenClock(MONDAY)) as driver:
        for _ in range(6):
            operon.start(AdvanceReport(), queue="slowly")
        driver.clock.advance(seconds=90)
        done = operon.list_runs(status=RunStatus.SUCCEEDED)

    assert len(done) == 4


def test_a_run_whose_process_has_died_goes_on(operon, driver):
    handle = operon.start(AdvanceDies(), id="dies")
    with pytest.raises(Crash):
        handle.result()

    assert handle.result() == 2
    assert len(reached) == 2


def test_a_year_passes(operon, driver):
    operon.schedule("0 0 1 * *", AdvanceReport(), name="monthly", timezone="UTC")

    clock.advance(days=365)

    assert len(_moments(operon)) == 12


def test_outside_of_a_drive_nothing_could_happen(operon):
    with pytest.raises(MisuseError, match="called where nothing can happen; call it"):
        DrivenClock().advance(days=1)
