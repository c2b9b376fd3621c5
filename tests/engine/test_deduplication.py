"""Deduplication and debouncing: one live run for each key."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from operon import Workflow
from operon import step
from operon.engine import enqueueing
from operon.errors import DuplicateRunError
from operon.models import WorkflowRun
from operon.status import LIVE
from tests.engine.crew import Crew
from tests.engine.crew import Launcher
from tests.engine.facts import count
from tests.engine.facts import status
from tests.engine.facts import tamper
from tests.processes import eventually

HOUR = timedelta(hours=1)
SOON = timedelta(seconds=20)
TEN = timedelta(seconds=10)


@pytest.fixture
def launcher(make_operon, database):
    return Launcher(make_operon, database.url)


@pytest.fixture
def crew(launcher):
    with Crew() as crew:
        yield crew


def _keyed(operon, job, **options):
    return operon.start(job, **{"deduplicate": "k", "queue": "q", **options})


# deduplication


def test_a_start_joins_the_live_run_with_its_key(launcher, crew):
    operon = launcher.made("q")
    first = _keyed(operon, crew.Job("a"))
    second = _keyed(operon, crew.Job("b"))

    assert second.id == first.id
    assert count(operon, WorkflowRun) == 1


def test_a_start_is_refused_if_it_wants_to_be_the_only_one(launcher, crew):
    operon = launcher.made("q")
    first = _keyed(operon, crew.Job("a"))
    with pytest.raises(DuplicateRunError, match="join it") as refused:
        _keyed(operon, crew.Job("b"), on_conflict="raise")

    error = refused.value
    assert (error.queue, error.key, error.holder) == ("q", "k", first.id)
    assert count(operon, WorkflowRun) == 1


def test_a_start_never_joins_a_run_of_another_workflow(launcher, crew):
    operon = launcher.made("q")
    _keyed(operon, crew.Job("a"))

    with pytest.raises(DuplicateRunError):
        _keyed(operon, crew.Napping("n", HOUR))


def test_a_key_belongs_to_its_queue(launcher, crew):
    operon = launcher.made("q", "p")
    first = _keyed(operon, crew.Job("a"))

    assert _keyed(operon, crew.Job("a"), queue="p").id != first.id


def test_a_key_is_held_while_the_run_waits_and_works(launcher, crew):
    operon = launcher.launched("q")
    first = _keyed(operon, crew.Napping("n", HOUR))
    crew.await_working("n before")
    while_it_works = _keyed(operon, crew.Napping("n", HOUR)).id
    crew.let("n before")
    eventually(lambda: status(operon, first.id) == "waiting")
    while_it_waits = _keyed(operon, crew.Napping("n", HOUR)).id

    assert {while_it_works, while_it_waits} == {first.id}


class Failing(Workflow):
    def run(self) -> None:
        raise ValueError("no")


def test_a_key_is_free_when_its_holder_has_succeeded(launcher, crew):
    operon = launcher.launched("q")
    crew.let_all()
    first = _keyed(operon, crew.Job("a"))
    first.result(timeout=SOON)

    assert _keyed(operon, crew.Job("a")).id != first.id


def test_a_key_is_free_when_its_holder_has_failed(launcher):
    operon = launcher.launched("q")
    first = _keyed(operon, Failing())
    with pytest.raises(ValueError, match="no"):
        first.result(timeout=SOON)

    assert _keyed(operon, Failing()).id != first.id


@pytest.mark.parametrize("force", [True, False])
def test_a_key_is_free_when_its_holder_was_cancelled(launcher, crew, force):
    operon = launcher.made("q")
    first = _keyed(operon, crew.Job("a"))
    operon.cancel(first.id, force=force)

    assert _keyed(operon, crew.Job("a")).id != first.id


def test_a_start_goes_on_when_the_holder_ends_while_it_asks_who_that_is(
    make_operon, postgres_database, monkeypatch
):
    """On SQLite a start is one transaction of the only writer."""
    launcher = Launcher(make_operon, postgres_database.url)
    operon = launcher.made("q")
    _keyed(operon, Failing(), id="first")
    find_holder, asked = enqueueing.runs.find_holder, []

    def ends_meanwhile(*args):
        if not asked:
            asked.append(True)
            tamper(operon, "first", None, status="succeeded")
        return find_holder(*args)

    monkeypatch.setattr(enqueueing.runs, "find_holder", ends_meanwhile)

    assert _keyed(operon, Failing(), id="second").id == "second"


def test_concurrent_starts_make_one_run(launcher, crew):
    operon, other = launcher.made("q"), launcher.made("q")
    together = threading.Barrier(8)

    def start(number):
        together.wait()
        who = operon if number % 2 else other
        return _keyed(who, crew.Job(f"{number}")).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(start, range(8)))

    assert len(ids) == 1
    assert count(operon, WorkflowRun) == 1


def test_one_of_concurrent_starts_that_refuse_each_other_is_accepted(launcher, crew):
    operon, other = launcher.made("q"), launcher.made("q")
    together = threading.Barrier(8)

    def start(number):
        together.wait()
        who = operon if number % 2 else other
        try:
            return _keyed(who, crew.Job(f"{number}"), on_conflict="raise").id
        except DuplicateRunError:
            return None

    with ThreadPoolExecutor(8) as pool:
        ids = [each for each in pool.map(start, range(8)) if each]

    assert len(ids) == count(operon, WorkflowRun) == 1


def test_starts_beside_holders_that_end_all_the_time_find_a_run(launcher, crew):
    operon = launcher.launched("q")
    crew.let_all()

    def start(number):
        handle = _keyed(operon, crew.Job(f"{number}"))
        return handle.result(timeout=SOON) is not None

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(start, range(40)))

    assert all(found)
    assert count(operon, WorkflowRun, status="succeeded") == count(operon, WorkflowRun)


def test_a_dead_holder_is_resumed_beside_the_run_that_has_its_key_now(launcher, crew):
    operon = launcher.launched("q")
    operon.pause_queue("q")
    first = _keyed(operon, crew.Job("a"))
    tamper(operon, first.id, None, status="dead")
    second = _keyed(operon, crew.Job("b"))
    operon.resume(first.id)
    operon.resume_queue("q")
    crew.let_all()

    assert second.id != first.id
    assert (first.result(timeout=SOON), second.result(timeout=SOON)) == ("a", "b")


def test_a_failed_holder_is_retried_beside_the_run_that_has_its_key_now(launcher):
    operon = launcher.launched("q")
    first = _keyed(operon, Failing())
    with pytest.raises(ValueError, match="no"):
        first.result(timeout=SOON)
    operon.pause_queue("q")
    second = _keyed(operon, Failing())
    operon.retry(first.id)
    operon.resume_queue("q")

    for handle in (first, second):
        with pytest.raises(ValueError, match="no"):
            handle.result(timeout=SOON)


def test_a_fork_does_not_ask_for_the_key_of_its_origin(launcher, crew):
    operon = launcher.made("q")
    first = _keyed(operon, crew.Job("a"))
    fork = operon.fork(first.id, from_position=1)

    assert operon.get_run(fork.id).deduplication_key is None


def test_a_holder_that_dies_frees_its_key(launcher, crew):
    operon = launcher.launched("q")
    first = _keyed(operon, crew.Job("a"), id="first")
    crew.await_working("a")
    tamper(operon, "first", None, status="dead")

    assert _keyed(operon, crew.Job("b")).id != first.id


def test_a_start_that_is_rolled_back_leaves_the_key_free(launcher, crew):
    operon = launcher.made("q")
    with Session(operon.engine) as session:
        gone = _keyed(operon, crew.Job("a"), session=session)
        session.rollback()
    second = _keyed(operon, crew.Job("b"))

    assert second.id != gone.id
    assert [run.id for run in operon.list_runs()] == [second.id]


def test_two_starts_in_one_transaction_are_one_run(launcher, crew):
    operon = launcher.made("q")
    with Session(operon.engine) as session, session.begin():
        ids = {_keyed(operon, crew.Job("a"), session=session).id for _ in range(2)}
        with pytest.raises(DuplicateRunError):
            _keyed(operon, crew.Job("b"), session=session, on_conflict="raise")

    assert {run.id for run in operon.list_runs()} == ids


def test_a_body_joins_the_child_that_it_started_before(launcher, crew):
    class Parent(Workflow):
        def run(self) -> list[str]:
            options = {"queue": "q", "deduplicate": "k"}
            handles = [self.start(crew.Job("a"), **options) for _ in range(2)]
            try:
                self.start(crew.Job("a"), **options, on_conflict="raise")
            except DuplicateRunError as error:
                return [*(each.id for each in handles), error.holder]
            return []

    operon = launcher.made("q")
    joined = operon.run(Parent(), id="p")

    assert joined == ["p/1"] * 3
    assert operon.run(Parent(), id="p") == joined


def test_a_step_joins_the_run_that_another_step_started(launcher, crew):
    class Parent(Workflow):
        @step
        def begin(self, session: Session, label: str) -> str:
            return _keyed(operon, crew.Job(label)).id

        def run(self) -> bool:
            return self.begin("a") == self.begin("b")

    operon = launcher.made("q")

    assert operon.run(Parent())


def test_a_chain_keeps_its_key_until_its_last_run_has_ended(launcher, crew):
    class Counting(Workflow):
        left: int

        def run(self) -> int:
            if self.left > 0:
                self.continue_as(Counting(self.left - 1))
            self.sleep(HOUR)
            return 0

    operon = launcher.launched("q")
    first = _keyed(operon, Counting(2), id="c")
    eventually(lambda: count(operon, WorkflowRun, status="waiting") == 1)
    meanwhile = _keyed(operon, Counting(2)).id
    launcher.clock.turn(hours=2)
    first.result(timeout=SOON)
    afterwards = _keyed(operon, Counting(0)).id

    assert meanwhile == "c~3"
    assert afterwards not in {"c", "c~2", "c~3"}


# debouncing


def _debounced(operon, job, **options):
    return _keyed(operon, job, **{"debounce": TEN, **options})


def test_each_start_puts_the_run_off_and_replaces_its_input(launcher, crew):
    operon = launcher.launched("q")
    crew.let_all()
    handles = []
    for label in "abc":
        handles.append(_debounced(operon, crew.Job(label)))
        launcher.look_again()
        launcher.clock.turn(seconds=8)
    early = list(crew.begun)
    launcher.clock.turn(seconds=3)

    assert len({each.id for each in handles}) == 1
    assert handles[0].result(timeout=SOON) == "c"
    assert (early, crew.begun) == ([], ["c"])


def test_a_start_after_the_run_began_makes_another(launcher, crew):
    operon = launcher.launched("q")
    first = _debounced(operon, crew.Job("a"))
    launcher.clock.turn(seconds=11)
    crew.await_working("a")
    second = _debounced(operon, crew.Job("b"))
    launcher.clock.turn(seconds=11)
    crew.await_working("a", "b")

    assert second.id != first.id


def test_a_run_that_began_and_is_enqueued_again_keeps_its_input(launcher, crew):
    operon = launcher.launched("q")
    first = _debounced(operon, crew.Napping("a", HOUR))
    launcher.clock.turn(seconds=11)
    crew.let("a before")
    eventually(lambda: status(operon, first.id) == "waiting")
    operon.pause_queue("q")
    launcher.clock.turn(hours=2)
    eventually(lambda: status(operon, first.id) == "enqueued")
    second = _debounced(operon, crew.Napping("b", HOUR))

    assert second.id != first.id
    assert '"a"' in operon.get_run(first.id).input


def test_a_debounced_run_that_was_cancelled_is_not_started_again(launcher, crew):
    operon = launcher.made("q")
    first = _debounced(operon, crew.Job("a"))
    operon.cancel(first.id)

    assert _debounced(operon, crew.Job("b")).id != first.id


def test_debounced_runs_are_apart_by_key_and_queue(launcher, crew):
    operon = launcher.made("q", "p")
    ids = {
        _debounced(operon, crew.Job("a")).id,
        _debounced(operon, crew.Job("a"), deduplicate="other").id,
        _debounced(operon, crew.Job("a"), queue="p").id,
    }

    assert len(ids) == 3


def test_concurrent_debounced_starts_make_one_run(launcher, crew):
    operon, other = launcher.made("q"), launcher.made("q")
    together = threading.Barrier(8)

    def start(number):
        together.wait()
        return _debounced(operon if number % 2 else other, crew.Job(f"{number}")).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(start, range(8)))

    assert len(ids) == 1
    assert count(operon, WorkflowRun) == 1


def test_a_debounced_start_that_is_rolled_back_changes_nothing(launcher, crew):
    operon = launcher.made("q")
    first = _debounced(operon, crew.Job("a"))
    before = operon.get_run(first.id).due_at
    launcher.clock.turn(seconds=5)
    with Session(operon.engine) as session:
        _debounced(operon, crew.Job("b"), session=session)
        session.rollback()
    run = operon.get_run(first.id)

    assert (run.due_at, '"a"' in run.input) == (before, True)


def test_the_id_of_a_debounced_run_may_be_started_again_with_its_new_input(
    launcher, crew
):
    operon = launcher.made("q")
    _debounced(operon, crew.Job("a"), id="r")
    _debounced(operon, crew.Job("b"))

    assert operon.start(crew.Job("b"), id="r", queue="q").id == "r"


def test_a_body_may_debounce(launcher, crew):
    class Parent(Workflow):
        def run(self) -> list[str]:
            options = {"queue": "q", "deduplicate": "k", "debounce": TEN}
            handles = [self.start(crew.Job(each), **options) for each in "abc"]
            return [each.id for each in handles]

    operon = launcher.made("q")
    ids = operon.run(Parent(), id="p")

    assert ids == ["p/1"] * 3
    assert '"c"' in operon.get_run("p/1").input


def test_no_more_than_one_run_with_a_key_is_ever_live(launcher, crew):
    operon = launcher.launched("q")
    crew.let_all()
    stop, most = threading.Event(), []

    def watch():
        while not stop.is_set():
            with Session(operon.engine) as session:
                live = session.query(WorkflowRun).where(
                    WorkflowRun.deduplication_key == "k",
                    WorkflowRun.status.in_(LIVE),
                )
                most.append(live.count())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(20):
            _keyed(operon, crew.Job(f"{number}"))
            crew.await_begun(1)
    finally:
        stop.set()
        watcher.join()

    assert max(most) == 1
