"""Limits of queues: concurrency, executors, rates and partitions, exactly."""

import json
import random
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon.models import QueuePartition
from operon.models import WorkflowRun
from operon.queue import Queue
from operon.queue import Rate
from operon.store import glance
from tests.engine.crew import Crew
from tests.engine.crew import Launcher
from tests.engine.crew import begun_at
from tests.engine.crew import most_within
from tests.engine.facts import count
from tests.engine.facts import status
from tests.engine.facts import tamper
from tests.processes import eventually

HOUR = timedelta(hours=1)
SOON = timedelta(seconds=20)
HASTY = {"heartbeat": timedelta(seconds=0.1), "lease": timedelta(seconds=0.5)}


@pytest.fixture
def launcher(make_operon, database):
    return Launcher(make_operon, database.url)


@pytest.fixture
def crew(launcher):
    with Crew() as crew:
        yield crew


def _start(operon, crew, *labels, **options):
    return [
        operon.start(crew.Job(label), id=label, queue="q", **options)
        for label in labels
    ]


def _orphan(operon, run_id):
    """Let an executor that is gone seem to hold *run_id*."""
    with Session(operon.engine) as session:
        now = session.get_one(WorkflowRun, run_id).created_at
    tamper(
        operon,
        run_id,
        None,
        status="running",
        executor="ghost",
        epoch=1,
        started_at=now,
    )


# concurrency


def test_no_more_runs_than_the_queues_concurrency_execute_at_once(launcher, crew):
    operon = launcher.launched(Queue("q", concurrency=2))
    _start(operon, crew, *"abcd")
    crew.await_working("a", "b")
    launcher.look_again()
    first = set(crew.working)
    crew.let("a")
    crew.await_working("b", "c")
    crew.let_all()
    crew.await_begun(4)

    assert first == {"a", "b"}
    assert crew.most == 2


def test_concurrency_holds_across_executors(launcher, crew):
    queue = Queue("q", concurrency=3)
    executors = [launcher.launched(queue) for _ in range(3)]
    _start(executors[0], crew, *"abcdefghi")
    eventually(lambda: len(crew.working) == 3)
    launcher.look_again()
    while len(crew.begun) < 9:
        begun = len(crew.begun)
        crew.let(next(iter(crew.working)))
        crew.await_begun(begun + 1)
    crew.let_all()

    assert crew.most == 3


def test_each_executor_keeps_to_its_own_limit(launcher, crew):
    queue = Queue("q", per_executor=2)
    operon, _ = launcher.launched(queue), launcher.launched(queue)
    _start(operon, crew, *"abcdef")
    eventually(lambda: len(crew.working) == 4)
    launcher.look_again()
    holders = [run.executor for run in operon.list_runs() if run.executor]

    assert sorted(holders.count(each) for each in set(holders)) == [2, 2]
    assert crew.most == 4


def test_both_limits_of_concurrency_hold_together(launcher, crew):
    queue = Queue("q", concurrency=3, per_executor=2)
    operon, _ = launcher.launched(queue), launcher.launched(queue)
    _start(operon, crew, *"abcdef")
    eventually(lambda: len(crew.working) == 3)
    launcher.look_again()
    holders = [run.executor for run in operon.list_runs() if run.executor]

    assert sorted(holders.count(each) for each in set(holders)) == [1, 2]


def test_a_waiting_run_holds_no_slot_and_gets_one_again(launcher, crew):
    operon = launcher.launched(Queue("q", concurrency=1))
    handle = operon.start(crew.Napping("n", HOUR), id="n", queue="q")
    crew.let("n before")
    eventually(lambda: status(operon, "n") == "waiting")
    _start(operon, crew, "a")
    crew.await_working("a")
    launcher.clock.turn(hours=2)
    eventually(lambda: status(operon, "n") == "enqueued")
    launcher.look_again()
    without = (status(operon, "n"), set(crew.working))
    crew.let("a")
    crew.await_working("n after")
    crew.let_all()

    assert without == ("enqueued", {"a"})
    assert handle.result(timeout=SOON) == "n"
    assert crew.most == 1


def test_a_queue_with_limits_is_served_beside_one_that_is_full(launcher, crew):
    operon = launcher.launched(Queue("q", concurrency=1), Queue("p", concurrency=1))
    _start(operon, crew, "a", "b")
    crew.await_working("a")
    operon.start(crew.Job("c"), queue="p")
    crew.await_working("a", "c")

    assert operon.get_run("b").status == "enqueued"


def test_the_slot_of_a_run_that_failed_is_free(launcher, crew):
    operon = launcher.launched(Queue("q", concurrency=1))
    _start(operon, crew, "a", "b")
    crew.await_working("a")
    operon.cancel("a", force=True)
    crew.await_begun(2)

    assert crew.begun == ["a", "b"]


def test_a_run_whose_executor_is_gone_keeps_its_slot_until_it_is_taken_over(
    launcher, crew
):
    operon = launcher.made(Queue("q", concurrency=1), **HASTY)
    _start(operon, crew, "lost", "next")
    _orphan(operon, "lost")
    launcher.launch(operon)
    crew.await_working("lost")
    launcher.look_again()
    first = set(crew.working)
    crew.let("lost")
    crew.await_working("next")

    assert first == {"lost"}
    assert operon.get_run("lost").recoveries == 1
    assert crew.most == 1


def test_a_takeover_keeps_to_the_limit_of_the_executor(launcher, crew):
    operon = launcher.launched(Queue("q", per_executor=1), **HASTY)
    _start(operon, crew, "mine")
    crew.await_working("mine")
    operon.pause_queue("q")
    _start(operon, crew, "lost")
    _orphan(operon, "lost")
    operon.resume_queue("q")
    eventually(lambda: operon.get_run("lost").executor != "ghost")
    launcher.look_again()

    assert crew.most == 1


# rates


def test_no_more_runs_begin_within_the_period_than_the_rate_allows(launcher, crew):
    operon = launcher.launched(Queue("q", rate=Rate(3, HOUR)))
    crew.let_all()
    _start(operon, crew, *"abcdefgh")
    begun = []
    for minutes in (0, 59, 2, 57, 4, 61):
        launcher.clock.turn(minutes=minutes)
        launcher.look_again()
        begun.append(len(begun_at(operon)))

    assert begun == [3, 3, 6, 6, 8, 8]
    assert most_within(begun_at(operon), HOUR) == 3


def test_a_rate_holds_in_every_window_whatever_time_passes(launcher, crew):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance, queue = random.Random(seed), Queue("q", rate=Rate(4, HOUR))
    operon, _ = launcher.launched(queue), launcher.launched(queue)
    crew.let_all()
    labels = [f"{number}" for number in range(16)]
    while labels or len(begun_at(operon)) < 16:
        some = chance.randint(0, 6)
        _start(operon, crew, *labels[:some])
        labels = labels[some:]
        launcher.clock.turn(minutes=chance.randint(1, 50))
        launcher.look_again()

    assert most_within(begun_at(operon), HOUR) <= 4


def test_a_slow_claim_counts_from_when_it_was_made(launcher, crew):
    """Between the look at what is left and the claim, ten minutes pass."""
    operon = launcher.made(Queue("q", rate=Rate(1, HOUR)))

    def dawdle(*about):
        if "count(" in about[2] and not dawdled:
            dawdled.append(True)
            launcher.clock.turn(minutes=10)

    dawdled = []
    event.listen(operon.engine, "after_cursor_execute", dawdle)
    crew.let_all()
    _start(operon, crew, "a", "b")
    launcher.launch(operon)
    crew.await_begun(1)
    launcher.clock.turn(minutes=55)
    launcher.look_again()
    launcher.clock.turn(minutes=6)
    crew.await_begun(2)

    assert most_within(begun_at(operon), HOUR) == 1


def test_a_run_that_goes_on_does_not_count_as_one_that_begins(launcher, crew):
    operon = launcher.launched(Queue("q", rate=Rate(1, HOUR)))
    crew.let_all()
    handle = operon.start(crew.Napping("n", timedelta(minutes=5)), queue="q")
    eventually(lambda: operon.get_run(handle.id).status == "waiting")
    _start(operon, crew, "a")
    launcher.clock.turn(minutes=6)

    assert handle.result(timeout=SOON) == "n"
    assert status(operon, "a") == "enqueued"
    launcher.clock.turn(minutes=55)
    crew.await_begun(3)


def test_a_run_that_is_taken_over_does_not_count_as_one_that_begins(launcher, crew):
    operon = launcher.made(Queue("q", rate=Rate(1, HOUR)), **HASTY)
    crew.let_all()
    _start(operon, crew, "lost")
    _orphan(operon, "lost")
    _start(operon, crew, "a")
    launcher.launch(operon)
    crew.await_begun(2)

    assert sorted(crew.begun) == ["a", "lost"]


def test_what_was_begun_counts_after_a_purge(launcher, crew):
    operon = launcher.launched(Queue("q", rate=Rate(1, HOUR)))
    crew.let_all()
    _start(operon, crew, "a")[0].result(timeout=SOON)
    launcher.clock.turn(seconds=1)
    operon.purge(timedelta(0))
    purged = count(operon, WorkflowRun)
    _start(operon, crew, "b")
    launcher.look_again()
    early = status(operon, "b")
    launcher.clock.turn(hours=1)
    crew.await_begun(2)

    assert (purged, early) == (0, "enqueued")


def test_what_was_begun_counts_after_a_restart(launcher, crew):
    operon = launcher.launched(Queue("q", rate=Rate(1, HOUR)))
    crew.let_all()
    _start(operon, crew, "a")[0].result(timeout=SOON)
    launcher.shut_down(operon)
    launcher.launch(operon)
    _start(operon, crew, "b")
    launcher.look_again()

    assert status(operon, "b") == "enqueued"


def test_a_rate_and_a_concurrency_hold_together(launcher, crew):
    operon = launcher.launched(Queue("q", concurrency=2, rate=Rate(3, HOUR)))
    _start(operon, crew, *"abcde")
    crew.await_working("a", "b")
    launcher.look_again()
    first = set(crew.working)
    crew.let_all()
    crew.await_begun(3)
    launcher.look_again()

    assert first == {"a", "b"}
    assert crew.begun == ["a", "b", "c"]
    assert crew.most == 2


def test_a_rate_of_hundreds_is_remembered_in_few_entries(launcher, crew):
    operon = launcher.made(Queue("q", rate=Rate(250, HOUR)))
    crew.let_all()
    _start(operon, crew, *map(str, range(10)))
    with Session(operon.engine) as session, session.begin():
        ago = [launcher.clock.now() - timedelta(seconds=10 * n) for n in range(245)]
        one_each = [[int(at.timestamp() * 1_000_000), 1] for at in reversed(ago)]
        recent = json.dumps(one_each)
        session.add(QueuePartition(queue="q", partition="", recent=recent))
    launcher.launch(operon)
    crew.await_begun(5)
    launcher.look_again()
    with Session(operon.engine) as session:
        entries = json.loads(session.scalars(select(QueuePartition.recent)).one())

    assert len(begun_at(operon)) == 5
    assert len(entries) <= 200
    assert sum(number for _, number in entries) == 250


# partitions

PARTITIONED = Queue("q", concurrency=1, partitioned=True)


def test_each_partition_has_the_limit_for_itself(launcher, crew):
    operon = launcher.launched(PARTITIONED)
    _start(operon, crew, "a1", "a2", partition="a")
    _start(operon, crew, "b1", "b2", partition="b")
    crew.await_working("a1", "b1")
    launcher.look_again()
    first = set(crew.working)
    crew.let("a1")
    crew.await_working("a2", "b1")

    assert first == {"a1", "b1"}


def test_the_limits_of_an_executor_are_for_each_partition(launcher, crew):
    operon = launcher.launched(Queue("q", per_executor=1, partitioned=True))
    _start(operon, crew, "a1", "a2", partition="a")
    _start(operon, crew, "b1", "b2", partition="b")
    crew.await_working("a1", "b1")
    launcher.look_again()

    assert crew.most == 2


def test_each_partition_has_the_rate_for_itself(launcher, crew):
    operon = launcher.launched(Queue("q", rate=Rate(1, HOUR), partitioned=True))
    crew.let_all()
    _start(operon, crew, "a1", "a2", partition="a")
    crew.await_begun(1)
    launcher.clock.turn(minutes=30)
    _start(operon, crew, "b1", "b2", partition="b")
    crew.await_begun(2)
    launcher.clock.turn(minutes=31)
    crew.await_begun(3)
    launcher.look_again()
    halfway = list(crew.begun)
    launcher.clock.turn(minutes=30)
    crew.await_begun(4)

    assert halfway == ["a1", "b1", "a2"]


def test_partitions_without_limits_only_tell_runs_apart(launcher, crew):
    operon = launcher.launched(Queue("q", partitioned=True))
    _start(operon, crew, "a1", "a2", partition="a")
    crew.await_working("a1", "a2")

    assert operon.get_run("a1").partition == "a"


def test_partitions_are_claimed_by_priority_each(launcher, crew):
    operon = launcher.made(PARTITIONED)
    _start(operon, crew, "a1", partition="a", priority=3)
    _start(operon, crew, "a2", partition="a", priority=2)
    launcher.launch(operon)
    crew.await_working("a2")

    assert status(operon, "a1") == "enqueued"


def test_a_pause_holds_for_every_partition(launcher, crew):
    operon = launcher.launched(PARTITIONED)
    operon.pause_queue("q")
    _start(operon, crew, "a", partition="a")
    launcher.look_again()
    paused = set(crew.working)
    operon.resume_queue("q")
    crew.await_working("a")

    assert paused == set()


def test_many_partitions_share_few_threads_and_none_starves(launcher, crew):
    operon, _ = (launcher.launched(PARTITIONED, threads=3) for _ in range(2))
    crew.let_all()
    for number in range(40):
        _start(operon, crew, f"{number} a", f"{number} b", partition=f"p{number}")
    eventually(lambda: len(crew.begun) == 80, timeout=60, saying=f"{crew.begun}")

    assert crew.most <= 6


def test_a_partition_begins_beside_more_full_ones_than_one_look_takes(
    launcher, crew, monkeypatch
):
    """None of 30 partitions may begin anything for an hour; one more may."""
    monkeypatch.setattr(glance, "_MOST", 20)
    operon = launcher.launched(Queue("q", rate=Rate(1, HOUR), partitioned=True))
    operon.pause_queue("q")
    crew.let_all()
    just_now = int(launcher.clock.now().timestamp() * 1_000_000)
    with Session(operon.engine) as session, session.begin():
        for number in range(30):
            recent = f"[[{just_now}, 1]]"
            full = QueuePartition(queue="q", partition=f"p{number}", recent=recent)
            session.add(full)
            job = crew.Job(f"full {number}")
            operon.start(job, queue="q", partition=f"p{number}", session=session)
    operon.resume_queue("q")
    _start(operon, crew, "free", partition="free")
    crew.await_begun(1)

    assert crew.begun == ["free"]


# changed while they hold


def test_a_concurrency_that_is_raised_lets_more_begin_at_once(launcher, crew):
    operon = launcher.launched(Queue("q", concurrency=1))
    _start(operon, crew, *"abc")
    crew.await_working("a")
    operon.limit_queue("q", concurrency=2)
    crew.await_working("a", "b")
    operon.limit_queue("q", concurrency=None)
    crew.await_working("a", "b", "c")


def test_a_concurrency_that_is_lowered_lets_those_at_work_end_first(launcher, crew):
    operon = launcher.launched(Queue("q", concurrency=3))
    _start(operon, crew, *"abcde")
    crew.await_working("a", "b", "c")
    operon.limit_queue("q", concurrency=1)
    crew.let("a", "b")
    crew.await_working("c")
    launcher.look_again()
    one = set(crew.working)
    crew.let("c")
    crew.await_working("d")

    assert one == {"c"}


def test_a_queue_without_limits_can_be_given_some_while_its_runs_execute(
    launcher, crew
):
    operon = launcher.launched("q")
    _start(operon, crew, "a", "b")
    crew.await_working("a", "b")
    operon.limit_queue("q", concurrency=2)
    _start(operon, crew, "c")
    launcher.look_again()
    two = set(crew.working)
    crew.let("a")
    crew.await_working("b", "c")

    assert two == {"a", "b"}


def test_a_rate_that_is_changed_counts_what_began_before(launcher, crew):
    operon = launcher.launched(Queue("q", rate=Rate(1, HOUR)))
    crew.let_all()
    _start(operon, crew, *"abcd")
    crew.await_begun(1)
    operon.limit_queue("q", rate=Rate(2, HOUR))
    crew.await_begun(2)
    launcher.look_again()
    two = len(crew.begun)
    operon.limit_queue("q", rate=None)
    crew.await_begun(4)

    assert two == 2


def test_limits_changed_elsewhere_hold_here(launcher, crew):
    operon = launcher.launched(Queue("q", concurrency=1))
    _start(operon, crew, "a", "b")
    crew.await_working("a")
    launcher.made().limit_queue("q", concurrency=2)
    crew.await_working("a", "b")
