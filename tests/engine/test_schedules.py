"""Schedules: each tick starts one run, whatever happens to executors and clocks."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import Workflow
from operon import registry
from operon import transaction
from operon.errors import ConfigurationError
from operon.errors import DecodeError
from operon.errors import MisuseError
from operon.errors import UnknownScheduleError
from operon.models import ScheduleRecord
from operon.models import WorkflowRun
from operon.queue import Queue
from tests.engine.crew import Crew
from tests.engine.crew import Launcher
from tests.engine.facts import count
from tests.engine.facts import status
from tests.processes import eventually

SOON = timedelta(seconds=20)
HOURLY = "0 * * * *"
MINUTELY = "* * * * *"
HALF_PAST_NINE = datetime(2026, 3, 10, 9, 30, 5, tzinfo=UTC)


class Digest(Workflow):
    label: str = "daily"

    def run(self) -> str:
        return self.label


class Ticking(Workflow):
    tick: datetime
    label: str = "daily"

    def run(self) -> str:
        return f"{self.label} at {self.tick.isoformat()}"


class Picky(Workflow):
    label: str

    def run(self) -> None:
        pass


@transaction
def clean_up(session: Session, days: int) -> int:
    return days


@pytest.fixture(autouse=True)
def known():
    """Make the workflows of this file known, however they were declared before."""
    for declared in (Digest, Ticking, Picky):
        registry.register(declared.__operon__)


@pytest.fixture
def launcher(make_operon, database):
    return Launcher(make_operon, database.url, HALF_PAST_NINE)


@pytest.fixture
def crew(launcher):
    with Crew() as crew:
        yield crew


def _ids(operon):
    """Return the ids of all runs without what all ids begin with."""
    with Session(operon.engine) as session:
        ids = session.scalars(select(WorkflowRun.id).order_by(WorkflowRun.id))
        return [each.removeprefix("schedule/") for each in ids]


def _scheduled(launcher, cron, workflow=Digest, **options):
    """Return an executor that keeps a schedule, whose runs nobody executes."""
    operon = launcher.made()
    operon.schedule(cron, workflow, **{"queue": "unserved", **options})
    launcher.launch(operon)
    return operon


def _record(operon, name="Digest"):
    with Session(operon.engine, expire_on_commit=False) as session:
        return session.get_one(ScheduleRecord, name)


# ticks


def test_a_tick_starts_a_run_whose_id_derives_from_it(launcher):
    operon = launcher.made()
    operon.schedule("0 10 * * *", Digest)
    launcher.launch(operon)
    launcher.look_again()
    early = _ids(operon)
    launcher.clock.turn(minutes=30)
    launcher.look_again()
    run_id = "schedule/Digest/2026-03-10T10:00:00+00:00"

    assert early == []
    assert operon.handle(run_id).result(timeout=SOON) == "daily"
    assert _ids(operon) == ["Digest/2026-03-10T10:00:00+00:00"]
    assert operon.get_run(run_id).attributes == {
        "schedule": "Digest",
        "tick": "2026-03-10T10:00:00+00:00",
    }


def test_a_tick_fires_once_however_many_executors_there_are(launcher):
    operons = [_scheduled(launcher, MINUTELY) for _ in range(4)]
    for _ in range(5):
        launcher.clock.turn(minutes=1)
        launcher.look_again()

    assert _ids(operons[0]) == [
        f"Digest/2026-03-10T09:{minute}:00+00:00" for minute in range(31, 36)
    ]


def test_a_class_with_the_field_tick_gets_it(launcher):
    operon = launcher.made()
    operon.schedule(HOURLY, Ticking)
    launcher.launch(operon)
    launcher.clock.turn(minutes=30)
    launcher.look_again()
    handle = operon.handle("schedule/Ticking/2026-03-10T10:00:00+00:00")

    assert handle.result(timeout=SOON) == "daily at 2026-03-10T10:00:00+00:00"


def test_an_instance_is_the_input_of_every_run(launcher):
    operon = launcher.made()
    fixed = datetime(2020, 1, 1, tzinfo=UTC)
    operon.schedule(HOURLY, Ticking(fixed, "fixed"), name="a")
    operon.schedule(HOURLY, clean_up(30), name="b")
    launcher.launch(operon)
    launcher.clock.turn(minutes=30)
    launcher.look_again()
    a, b = (
        operon.handle(f"schedule/{name}/2026-03-10T10:00:00+00:00") for name in "ab"
    )

    assert a.result(timeout=SOON) == "fixed at 2020-01-01T00:00:00+00:00"
    assert b.result(timeout=SOON) == 30


def test_a_schedule_declared_after_the_launch_counts_at_once(launcher):
    operon = launcher.launched()
    name = operon.schedule(HOURLY, Digest, queue="unserved")
    launcher.clock.turn(minutes=30)
    launcher.look_again()

    assert name == "Digest"
    assert _ids(operon) == ["Digest/2026-03-10T10:00:00+00:00"]


def test_nothing_is_stored_before_the_launch(launcher):
    operon = launcher.made()
    operon.schedule(HOURLY, Digest)

    assert count(operon, ScheduleRecord) == 0


def test_a_schedule_outlives_the_process_that_declared_it(launcher):
    launcher.shut_down(_scheduled(launcher, HOURLY))
    operon = launcher.launched()
    launcher.clock.turn(minutes=30)
    launcher.look_again()

    assert _ids(operon) == ["Digest/2026-03-10T10:00:00+00:00"]


def test_runs_of_a_schedule_keep_to_the_limits_of_their_queue(launcher, crew):
    operon = launcher.made(Queue("q", concurrency=1))
    operon.schedule(MINUTELY, crew.Job("a"), queue="q")
    launcher.launch(operon)
    for _ in range(3):
        launcher.clock.turn(minutes=1)
        launcher.look_again()
    three = count(operon, WorkflowRun)
    eventually(lambda: crew.begun)

    assert (three, crew.most) == (3, 1)


def test_a_schedule_fires_beside_a_backlog(launcher, crew):
    operon = launcher.launched(threads=1)
    operon.pause_queue("default")
    crew.let_all()
    for number in range(30):
        operon.start(crew.Job(f"{number}"), priority=1)
    operon.schedule(MINUTELY, crew.Job("tick"))
    launcher.clock.turn(minutes=1)
    operon.resume_queue("default")
    crew.await_begun(31)

    assert crew.begun.index("tick") < 29


# missed ticks


@pytest.mark.parametrize(
    ("catch_up", "hours"), [("skip", []), ("one", [14]), ("all", range(10, 15))]
)
def test_missed_ticks_are_dealt_with_as_the_schedule_says(launcher, catch_up, hours):
    operon = _scheduled(launcher, HOURLY, catch_up=catch_up)
    launcher.shut_down(operon)
    launcher.clock.turn(hours=5)
    launcher.launch(operon)
    launcher.look_again()
    after_outage = _ids(operon)
    launcher.clock.turn(minutes=30)
    launcher.look_again()

    missed = [f"Digest/2026-03-10T{hour}:00:00+00:00" for hour in hours]
    assert after_outage == missed
    assert _ids(operon) == [*missed, "Digest/2026-03-10T15:00:00+00:00"]


def test_a_tick_that_is_noticed_within_a_minute_was_not_missed(launcher):
    operon = _scheduled(launcher, HOURLY, catch_up="skip")
    launcher.shut_down(operon)
    launcher.clock.turn(minutes=30, seconds=20)
    launcher.launch(operon)
    launcher.look_again()

    assert _ids(operon) == ["Digest/2026-03-10T10:00:00+00:00"]


@pytest.mark.parametrize(("catch_up", "most"), [("skip", 1), ("one", 1)])
def test_a_suspended_host_that_wakes_starts_no_burst(launcher, catch_up, most):
    operon = _scheduled(launcher, MINUTELY, catch_up=catch_up)
    launcher.clock.suspend(hours=8)
    launcher.look_again()
    launcher.look_again()

    assert len(_ids(operon)) <= most


def test_all_of_very_many_missed_ticks_are_started_once(launcher):
    operon = _scheduled(launcher, MINUTELY, catch_up="all")
    launcher.launched()
    launcher.clock.suspend(hours=4)
    eventually(lambda: len(_ids(operon)) >= 240)
    launcher.look_again()
    ids = _ids(operon)

    assert len(ids) == 240
    assert ids[0] == "Digest/2026-03-10T09:31:00+00:00"
    assert ids[-1] == "Digest/2026-03-10T13:30:00+00:00"


def test_a_purge_makes_no_tick_fire_again(launcher):
    operon = launcher.made()
    operon.schedule(HOURLY, Digest, catch_up="all")
    launcher.launch(operon)
    launcher.clock.turn(minutes=30)
    launcher.look_again()
    operon.handle("schedule/Digest/2026-03-10T10:00:00+00:00").result(timeout=SOON)
    launcher.clock.turn(seconds=5)
    operon.purge(timedelta(0))
    launcher.shut_down(operon)
    launcher.launch(operon)
    launcher.launched()
    launcher.look_again()

    assert _ids(operon) == []


# what an operator does


def test_a_paused_schedule_starts_nothing_and_misses_nothing(launcher):
    operon = _scheduled(launcher, HOURLY, catch_up="all")
    operon.pause_schedule("Digest")
    operon.pause_schedule("Digest")
    launcher.clock.turn(hours=3)
    launcher.look_again()
    while_paused = _ids(operon)
    operon.resume_schedule("Digest")
    launcher.look_again()
    resumed = _ids(operon)
    launcher.clock.turn(minutes=30)
    launcher.look_again()

    assert (while_paused, resumed) == ([], [])
    assert _ids(operon) == ["Digest/2026-03-10T13:00:00+00:00"]


def test_a_pause_survives_a_launch(launcher):
    operon = _scheduled(launcher, HOURLY)
    operon.pause_schedule("Digest")
    launcher.shut_down(operon)
    launcher.launch(operon)
    launcher.clock.turn(minutes=30)
    launcher.look_again()

    assert _ids(operon) == []


@pytest.mark.parametrize("paused", [False, True])
def test_a_trigger_starts_a_run_beside_the_ticks(launcher, paused):
    operon = launcher.made()
    operon.schedule(HOURLY, Ticking)
    launcher.launch(operon)
    if paused:
        operon.pause_schedule("Ticking")
    before = _record(operon, "Ticking").next_at
    first, second = (operon.trigger_schedule("Ticking") for _ in range(2))

    assert first.result(timeout=SOON).startswith("daily at 2026-03-10T09:3")
    assert first.id != second.id
    assert first.id.startswith("schedule/Ticking/trigger/")
    assert _record(operon, "Ticking").next_at == before


def test_a_removed_schedule_starts_nothing_and_its_runs_stay(launcher):
    operon = _scheduled(launcher, MINUTELY)
    launcher.clock.turn(minutes=1)
    launcher.look_again()
    operon.remove_schedule("Digest")
    launcher.clock.turn(minutes=5)
    launcher.look_again()

    assert _ids(operon) == ["Digest/2026-03-10T09:31:00+00:00"]
    assert operon.list_schedules() == []


def test_a_program_that_still_declares_a_removed_schedule_makes_it_anew(launcher):
    operon = _scheduled(launcher, HOURLY, catch_up="all")
    operon.remove_schedule("Digest")
    launcher.shut_down(operon)
    launcher.clock.turn(hours=2)
    launcher.launch(operon)
    launcher.look_again()
    at_once = _ids(operon)
    launcher.clock.turn(minutes=30)
    launcher.look_again()

    assert at_once == []
    assert _ids(operon) == ["Digest/2026-03-10T12:00:00+00:00"]


@pytest.mark.parametrize(
    "edit", ["pause_schedule", "resume_schedule", "trigger_schedule", "remove_schedule"]
)
def test_an_unknown_schedule_is_refused_with_those_there_are(launcher, edit):
    operon = _scheduled(launcher, HOURLY)

    with pytest.raises(UnknownScheduleError, match=r"'nothing' is not .*'Digest'"):
        getattr(operon, edit)("nothing")


# changed by a new program


def test_a_new_line_holds_from_now_on(launcher):
    """With `all` its ticks before now are not taken for missed."""
    launcher.shut_down(_scheduled(launcher, "0 0 1 * *", catch_up="all"))
    launcher.clock.turn(hours=48)
    operon = _scheduled(launcher, MINUTELY, catch_up="all")
    launcher.look_again()
    at_once = _ids(operon)
    launcher.clock.turn(minutes=1)
    launcher.look_again()

    assert at_once == []
    assert _ids(operon) == ["Digest/2026-03-12T09:31:00+00:00"]


def test_a_new_zone_holds_from_now_on(launcher):
    launcher.shut_down(_scheduled(launcher, "0 10 * * *"))
    operon = _scheduled(launcher, "0 10 * * *", timezone="America/New_York")

    assert _record(operon).next_at == datetime(2026, 3, 10, 14, tzinfo=UTC)


@pytest.mark.parametrize(("catch_up", "hours"), [("one", [11]), ("all", [10, 11])])
def test_a_program_with_new_input_still_catches_up(launcher, catch_up, hours):
    """A deployment lasted for two ticks, and changed what the runs get."""
    launcher.shut_down(_scheduled(launcher, HOURLY, catch_up=catch_up))
    launcher.clock.turn(hours=2)
    options = {"catch_up": catch_up, "name": "Digest"}
    operon = _scheduled(launcher, HOURLY, Digest("new"), **options)
    launcher.look_again()

    assert _ids(operon) == [f"Digest/2026-03-10T{hour}:00:00+00:00" for hour in hours]


def test_the_same_program_changes_nothing(launcher):
    operon = _scheduled(launcher, HOURLY)
    before = _record(operon)
    launcher.shut_down(operon)
    launcher.clock.turn(minutes=5)
    launcher.launch(operon)
    after = _record(operon)

    assert (before.updated_at, before.next_at, before.last_tick_at) == (
        after.updated_at,
        after.next_at,
        after.last_tick_at,
    )


# time zones


def test_ticks_follow_the_clocks_of_paris_in_spring(make_operon, database):
    noon = datetime(2026, 3, 27, 12, tzinfo=UTC)
    launcher = Launcher(make_operon, database.url, noon)
    operon = _scheduled(launcher, "30 2 * * *", timezone="Europe/Paris", catch_up="all")
    launcher.clock.turn(hours=72)
    launcher.look_again()

    assert _ids(operon) == [
        "Digest/2026-03-28T01:30:00+00:00",
        "Digest/2026-03-29T01:00:00+00:00",  # 02:30 does not exist: at 03:00 there
        "Digest/2026-03-30T00:30:00+00:00",
    ]


def test_ticks_follow_the_clocks_of_paris_in_autumn(make_operon, database):
    """On 25 October, 02:30 comes at 00:30 and again at 01:30 UTC."""
    noon = datetime(2026, 10, 24, 12, tzinfo=UTC)
    launcher = Launcher(make_operon, database.url, noon)
    operon = _scheduled(launcher, "30 2 * * *", timezone="Europe/Paris")
    found = []
    for minutes in (12 * 60 + 30, 60, 23 * 60, 60):
        launcher.clock.turn(minutes=minutes)
        launcher.look_again()
        found.append(len(_ids(operon)))

    assert found == [1, 1, 1, 2]
    assert _ids(operon) == [
        "Digest/2026-10-25T00:30:00+00:00",
        "Digest/2026-10-26T01:30:00+00:00",
    ]


# what cannot be meant


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cron": "every day"}, ConfigurationError),
        ({"cron": "* * * *"}, ConfigurationError),
        ({"cron": "* * * * * *"}, ConfigurationError),
        ({"timezone": "Europe/Atlantis"}, ConfigurationError),
        ({"queue": ""}, ConfigurationError),
        ({"catch_up": "some"}, MisuseError),
        ({"workflow": Picky}, MisuseError),
        ({"workflow": "Digest"}, MisuseError),
        ({"workflow": Digest(7)}, MisuseError),
        ({"name": ""}, MisuseError),
        ({"name": "two\nlines"}, MisuseError),
        ({"name": "n" * 250}, MisuseError),
    ],
    ids=str,
)
def test_a_schedule_that_cannot_be_meant_is_refused_at_the_call(
    launcher, options, error
):
    operon = launcher.launched()

    with pytest.raises(error):
        operon.schedule(**{"cron": HOURLY, "workflow": Digest, **options})
    assert count(operon, ScheduleRecord) == 0


def test_one_name_has_one_rule_in_a_program(launcher):
    operon = launcher.made()
    operon.schedule(HOURLY, Digest)

    assert operon.schedule(HOURLY, Digest) == "Digest"
    with pytest.raises(MisuseError, match="another name="):
        operon.schedule(MINUTELY, Digest)


# what nobody here knows


def _keeper_rests(launcher):
    """Wait until the keeper found so little to do that it rests for long."""
    waits = launcher.clock.waits
    eventually(
        lambda: waits.get("operon-keeper", 0) > 0.7, timeout=8, saying="a long rest"
    )


def test_a_schedule_of_a_workflow_that_nobody_here_knows_is_left_to_others(launcher):
    launcher.shut_down(_scheduled(launcher, MINUTELY))
    registry._known.pop(("Digest", 1))
    operon = launcher.launched()
    launcher.clock.turn(minutes=1)
    launcher.look_again()
    unknown = _ids(operon)
    _keeper_rests(launcher)
    with pytest.raises(DecodeError, match="'Digest' version 1 is not known here"):
        operon.trigger_schedule("Digest")
    registry.register(Digest.__operon__)
    launcher.look_again()

    assert unknown == []
    assert _ids(operon) == ["Digest/2026-03-10T09:31:00+00:00"]


def test_a_schedule_whose_input_is_not_todays_keeps_nobody_busy(launcher, caplog):
    operon = _scheduled(launcher, MINUTELY)
    with Session(operon.engine) as session, session.begin():
        session.execute(update(ScheduleRecord).values(input='{"label": 7}'))
    launcher.clock.turn(minutes=1)
    launcher.look_again()

    assert _ids(operon) == []
    _keeper_rests(launcher)


def test_a_schedule_that_cannot_start_keeps_no_other_from_it(launcher, caplog):
    operon = _scheduled(launcher, MINUTELY, name="a")
    operon.schedule(MINUTELY, Digest, name="b", queue="unserved")
    with Session(operon.engine) as session, session.begin():
        broken = update(ScheduleRecord).where(ScheduleRecord.name == "a")
        session.execute(broken.values(input='{"label": 7}'))
    launcher.clock.turn(minutes=1)
    launcher.look_again()

    assert _ids(operon) == ["b/2026-03-10T09:31:00+00:00"]
    assert "schedule 'a' cannot start anything" in caplog.text
    assert status(operon, "schedule/b/2026-03-10T09:31:00+00:00") == "enqueued"
