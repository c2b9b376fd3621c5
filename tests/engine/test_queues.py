"""Queues: who comes first, who waits, and what may be changed while they do."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Workflow
from operon import activity
from operon import step
from operon.errors import ConfigurationError
from operon.errors import MisuseError
from operon.errors import UnknownQueueError
from operon.models import QueueRecord
from operon.models import WorkflowRun
from operon.queue import Queue
from operon.queue import Rate
from tests.engine.crew import Crew
from tests.engine.crew import Launcher
from tests.engine.facts import count
from tests.engine.facts import status
from tests.processes import eventually

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
RESTRICTIONS = [
    Queue("q"),
    Queue("q", concurrency=1),
    Queue("q", rate=Rate(100, HOUR)),
]


@pytest.fixture
def launcher(make_operon, database):
    return Launcher(make_operon, database.url)


@pytest.fixture
def crew(launcher):
    with Crew() as crew:
        yield crew


def _record(operon, name="q"):
    with Session(operon.engine, expire_on_commit=False) as session:
        return session.get_one(QueueRecord, name)


# who comes first


@pytest.mark.parametrize("queue", RESTRICTIONS, ids=["free", "concurrency", "rate"])
def test_the_more_urgent_come_first_and_of_equals_the_longer_due(launcher, crew, queue):
    operon = launcher.made(queue, threads=1)
    operon.start(crew.Job("last"), queue="q", priority=7)
    operon.start(crew.Job("delayed"), queue="q", priority=1, delay=10 * SECOND)
    operon.start(crew.Job("first"), queue="q")
    operon.start(crew.Job("second"), queue="q", priority=1)
    operon.start(crew.Job("third"), queue="q", priority=1)
    launcher.clock.turn(seconds=11)
    crew.let_all()
    launcher.launch(operon)
    crew.await_begun(5)

    assert crew.begun == ["first", "second", "third", "delayed", "last"]


def test_the_default_queue_keeps_to_priorities_too(launcher, crew):
    operon = launcher.made(threads=1)
    for priority in (3, 1, 32_767, 0, 2):
        operon.start(crew.Job(str(priority)), priority=priority)
    crew.let_all()
    launcher.launch(operon)
    crew.await_begun(5)

    assert crew.begun == ["0", "1", "2", "3", "32767"]


@pytest.mark.parametrize("queue", RESTRICTIONS, ids=["free", "concurrency", "rate"])
def test_a_delayed_run_is_not_claimed_before_its_time(launcher, crew, queue):
    operon = launcher.launched(queue)
    operon.start(crew.Job("later"), queue="q", delay=HOUR)
    launcher.clock.turn(minutes=59)
    launcher.look_again()
    early = list(crew.begun)
    launcher.clock.turn(minutes=2)
    crew.await_working("later")

    assert early == []


def test_a_run_waits_where_its_workflow_declares(launcher, crew):
    class Errand(Workflow, queue="reports"):
        def run(self) -> None:
            pass

    operon = launcher.launched()

    operon.start(Errand(), id="r").result(timeout=10 * SECOND)

    assert operon.get_run("r").queue == "reports"


def test_an_executor_claims_only_from_the_queues_it_serves(launcher, crew):
    served = launcher.launched("a")
    launcher.made("b").launch()
    other = launcher.made("b", "a")
    other.start(crew.Job("b"), queue="b")
    crew.await_working("b")
    held_by = eventually(lambda: other.list_runs()[0].executor)

    assert held_by != served._process.ready().services.executor


def test_a_queue_that_nobody_serves_any_more_still_accepts_runs(launcher, crew):
    launcher.shut_down(launcher.launched("q"))
    operon = launcher.launched()
    operon.start(crew.Job("a"), id="r", queue="q")
    launcher.look_again()

    assert status(operon, "r") == "enqueued"


def test_a_long_backlog_does_not_keep_a_limited_queue_waiting_for_ever(launcher, crew):
    """The executor has one thread, and there is always more for it in `default`."""
    operon = launcher.made(Queue("q", concurrency=1), threads=1)
    crew.let_all()
    for number in range(30):
        operon.start(crew.Job(f"backlog {number}"))
    operon.start(crew.Job("limited"), queue="q")
    launcher.launch(operon)
    crew.await_begun(31)

    assert crew.begun.index("limited") < 29


def test_a_long_backlog_does_not_keep_sleepers_waiting_for_ever(launcher, crew):
    operon = launcher.launched(threads=1)
    crew.let_all()
    operon.start(crew.Napping("sleeper", HOUR), id="sleeper")
    eventually(lambda: status(operon, "sleeper") == "waiting")
    launcher.shut_down(operon)
    for number in range(30):
        operon.start(crew.Job(f"backlog {number}"), priority=1)
    launcher.clock.turn(hours=2)
    launcher.launch(operon)
    crew.await_begun(32)

    assert crew.begun.index("sleeper after") < 30


# pausing


@pytest.mark.parametrize("queue", RESTRICTIONS, ids=["free", "concurrency", "rate"])
def test_a_paused_queue_accepts_runs_and_begins_none(launcher, crew, queue):
    operon = launcher.launched(queue)
    operon.pause_queue("q")
    operon.start(crew.Job("a"), id="r", queue="q")
    launcher.look_again()
    while_paused = (status(operon, "r"), list(crew.begun))
    operon.resume_queue("q")
    crew.await_working("a")

    assert while_paused == ("enqueued", [])


@pytest.mark.parametrize("queue", RESTRICTIONS, ids=["free", "concurrency", "rate"])
def test_what_runs_when_its_queue_is_paused_goes_on(launcher, crew, queue):
    operon = launcher.launched(queue)
    handle = operon.start(crew.Job("a"), queue="q")
    crew.await_working("a")
    operon.pause_queue("q")
    crew.let_all()

    assert handle.result(timeout=10 * SECOND) == "a"


@pytest.mark.parametrize("queue", RESTRICTIONS, ids=["free", "concurrency", "rate"])
def test_a_run_that_wakes_in_a_paused_queue_waits_until_it_goes_on(
    launcher, crew, queue
):
    operon = launcher.launched(queue)
    crew.let_all()
    handle = operon.start(crew.Napping("n", HOUR), id="r", queue="q")
    eventually(lambda: status(operon, "r") == "waiting")
    operon.pause_queue("q")
    launcher.clock.turn(hours=2)
    eventually(lambda: status(operon, "r") == "enqueued")
    launcher.look_again()
    while_paused = status(operon, "r")
    operon.resume_queue("q")

    assert handle.result(timeout=10 * SECOND) == "n"
    assert while_paused == "enqueued"


def test_a_pause_holds_for_every_process_and_survives_a_relaunch(launcher, crew):
    operon = launcher.launched("q")
    operon.pause_queue("q")
    launcher.shut_down(operon)
    launcher.launch(operon)
    launcher.launched(Queue("q", concurrency=3))
    operon.start(crew.Job("a"), queue="q")
    launcher.look_again()

    assert crew.begun == []


def test_a_pause_by_a_process_that_serves_nothing_counts(launcher, crew):
    launcher.launched("q")
    operator = launcher.made()
    operator.pause_queue("q")
    operator.start(crew.Job("a"), queue="q")
    launcher.look_again()
    begun = list(crew.begun)
    operator.resume_queue("q")
    crew.await_working("a")

    assert begun == []


def test_a_waiter_for_a_result_does_not_run_what_its_queue_holds_back(launcher, crew):
    """`run` joins an id that waits in a paused queue, and must not execute it."""
    operon = launcher.launched("q")
    operon.pause_queue("q")
    crew.let_all()
    handle = operon.start(crew.Job("a"), id="r", queue="q")
    launcher.look_again()
    executor = operon._process.ready().executor
    executor.help("r")
    while_paused = status(operon, "r")
    operon.resume_queue("q")

    assert handle.result(timeout=10 * SECOND) == "a"
    assert while_paused == "enqueued"


@pytest.mark.parametrize("edit", ["pause_queue", "resume_queue", "limit_queue"])
def test_an_unknown_queue_cannot_be_edited(launcher, edit):
    operon = launcher.launched("q")

    with pytest.raises(UnknownQueueError, match=r"'nowhere' is not known.*'q'"):
        getattr(operon, edit)("nowhere")


# limits as rows


def test_limits_are_stored_at_launch(launcher):
    operon = launcher.launched(Queue("q", 3, 2, Rate(5, HOUR), partitioned=True))
    record = _record(operon)

    assert (record.concurrency, record.per_executor, record.partitioned) == (3, 2, True)
    assert (record.rate_limit, record.rate_period) == (5, HOUR)


def test_an_edit_survives_a_launch_of_the_same_program(launcher):
    operon = launcher.launched(Queue("q", concurrency=2))
    operon.limit_queue("q", concurrency=9)
    launcher.shut_down(operon)
    launcher.launch(operon)
    launcher.launched(Queue("q", concurrency=2))

    assert _record(operon).concurrency == 9


def test_a_program_that_says_something_new_overwrites_an_edit(launcher):
    operon = launcher.launched(Queue("q", concurrency=2))
    operon.limit_queue("q", concurrency=9, per_executor=4)
    launcher.launched(Queue("q", concurrency=3))

    record = _record(operon)
    assert (record.concurrency, record.per_executor) == (3, None)


def test_a_program_that_takes_its_limits_back_overwrites_them(launcher):
    operon = launcher.launched(Queue("q", concurrency=2))
    launcher.launched(Queue("q"))

    assert _record(operon).concurrency is None


def test_a_plain_name_never_overwrites_the_limits_of_another_program(launcher):
    operon = launcher.launched(Queue("q", concurrency=2, rate=Rate(5, HOUR)))
    launcher.launched("q")

    record = _record(operon)
    assert (record.concurrency, record.rate_limit) == (2, 5)


def test_a_workflow_that_waits_there_never_overwrites_limits(launcher):
    class Errand(Workflow, queue="q"):
        def run(self) -> None:
            pass

    operon = launcher.launched(Queue("q", concurrency=2))
    launcher.launched()

    assert _record(operon).concurrency == 2


def test_the_settings_say_more_of_a_queue_than_the_workflow_that_waits_there(launcher):
    class Errand(Workflow, queue="q"):
        def run(self) -> None:
            pass

    assert _record(launcher.launched(Queue("q", concurrency=2))).concurrency == 2


def test_limits_come_after_a_plain_name(launcher):
    launcher.launched("q")
    operon = launcher.launched(Queue("q", concurrency=2))

    assert _record(operon).concurrency == 2


def test_an_edit_leaves_the_limits_it_does_not_name(launcher):
    operon = launcher.launched(Queue("q", 3, 2, Rate(5, HOUR), partitioned=True))
    operon.limit_queue("q", per_executor=None)

    record = _record(operon)
    assert (record.concurrency, record.per_executor, record.rate_limit) == (3, None, 5)
    assert record.partitioned


@pytest.mark.parametrize(
    "limits",
    [{"concurrency": 0}, {"per_executor": -1}, {"rate": 5}, {"concurrency": True}],
    ids=str,
)
def test_an_edit_to_a_limit_that_nothing_can_keep_is_refused(launcher, limits):
    operon = launcher.launched(Queue("q", concurrency=2))

    with pytest.raises(ConfigurationError, match="cannot work"):
        operon.limit_queue("q", **limits)
    assert _record(operon).concurrency == 2


def test_the_default_queue_can_be_given_no_limits(launcher):
    operon = launcher.launched()

    with pytest.raises(ConfigurationError, match="another name"):
        operon.limit_queue("default", concurrency=1)


# what is refused at the call

BAD_STARTS = [
    ({"queue": "nowhere"}, UnknownQueueError, "'nowhere' is not known; use one of"),
    ({"queue": "q", "delay": -SECOND}, MisuseError, "not negative"),
    ({"queue": "q", "delay": 3}, MisuseError, "timedelta"),
    ({"queue": "q", "priority": -1}, MisuseError, "0 to 32767"),
    ({"queue": "q", "priority": 32_768}, MisuseError, "0 to 32767"),
    ({"queue": "q", "priority": True}, MisuseError, "0 to 32767"),
    ({"queue": "q", "priority": "high"}, MisuseError, "0 to 32767"),
    ({"queue": "parts"}, MisuseError, "give partition="),
    ({"queue": "q", "partition": "a"}, MisuseError, "not partitioned"),
    ({"partition": "a"}, MisuseError, "not partitioned"),
    ({"queue": "parts", "partition": ""}, MisuseError, "partition=''"),
    ({"queue": "q", "debounce": SECOND}, MisuseError, "deduplicate="),
    (
        {"queue": "q", "debounce": SECOND, "deduplicate": "k", "delay": SECOND},
        MisuseError,
        "one of them",
    ),
    ({"queue": "q", "debounce": -SECOND, "deduplicate": "k"}, MisuseError, "negative"),
    ({"queue": "q", "debounce": 0 * SECOND, "deduplicate": "k"}, MisuseError, "zero"),
    ({"queue": "q", "deduplicate": ""}, MisuseError, "deduplicate=''"),
    ({"queue": "q", "deduplicate": 7}, MisuseError, "deduplicate=7"),
    ({"queue": "q", "timeout": 0 * SECOND}, MisuseError, "zero"),
    ({"queue": ""}, MisuseError, "queue=''"),
]
QUEUES = ["q", Queue("parts", concurrency=1, partitioned=True)]


def test_a_start_that_cannot_be_meant_is_refused_at_the_call(launcher, crew):
    operon = launcher.made(*QUEUES)
    for options, error, words in BAD_STARTS:
        with pytest.raises(error, match=words):
            operon.start(crew.Job("a"), **options)

    assert count(operon, WorkflowRun) == 0


def test_a_body_that_starts_what_cannot_be_meant_is_told_so_at_the_call(launcher, crew):
    class Parent(Workflow):
        def run(self) -> list[str]:
            said = []
            for options, error, _ in BAD_STARTS:
                try:
                    self.start(crew.Job("a"), **options)
                except error as problem:
                    said.append(str(problem))
            return said

    operon = launcher.made(*QUEUES)
    said = operon.run(Parent(), id="parent")
    replayed = operon.run(Parent(), id="parent")

    assert count(operon, WorkflowRun) == 1
    assert replayed == said
    assert [words for _, _, words in BAD_STARTS] == [
        re.search(words, each)[0] if re.search(words, each) else each
        for each, (_, _, words) in zip(said, BAD_STARTS, strict=True)
    ]


def test_a_refused_start_leaves_the_callers_transaction_usable(launcher, crew):
    operon = launcher.made("q")
    with Session(operon.engine) as session, session.begin():
        with pytest.raises(UnknownQueueError):
            operon.start(crew.Job("a"), queue="nowhere", session=session)
        operon.start(crew.Job("b"), queue="q", session=session)

    assert count(operon, WorkflowRun) == 1


def test_a_step_may_start_into_a_queue_and_is_told_of_an_unknown_one(launcher, crew):
    class Parent(Workflow):
        @step
        def begin(self, session: Session) -> str:
            try:
                operon.start(crew.Job("a"), queue="nowhere")
            except UnknownQueueError as problem:
                return operon.start(crew.Job("b"), queue=problem.known[-1]).id
            return "started"

        def run(self) -> str:
            return self.begin()

    operon = launcher.made("q")
    started = operon.run(Parent(), id="parent")

    assert operon.get_run(started).queue == "q"


def test_a_queue_is_known_by_whoever_has_served_it(launcher, crew):
    launcher.shut_down(launcher.launched("q"))
    operon = launcher.made()

    assert operon.get_run(operon.start(crew.Job("a"), queue="q").id).queue == "q"


def test_a_process_that_knows_only_the_name_learns_of_partitions(launcher, crew):
    """Its program says no more than where a workflow waits; another says the rest."""

    class Errand(Workflow, queue="parts"):
        def run(self) -> None:
            pass

    launcher.launched(Queue("parts", concurrency=1, partitioned=True))
    operon = launcher.made("parts")
    handle = operon.start(Errand(), partition="a")

    assert handle.result(timeout=10 * SECOND) is None
    with pytest.raises(MisuseError, match="give partition="):
        operon.start(Errand())


# foreground


def test_a_run_in_the_foreground_takes_no_slot(launcher, crew):
    class Errand(Workflow, queue="q"):
        def run(self) -> str:
            return "done"

    operon = launcher.launched(Queue("q", concurrency=1))
    operon.start(crew.Job("holder"), queue="q")
    crew.await_working("holder")

    assert operon.run(Errand(), id="r") == "done"
    assert operon.get_run("r").queue == "default"


def test_children_of_a_run_in_the_foreground_keep_to_their_queues_limits(
    launcher, crew
):
    class Parent(Workflow):
        @activity
        def note(self) -> None:
            noted.append(list(crew.working))

        def run(self) -> str:
            child = self.start(crew.Job("child"), queue="q")
            self.note()
            return child.result()

    noted: list[list[str]] = []
    launcher.launched(Queue("q", concurrency=1))
    caller = launcher.made(Queue("q", concurrency=1))
    caller.start(crew.Job("holder"), id="holder", queue="q")
    crew.await_working("holder")
    parent = caller.start(Parent(), id="parent", queue="default")
    eventually(lambda: noted)
    for _ in range(3):
        caller._process.ready().executor.help("parent/1")
    launcher.look_again()
    alone = set(crew.working)
    crew.let_all()

    assert parent.result(timeout=10 * SECOND) == "child"
    assert alone == {"holder"}
    assert crew.most == 1


def test_a_foreground_run_waits_for_a_slot_for_the_child_it_calls(launcher, crew):
    """Nobody else is launched: its own process executes the child, when it may."""

    class Parent(Workflow):
        def run(self) -> list[str]:
            first = self.start(crew.Job("first"), queue="q")
            second = self.start(crew.Job("second"), queue="q")
            return [second.result(), first.result()]

    operon = launcher.made(Queue("q", concurrency=1))
    crew.let_all()

    assert operon.run(Parent()) == ["second", "first"]
    assert crew.most == 1


def test_runs_list_by_queue(launcher, crew):
    operon = launcher.made("q")
    handle = operon.start(crew.Job("a"), queue="q")
    operon.start(crew.Job("b"))

    assert [run.id for run in operon.list_runs(queue="q")] == [handle.id]


def test_a_start_in_the_default_queue_asks_for_no_queue(launcher, crew):
    operon = launcher.made()
    operon.start(crew.Job("a"))
    with Session(operon.engine) as session:
        assert session.scalars(select(QueueRecord)).all() == []
