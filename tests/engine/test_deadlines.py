"""Deadlines: absolute, inherited, delivered like a cancel, and a failure in the end."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.errors import MisuseError
from operon.errors import RunCancelledError
from operon.errors import RunTimeoutError
from operon.testing import TurnedClock
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.turned import HOUR
from tests.engine.turned import SOON
from tests.engine.turned import Gate
from tests.engine.turned import await_status
from tests.engine.turned import turn
from tests.processes import eventually
from tests.shop import create_shop
from tests.shop import happen
from tests.shop import happened

acts: dict[str, Any] = {}
"""What happens at each place, by its name."""

told: list[Any] = []
"""What the bodies were told when they were cancelled."""


def act(where: str) -> Any:
    return acts.get(where, lambda: None)()


def fail() -> None:
    raise LookupError("bank is down")


def crash() -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def nothing_told():
    acts.clear()
    told.clear()
    yield
    acts.clear()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def operon(make_operon, database, clock):
    """An Operon on a turned clock, whose runs are suspended at once when they wait."""
    operon = make_operon(database.url, clock=clock, inline_wait=timedelta(0))
    create_shop(operon.engine, "book")
    return operon


class BoundedSlow(Workflow):
    """Reserves, dawdles, settles; compensates when it is told to end."""

    wait: str = "not at all"

    @step
    def reserve(self, session: Session) -> None:
        insert_order(session, "reserved")

    @activity
    def dawdle(self) -> str:
        act("dawdle")
        return happen("dawdled")

    @step
    def settle(self, session: Session) -> None:
        insert_order(session, "settled")

    @step
    def release(self, session: Session) -> None:
        insert_order(session, "released")

    def run(self) -> str:
        try:
            self.reserve()
            self.dawdle()
            if self.wait == "sleep":
                self.sleep(24 * HOUR)
            elif self.wait == "receive":
                self.receive("go")
            elif self.wait == "event":
                self.event(current().run_id, "nothing")
            self.settle()
        except RunCancelled as cancelled:
            told.append((cancelled.run_id, cancelled.by_deadline))
            self.release()
            act("released")
            raise
        return "in time"


def outcome(operon, run_id: str = "r") -> tuple[str, int, int]:
    """Return how *run_id* ended, and how often it has settled and released."""
    return (
        status(operon, run_id),
        count(operon, run_id="settled"),
        count(operon, run_id="released"),
    )


def let_pass(operon, by: timedelta = 2 * HOUR) -> Any:
    """Return what lets time pass by the clock of *operon*."""
    return lambda: turn(operon, by)


# --- where a deadline comes from


def test_a_run_that_ends_before_its_deadline_knows_nothing_of_it(operon):
    assert operon.run(BoundedSlow(), id="r", timeout=HOUR) == "in time"
    assert outcome(operon) == ("succeeded", 1, 0)
    turn(operon, 2 * HOUR)

    assert operon.run(BoundedSlow(), id="r", timeout=HOUR) == "in time"


def test_a_deadline_of_run_counts_from_now_and_is_told_at_the_next_operation(operon):
    acts["dawdle"] = let_pass(operon)
    for _ in range(2):
        with pytest.raises(RunTimeoutError) as caught:
            operon.run(BoundedSlow(), id="r", timeout=HOUR)
        assert caught.value.run_id == "r"

    assert names(operon, "r") == ["reserve", "dawdle", "deadline", "release"]
    assert outcome(operon) == ("failed", 0, 1)
    assert told == [("r", True)]
    row = operon.get_run("r")
    assert HOUR <= row.deadline_at - row.created_at < HOUR + timedelta(seconds=1)


def test_a_deadline_of_start_counts_from_the_first_claim(operon):
    acts["dawdle"] = let_pass(operon, 0.9 * HOUR)
    handle = operon.start(BoundedSlow(), id="r", timeout=HOUR)
    turn(operon, 24 * HOUR)
    assert operon.get_run("r").deadline_at is None
    operon.launch()

    assert handle.result(SOON) == "in time"
    row = operon.get_run("r")
    assert row.deadline_at - row.started_at == HOUR
    assert row.started_at - row.created_at > 23 * HOUR


def test_a_workflow_declares_a_deadline_and_a_caller_another(operon):
    class Bounded(BoundedSlow, timeout=HOUR):
        pass

    acts["dawdle"] = let_pass(operon)

    with pytest.raises(RunTimeoutError):
        operon.run(Bounded(), id="r")
    assert operon.run(Bounded(), id="s", timeout=3 * HOUR) == "in time"
    operon.launch()
    with pytest.raises(RunTimeoutError):
        operon.start(Bounded(), id="t").result(SOON)
    assert operon.start(Bounded(), id="u", timeout=3 * HOUR).result(SOON) == "in time"


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1), 3, "1h"])
@pytest.mark.parametrize("how", ["run", "start"])
def test_a_timeout_that_is_no_time_is_refused(operon, how, timeout):
    with pytest.raises(MisuseError, match="timeout"):
        getattr(operon, how)(BoundedSlow(), id="r", timeout=timeout)
    assert operon.find_run("r") is None


def test_current_tells_the_deadline_and_an_activitys_own_if_that_is_earlier(operon):
    class Looks(Workflow):
        @activity
        def free(self) -> None:
            told.append(current().deadline)

        @activity(timeout=timedelta(minutes=1))
        def bounded(self) -> None:
            told.append(current().deadline)

        @activity(timeout=24 * HOUR)
        def patient(self) -> None:
            told.append(current().deadline)

        @step
        def stored(self, session: Session) -> None:
            del session
            told.append(current().deadline)

        def run(self) -> None:
            told.append(current().deadline)
            self.free()
            self.bounded()
            self.patient()
            self.stored()
            told.append(current().deadline)

    operon.run(Looks(), id="r", timeout=HOUR)

    deadline = operon.get_run("r").deadline_at
    assert told[1] == told[3] == told[4] == told[5] == deadline
    assert told[2] is not None
    assert told[2] < deadline
    told.clear()
    operon.run(Looks())
    assert told[1] is None


# --- how it is told


@pytest.mark.parametrize("wait", ["sleep", "receive", "event"])
def test_a_waiting_run_is_woken_by_its_deadline_and_compensates(operon, wait):
    operon.launch()
    handle = operon.start(BoundedSlow(wait), id="r", timeout=HOUR)
    await_status(operon, "r", "waiting")
    turn(operon, timedelta(minutes=50))
    assert status(operon, "r") == "waiting"
    turn(operon, HOUR)

    with pytest.raises(RunTimeoutError):
        handle.result(SOON)
    assert outcome(operon) == ("failed", 0, 1)
    assert told == [("r", True)]


@pytest.mark.parametrize("wait", ["sleep", "receive"])
def test_a_foreground_run_is_told_while_it_waits(operon, wait):
    """Nobody has launched an executor."""
    acts["dawdle"] = let_pass(operon, HOUR - timedelta(milliseconds=700))

    with pytest.raises(RunTimeoutError):
        operon.run(BoundedSlow(wait), id="r", timeout=HOUR)
    assert outcome(operon) == ("failed", 0, 1)


@pytest.mark.parametrize("wait", ["sleep", "receive", "event"])
def test_a_run_that_waits_in_its_thread_is_told_in_time(make_operon, database, wait):
    operon = make_operon(database.url, inline_wait=timedelta(minutes=1))
    create_shop(operon.engine, "book")

    with pytest.raises(RunTimeoutError):
        operon.run(BoundedSlow(wait), id="r", timeout=timedelta(milliseconds=500))
    assert outcome(operon) == ("failed", 0, 1)
    row = operon.get_run("r")
    assert row.finished_at - row.deadline_at < timedelta(seconds=5)


def test_a_run_is_told_between_the_attempts_of_an_activity(operon):
    class Tries(Workflow):
        @activity(retry=Retry(attempts=9, delay=HOUR, factor=1, cap=HOUR, jitter=0))
        def ask(self) -> None:
            raise LookupError

        def run(self) -> None:
            self.ask()

    operon.launch()
    handle = operon.start(Tries(), id="r", timeout=1.5 * HOUR)
    await_status(operon, "r", "waiting")
    turn(operon, 1.6 * HOUR)

    with pytest.raises(RunTimeoutError):
        handle.result(SOON)
    assert history(operon, "r") == [(1, "cancel", "deadline")]


def test_a_run_whose_claim_comes_after_its_inherited_deadline_never_begins(
    operon, ledger
):
    class Starts(Workflow):
        def run(self) -> str:
            return self.start(BoundedSlow(), delay=2 * HOUR).id

    operon.run(Starts(), id="r", timeout=HOUR)
    assert operon.get_run("r/1").deadline_at == operon.get_run("r").deadline_at
    turn(operon, 3 * HOUR)
    operon.launch()

    with pytest.raises(RunTimeoutError, match="'r/1'"):
        operon.handle("r/1").result(SOON)
    assert history(operon, "r/1") == []
    assert happened(ledger) == []


def test_an_enqueued_run_that_had_begun_is_told_when_it_goes_on(operon):
    acts["dawdle"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(BoundedSlow(), id="r", timeout=HOUR)
    assert status(operon, "r") == "enqueued"
    acts.clear()
    turn(operon, 2 * HOUR)
    operon.launch()

    with pytest.raises(RunTimeoutError):
        operon.handle("r").result(SOON)
    assert names(operon, "r") == ["reserve", "deadline", "release"]


@pytest.mark.parametrize("how", ["swallow", "another error"])
def test_whatever_the_body_makes_of_it_the_run_has_failed_by_its_deadline(operon, how):
    class Stubborn(Workflow):
        @activity
        def ask(self) -> None:
            act("ask")

        def run(self) -> str:
            try:
                self.ask()
                self.ask()
            except RunCancelled:
                if how == "swallow":
                    return "swallowed"
                raise LookupError("compensated") from None
            return "in time"

    acts["ask"] = let_pass(operon)

    with pytest.raises(RunTimeoutError):
        operon.run(Stubborn(), id="r", timeout=HOUR)
    assert (status(operon, "r"), operon.get_run("r").output) == ("failed", None)


def test_a_deadline_after_the_last_operation_comes_too_late(operon):
    class Ends(Workflow):
        def run(self) -> str:
            self.publish("key", 1)
            turn(operon, 2 * HOUR)
            return "ended"

    assert operon.run(Ends(), id="r", timeout=HOUR) == "ended"
    assert status(operon, "r") == "succeeded"


def test_a_cancel_that_was_asked_for_first_stays_one(operon):
    acts["dawdle"] = lambda: (operon.cancel("r"), turn(operon, 2 * HOUR))

    with pytest.raises(RunCancelledError):
        operon.run(BoundedSlow(), id="r", timeout=HOUR)
    assert (status(operon, "r"), told) == ("cancelled", [("r", False)])


def test_operations_of_a_compensation_work_however_long_they_take(operon):
    acts["dawdle"] = let_pass(operon)

    class Undoes(BoundedSlow):
        def run(self) -> str:
            try:
                self.dawdle()
                self.dawdle()
            except RunCancelled:
                self.dawdle()
                self.sleep(5 * HOUR)
                self.release()
                raise
            return "in time"

    operon.launch()
    handle = operon.start(Undoes(), id="r", timeout=HOUR)
    await_status(operon, "r", "waiting")
    turn(operon, 6 * HOUR)

    with pytest.raises(RunTimeoutError):
        handle.result(SOON)
    assert names(operon, "r") == ["dawdle", "deadline", "dawdle", "sleep", "release"]


def test_a_deadline_that_somebody_else_enforces_just_now_is_waited_for(
    make_operon, postgres_database, clock
):
    engine = create_engine(postgres_database.url)
    mine, looked = threading.get_ident(), threading.Semaphore(0)

    @event.listens_for(engine, "before_cursor_execute")
    def notice(_c, _cursor, statement, *_rest) -> None:
        is_looking = "SKIP LOCKED" in statement and "deadline_at" in statement
        if is_looking and threading.get_ident() == mine:
            looked.release()

    operon = make_operon(engine, clock=clock)

    class Dawdles(BoundedSlow):
        def run(self) -> str:
            self.dawdle()
            begin_to_enforce()
            self.dawdle()
            return "too late"

    keeper = engine.connect()

    def begin_to_enforce() -> None:
        lock = "SELECT id FROM operon_runs WHERE id = 'r' FOR NO KEY UPDATE"
        keeper.exec_driver_sql(lock)
        turn(operon, 2 * HOUR)
        threading.Thread(target=enforce).start()

    def enforce() -> None:
        for _ in range(2):  # after one it would have given up, and gone on
            looked.acquire(timeout=5)
        keeper.commit()

    acts["dawdle"] = lambda: told.append("dawdled")
    with keeper, pytest.raises(RunTimeoutError):
        operon.run(Dawdles(), id="r", timeout=HOUR)

    assert told == ["dawdled"]
    assert names(operon, "r") == ["dawdle", "deadline"]


# --- absolute


def test_a_deadline_is_absolute_over_recovery_and_replay(operon):
    acts["dawdle"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(BoundedSlow(), id="r", timeout=HOUR)
    before = operon.get_run("r").deadline_at
    turn(operon, timedelta(minutes=50))
    with pytest.raises(KeyboardInterrupt):
        operon.run(BoundedSlow(), id="r", timeout=HOUR)
    assert operon.get_run("r").deadline_at == before
    acts.clear()
    turn(operon, timedelta(minutes=11))

    with pytest.raises(RunTimeoutError):
        operon.run(BoundedSlow(), id="r", timeout=HOUR)
    assert outcome(operon) == ("failed", 0, 1)


def test_a_deadline_of_a_queued_run_is_not_begun_anew_by_its_second_claim(operon):
    operon.launch()
    handle = operon.start(BoundedSlow("sleep"), id="r", timeout=30 * HOUR)
    await_status(operon, "r", "waiting")
    before = operon.get_run("r").deadline_at
    turn(operon, 25 * HOUR)

    assert handle.result(SOON) == "in time"
    assert operon.get_run("r").deadline_at == before


def test_a_compensation_cut_by_a_crash_goes_on_and_the_run_has_failed(operon):
    acts.update(dawdle=let_pass(operon), released=crash)
    with pytest.raises(KeyboardInterrupt):
        operon.run(BoundedSlow(), id="r", timeout=HOUR)
    acts.clear()

    with pytest.raises(RunTimeoutError):
        operon.run(BoundedSlow(), id="r", timeout=HOUR)
    assert outcome(operon) == ("failed", 0, 1)
    assert told == [("r", True)] * 2
    assert names(operon, "r").count("deadline") == 1


# --- children


def test_a_child_inherits_the_deadline_and_may_have_an_earlier_one(operon):
    class Starts(Workflow):
        def run(self) -> None:
            self.start(BoundedSlow("sleep"))
            self.start(BoundedSlow("sleep"), timeout=HOUR)
            self.start(BoundedSlow("sleep"), timeout=24 * HOUR)

    operon.launch()
    operon.start(Starts(), id="r", timeout=2 * HOUR).result(SOON)
    for number in (1, 2, 3):
        await_status(operon, f"r/{number}", "waiting")

    deadline = operon.get_run("r").deadline_at
    rows = [operon.get_run(f"r/{number}") for number in (1, 2, 3)]
    assert [row.deadline_at == deadline for row in rows] == [True, False, True]
    assert rows[1].deadline_at - rows[1].started_at == HOUR
    turn(operon, 1.5 * HOUR)
    await_status(operon, "r/2", "failed")
    assert (status(operon, "r/1"), status(operon, "r/3")) == ("waiting", "waiting")
    turn(operon, HOUR)
    await_status(operon, "r/1", "failed")
    await_status(operon, "r/3", "failed")


def test_parent_and_child_are_told_at_the_same_deadline_and_both_compensate(operon):
    class Calls(BoundedSlow):
        def run(self) -> str:
            try:
                return self.call(BoundedSlow("sleep"))
            except RunCancelled:
                self.release()
                raise

    operon.launch()
    handle = operon.start(Calls(), id="r", timeout=HOUR)
    eventually(lambda: operon.find_run("r/1") is not None)
    await_status(operon, "r", "waiting")
    await_status(operon, "r/1", "waiting")
    turn(operon, 2 * HOUR)

    with pytest.raises(RunTimeoutError, match="'r'"):
        handle.result(SOON)
    with pytest.raises(RunTimeoutError, match="'r/1'"):
        operon.handle("r/1").result(SOON)
    assert count(operon, run_id="released") == 2


def test_a_child_that_times_out_by_itself_is_an_error_its_parent_may_catch(operon):
    class Calls(Workflow):
        def run(self) -> str:
            child = self.start(BoundedSlow("sleep"), timeout=HOUR)
            try:
                return child.result()
            except RunTimeoutError as error:
                return f"{error.run_id} was late"

    operon.launch()
    handle = operon.start(Calls(), id="r")
    eventually(lambda: operon.find_run("r/1") is not None)
    await_status(operon, "r/1", "waiting")
    turn(operon, 2 * HOUR)

    assert handle.result(SOON) == "r/1 was late"


def test_a_run_started_by_a_step_has_no_deadline_of_the_one_that_started_it(operon):
    """Only a child of the body is bounded: nobody waits for this one."""

    class Starts(Workflow):
        @step
        def begin(self, session: Session) -> str:
            del session
            return operon.start(BoundedSlow()).id

        def run(self) -> str:
            return self.begin()

    started = operon.run(Starts(), id="r", timeout=HOUR)

    assert operon.get_run(started).deadline_at is None


# --- while something executes


def test_a_running_run_is_told_by_the_sweep_and_its_outcome_is_not_lost(operon, ledger):
    """The activity is under way when the deadline passes; what it did is recorded."""
    gate, under_way = Gate(), Gate()
    acts["dawdle"] = lambda: (under_way.open(), gate.wait())
    operon.launch()
    handle = operon.start(BoundedSlow(), id="r", timeout=HOUR)
    under_way.wait()
    turn(operon, 2 * HOUR)
    eventually(lambda: operon.get_run("r").cancel_requested_at is not None)
    gate.open()

    with pytest.raises(RunTimeoutError):
        handle.result(SOON)
    assert names(operon, "r") == ["reserve", "dawdle", "deadline", "release"]
    assert happened(ledger) == ["dawdled"]


def test_a_deadline_is_told_once_and_at_once_though_spawned_operations_are_parked(
    operon,
):
    class Spawns(Workflow):
        @activity(retry=Retry(attempts=9, delay=HOUR, factor=1, cap=HOUR, jitter=0))
        def ask(self) -> None:
            act("ask")

        @step
        def undo(self, session: Session) -> None:
            insert_order(session, "undone")

        def run(self) -> None:
            try:
                self.gather(*(self.spawn(self.ask) for _ in range(3)))
            except RunCancelled:
                self.undo()
                raise

    acts["ask"] = fail
    operon.launch()
    handle = operon.start(Spawns(), id="r", timeout=HOUR / 2)
    await_status(operon, "r", "waiting")
    turn(operon, 0.6 * HOUR)
    eventually(lambda: count(operon, run_id="undone") == 1)
    acts.clear()
    turn(operon, HOUR)  # the others end, too, before the run does

    with pytest.raises(RunTimeoutError):
        handle.result(SOON)
    assert [name for *_, name in history(operon, "r")].count("deadline") == 1
    assert count(operon, run_id="undone") == 1


# --- afterwards


def test_a_resumed_run_has_no_deadline_any_more(operon):
    operon.launch()
    handle = operon.start(BoundedSlow("receive"), id="r", timeout=HOUR)
    await_status(operon, "r", "waiting")
    operon.cancel("r", force=True)
    turn(operon, 2 * HOUR)
    operon.resume("r")
    await_status(operon, "r", "waiting")
    handle.send("go", None)

    assert handle.result(SOON) == "in time"


def test_a_sleep_that_was_ended_by_force_and_resumed_ends_when_it_would_have(operon):
    operon.launch()
    handle = operon.start(BoundedSlow("sleep"), id="r")
    await_status(operon, "r", "waiting")
    turn(operon, 20 * HOUR)
    operon.cancel("r", force=True)
    operon.resume("r")
    await_status(operon, "r", "waiting")
    turn(operon, 5 * HOUR)

    assert handle.result(SOON) == "in time"


def test_a_run_that_failed_is_retried_after_its_deadline(operon):
    acts["dawdle"] = fail
    with pytest.raises(LookupError):
        operon.run(BoundedSlow(), id="r", timeout=HOUR)
    acts.clear()
    turn(operon, 24 * HOUR)
    operon.retry("r")

    assert operon.run(BoundedSlow(), id="r", timeout=HOUR) == "in time"
