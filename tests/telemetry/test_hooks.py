"""Hooks: every beginning has one end, and nothing that a hook does changes anything."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunStatus
from operon import Workflow
from operon import activity
from operon import step
from operon import transaction
from operon.errors import RunCancelledError
from operon.hooks import AttemptFinished
from operon.hooks import AttemptStarted
from operon.hooks import Hook
from operon.hooks import LeaseLost
from operon.hooks import Replayed
from operon.hooks import RunClaimed
from operon.hooks import RunContinued
from operon.hooks import RunFinished
from operon.hooks import RunJoined
from operon.hooks import RunReleased
from operon.hooks import RunStarted
from operon.hooks import RunStarting
from operon.hooks import RunSuspended
from operon.models import WorkflowRun
from tests.fix_telemetry import Kept
from tests.processes import eventually

ENDS = (
    RunFinished,
    RunSuspended,
    RunContinued,
    RunReleased,
    RunJoined,
    LeaseLost,
)
PATIENCE = timedelta(seconds=30)


class HookPlain(Workflow):
    """Saves and calls; the call fails as often as it is told."""

    fails: int = 0

    @step
    def save(self, session: Session) -> str:
        return "saved"

    @activity(retry=Retry(attempts=3, delay=timedelta(0)))
    def ring(self) -> str:
        calls.append(1)
        if len(calls) <= self.fails:
            raise ConnectionError("a secret")
        return "rung"

    def run(self) -> str:
        return self.save() + self.ring()


class HookWaits(Workflow):
    """Waits without a thread, then goes on as another."""

    again: bool = False

    def run(self) -> str:
        self.sleep(timedelta(seconds=0.05))
        if self.again:
            self.continue_as(HookWaits())
        return "over"


class HookFails(Workflow):
    """Fails."""

    def run(self) -> None:
        raise LookupError("a secret")


@transaction
def hook_settle(session: Session) -> int:
    """A run by itself."""
    return 7


calls: list[int] = []


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


@pytest.fixture(autouse=True)
def _every_claim_has_one_end(operon, kept):
    yield
    operon.shutdown()
    claims = [each.run.id for each in kept.of(RunClaimed)]
    ends = [each.run.id for each in kept.of(*ENDS)]
    begun = [(e.run.id, e.operation) for e in kept.of(AttemptStarted)]
    over = [(e.run.id, e.operation) for e in kept.of(AttemptFinished)]

    assert sorted(claims) == sorted(ends)
    assert sorted(begun, key=repr) == sorted(over, key=repr)
    assert len(kept.of(RunStarting)) == len(kept.of(RunStarted))


def test_a_run_is_told_from_its_start_to_its_end(operon, kept):
    operon.run(HookPlain(), id="r")

    assert kept.names() == [
        "RunStarting",
        "RunStarted",
        "RunClaimed",
        "AttemptStarted",
        "AttemptFinished",
        "AttemptStarted",
        "AttemptFinished",
        "RunFinished",
    ]
    [claimed], [finished] = kept.of(RunClaimed), kept.of(RunFinished)
    assert (claimed.run.id, claimed.run.workflow) == ("r", "HookPlain")
    assert (claimed.run.version, claimed.run.epoch) == (1, 1)
    assert not claimed.is_recovery
    assert claimed.waited == timedelta(0)
    assert (finished.status, finished.error) == (RunStatus.SUCCEEDED, None)


def test_a_started_run_is_told_how_long_it_waited(operon, kept):
    handle = operon.start(HookPlain())
    operon.launch()
    handle.result(PATIENCE)
    eventually(lambda: kept.of(RunFinished))

    [claimed], [started] = kept.of(RunClaimed), kept.of(RunStarted)
    assert started.run_id == claimed.run.id == handle.id
    assert claimed.waited is not None
    assert claimed.waited >= timedelta(0)
    assert claimed.queue == "default"


def test_an_attempt_that_failed_is_told_with_the_class_of_its_error(operon, kept):
    operon.run(HookPlain(fails=2))

    outcomes = [
        (each.operation.name, each.operation.attempt, each.outcome, each.error)
        for each in kept.of(AttemptFinished)
    ]
    assert outcomes == [
        ("save", 1, "recorded", None),
        ("ring", 1, "failed", "ConnectionError"),
        ("ring", 2, "failed", "ConnectionError"),
        ("ring", 3, "recorded", None),
    ]
    assert [each.size for each in kept.of(AttemptFinished)] == [7, None, None, 6]


def test_a_run_that_failed_is_told_with_the_class_of_its_error(operon, kept):
    with pytest.raises(LookupError):
        operon.run(HookFails())

    [finished] = kept.of(RunFinished)
    assert (finished.status, finished.error) == (RunStatus.FAILED, "LookupError")


def test_what_is_replayed_is_told_as_that_and_not_tried(operon, kept):
    operon.run(HookPlain(), id="r")
    kept.records.clear()
    with Session(operon.engine) as session, session.begin():
        session.execute(
            update(WorkflowRun).values(
                status=RunStatus.ENQUEUED, output=None, finished_at=None
            )
        )

    operon.run(HookPlain(), id="r")

    tried = {"AttemptStarted", "AttemptFinished"}
    assert [name for name in kept.names() if name not in tried] == [
        "RunStarting",
        "RunStarted",
        "RunClaimed",
        "RunJoined",  # the id turned out to be taken: the run is continued instead
        "RunClaimed",
        "Replayed",
        "Replayed",
        "RunFinished",
    ]
    assert {each.outcome for each in kept.of(AttemptFinished)} <= {"joined"}
    replayed = [(e.operation.kind, e.operation.name) for e in kept.of(Replayed)]
    assert replayed == [("step", "save"), ("activity", "ring")]


def test_a_run_that_waits_is_told_and_claimed_again(
    make_operon, database, operon, kept
):
    waiting = make_operon(database.url, hooks=[kept], inline_wait=timedelta(0))
    waiting.launch()
    handle = waiting.start(HookWaits(again=True))
    handle.result(PATIENCE)
    eventually(lambda: kept.of(RunFinished))
    waiting.shutdown()

    told = [type(each).__name__ for each in kept.of(RunClaimed, *ENDS)]
    assert told == [
        "RunClaimed",
        "RunSuspended",
        "RunClaimed",
        "RunContinued",
        "RunClaimed",
        "RunSuspended",
        "RunClaimed",
        "RunFinished",
    ]
    assert kept.of(RunSuspended)[0].waits_for == "sleep"
    assert kept.of(RunContinued)[0].successor == f"{handle.id}~2"


def test_a_transaction_is_a_run_of_one_attempt(operon, kept):
    operon.run(hook_settle())

    assert kept.names() == [
        "RunStarting",
        "RunStarted",
        "RunClaimed",
        "AttemptStarted",
        "AttemptFinished",
        "RunFinished",
    ]


@pytest.fixture
def waiting(operon):
    """The handle of a run whose body waits for ever, in a thread of this process."""
    entered = threading.Event()

    class HookWaitsForEver(Workflow):
        def run(self) -> None:
            entered.set()
            self.receive("never")

    operon.launch()
    handle = operon.start(HookWaitsForEver())
    assert entered.wait(30)
    return handle


def test_a_run_that_is_cancelled_is_told_so(operon, kept, waiting):
    operon.cancel(waiting.id)
    with pytest.raises(RunCancelledError):
        waiting.result(PATIENCE)

    eventually(lambda: kept.of(RunFinished))
    assert kept.of(RunFinished)[0].status is RunStatus.CANCELLED


@pytest.mark.usefixtures("waiting")
def test_a_run_that_a_stopping_process_gives_back_is_told(operon, kept):
    operon.shutdown()

    assert len(kept.of(RunReleased)) == 1


class Broken(Hook):
    """Fails whenever it is asked anything."""

    def tell(self, record):
        raise RuntimeError("a hook of bad quality")

    def watch(self, source):
        raise RuntimeError("a hook of bad quality")

    def carry(self):
        raise RuntimeError("a hook of bad quality")


def test_a_hook_that_fails_changes_nothing_and_is_logged_once(
    make_operon, database, operon, kept, caplog
):
    broken = make_operon(database.url, hooks=[Broken(), kept])

    assert broken.run(HookPlain()) == "savedrung"
    broken.shutdown()

    assert len(kept.of(AttemptFinished)) == 2
    logged = [each for each in caplog.records if each.name == "operon.hooks"]
    assert len(logged) == 1


def test_hooks_that_are_installed_are_found_when_an_operon_is_first_used(
    make_operon, database, kept, monkeypatch
):
    operon = make_operon(database.url)
    monkeypatch.setattr(operon.hooks, "installed", lambda: [kept])

    operon.run(hook_settle())

    assert kept.of(RunFinished)


def test_a_hook_is_told_whom_to_ask_before_anything_else(make_operon, database):
    class Asking(Kept):
        source = None

        def watch(self, source):
            assert not self.records
            self.source = source

    hook = Asking()
    operon = make_operon(database.url, hooks=[hook])
    operon.run(hook_settle())

    assert hook.source is not None
    assert hook.source.slots() == (0, operon.settings.threads)
