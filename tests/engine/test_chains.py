"""Chains: a body goes on as a new run, with an empty history and the same address."""

import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.errors import MisuseError
from operon.errors import RunCancelledError
from operon.errors import RunDeadError
from operon.models import Checkpoint
from operon.models import Message
from operon.models import WorkflowRun
from operon.points import Point
from operon.status import RunStatus
from operon.store import runs as stored_runs
from operon.testing import TurnedClock
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.facts import tamper
from tests.engine.turned import HOUR
from tests.engine.turned import SOON
from tests.engine.turned import Crash
from tests.engine.turned import Crasher
from tests.engine.turned import await_status
from tests.engine.turned import end_elsewhere
from tests.engine.turned import turn
from tests.engine.waits import await_waiting
from tests.processes import eventually
from tests.shop import ThreeSteps
from tests.shop import create_shop
from tests.shop import happen
from tests.shop import happened

acts: dict[str, Any] = {}
"""What happens at each place, by its name."""


def act(where: str) -> Any:
    return acts.get(where, lambda: None)()


def crash() -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def no_acts():
    acts.clear()
    yield
    acts.clear()


class ChainLoop(Workflow):
    """Writes one order in each run, until there were enough."""

    until: int
    number: int = 1

    @step
    def write_one(self, session: Session) -> int:
        act(f"step {self.number}")
        return insert_order(session, current().run_id).id

    def run(self) -> int:
        found = self.write_one()
        act(f"body {self.number}")
        if self.number < self.until:
            self.continue_as(ChainLoop(self.until, self.number + 1))
        return found


def ids(operon) -> list[str]:
    """Return the ids of all runs, in order of their making."""
    with Session(operon.engine) as session:
        query = select(WorkflowRun.id).order_by(WorkflowRun.created_at)
        return list(session.scalars(query))


# --- ids and results


def test_a_chain_has_the_ids_of_its_first_run_with_a_number(operon):
    assert operon.run(ChainLoop(4), id="root") == 4

    assert ids(operon) == ["root", "root~2", "root~3", "root~4"]
    rows = [operon.get_run(run_id) for run_id in ids(operon)]
    assert [row.chain_id for row in rows] == [None, "root", "root", "root"]
    assert [row.continued_as for row in rows] == ["root~2", "root~3", "root~4", None]
    assert {row.status for row in rows} == {"succeeded"}
    assert [row.number for row in map(_input, rows)] == [1, 2, 3, 4]
    for run_id in ids(operon):
        assert history(operon, run_id) == [(1, "step", "write_one")]
        assert count(operon, run_id=run_id) == 1


def _input(row: WorkflowRun) -> ChainLoop:
    return ChainLoop.__operon__.decode(row.input)


def test_every_handle_of_a_chain_follows_it_to_its_end(operon):
    operon.launch()
    first = operon.start(ChainLoop(3), id="root")

    assert first.result(SOON) == 3
    assert [operon.handle(run_id).result() for run_id in ids(operon)] == [3, 3, 3]
    assert [operon.handle(run_id).status() for run_id in ids(operon)] == [
        "succeeded"
    ] * 3


def test_running_the_first_id_again_tells_the_last_result_and_runs_nothing(operon):
    operon.run(ChainLoop(3), id="root")

    assert operon.run(ChainLoop(3), id="root") == 3
    assert count(operon) == 3


def test_the_first_handle_raises_what_the_last_run_raised(operon):
    def fail() -> None:
        raise LookupError("third")

    acts["body 3"] = fail
    for _ in range(2):
        with pytest.raises(LookupError, match="third"):
            operon.run(ChainLoop(5), id="root")

    assert operon.handle("root").status() == "failed"
    assert status(operon, "root") == "succeeded"
    assert ids(operon) == ["root", "root~2", "root~3"]


def test_a_chain_may_go_on_as_another_workflow(operon):
    class Begins(Workflow):
        def run(self) -> int:
            self.continue_as(ThreeSteps("book"))

    assert operon.run(Begins(), id="root") == 1
    assert names(operon, "root~2") == ["take", "pay", "close"]


def test_a_result_is_decoded_by_the_workflow_that_the_chain_ended_as(operon):
    class Ends(Workflow):
        def run(self) -> timedelta:
            return timedelta(minutes=3)

    class Begins(Workflow):
        def run(self) -> timedelta:
            self.continue_as(Ends())

    assert operon.run(Begins()) == timedelta(minutes=3)


def test_a_body_may_go_on_before_its_first_operation(operon):
    class Begins(Workflow):
        def run(self) -> int:
            self.continue_as(ChainLoop(1))

    assert operon.run(Begins(), id="root") == 1
    assert history(operon, "root") == []


def test_a_parent_gets_the_result_of_its_childs_whole_chain(operon):
    class Calls(Workflow):
        def run(self) -> list[int]:
            child = self.start(ChainLoop(3))
            return [child.result(), self.call(ChainLoop(2))]

    assert operon.run(Calls(), id="r") == [3, 5]
    assert history(operon, "r") == [
        (1, "start", "ChainLoop"),
        (2, "result", "r/1"),
        (3, "start", "ChainLoop"),
        (4, "result", "r/3"),
    ]
    assert operon.get_run("r/1~3").parent_id == "r"


def test_a_parent_that_waits_without_a_thread_is_woken_by_the_end_of_the_chain(
    make_operon, database
):
    operon = make_operon(database.url, inline_wait=timedelta(0))
    create_shop(operon.engine, "book")

    class Calls(Workflow):
        def run(self) -> int:
            return self.call(ChainLoop(4))

    operon.launch()

    assert operon.start(Calls(), id="r").result(SOON) == 4


def test_a_forked_chain_goes_on_under_the_forks_id(operon):
    operon.run(ChainLoop(3), id="root")
    operon.fork("root~2", from_position=2, id="f")
    operon.launch()

    assert operon.handle("f").result(SOON) == 4
    assert operon.get_run("f").continued_as == "f~2"
    assert count(operon) == 4


@pytest.mark.parametrize("successor", [ChainLoop, None, "ChainLoop", 7])
def test_what_is_no_workflow_continues_nothing(operon, successor):
    class Begins(Workflow):
        def run(self) -> str:
            with pytest.raises(MisuseError):
                self.continue_as(successor)
            return "went on"

    assert operon.run(Begins(), id="root") == "went on"
    assert ids(operon) == ["root"]


def test_only_a_body_goes_on_as_another_run(operon):
    class Inside(Workflow):
        @activity
        def ask(self) -> None:
            self.continue_as(ChainLoop(1))

        def run(self) -> None:
            self.ask()

    with pytest.raises(MisuseError, match="continue_as was called inside the act"):
        operon.run(Inside())


def test_what_a_body_does_after_it_has_gone_on_is_ignored(operon):
    class Stubborn(Workflow):
        number: int = 1

        @step
        def write_one(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> int:
            if self.number == 2:
                return 2
            try:
                self.continue_as(Stubborn(2))
            except:  # noqa: E722 - on purpose
                with suppress(BaseException):
                    self.write_one()
            return 1

    assert operon.run(Stubborn(), id="root") == 2
    assert count(operon) == 0


def test_a_run_whose_successors_id_is_taken_is_dead_and_says_so(operon):
    operon.start(ThreeSteps("book"), id="root~2")

    with pytest.raises(RunDeadError, match=r"root~2.*exists already"):
        operon.run(ChainLoop(2), id="root")
    assert status(operon, "root") == "dead"


# --- bounded, and many


@pytest.mark.timeout(300)
def test_a_thousand_iterations_keep_each_history_short_and_finish(
    make_operon, database
):
    operon = make_operon(database.url)
    create_shop(operon.engine, "book")

    assert operon.run(ChainLoop(1000), id="root") == 1000
    with Session(operon.engine) as session:
        longest = session.scalar(select(func.max(Checkpoint.position)))
        made = session.scalar(select(func.count(WorkflowRun.id)))
    assert (longest, made) == (1, 1000)
    assert count(operon) == 1000
    assert operon.handle("root").result() == 1000


def test_a_long_chain_of_a_launched_executor_ends(make_operon, database):
    operon = make_operon(database.url)
    create_shop(operon.engine, "book")
    operon.launch()

    assert operon.start(ChainLoop(20), id="root").result(SOON) == 20


# --- what is handed on


class ChainListens(Workflow):
    """Receives one message in each run, and tells what it got."""

    until: int
    got: list[str]

    def run(self) -> list[str]:
        message = self.receive("talk", type=str)
        got = [*self.got, f"{current().run_id}: {message}"]
        self.publish("latest", message)
        self.write("log", message)
        if len(got) < self.until:
            self.continue_as(ChainListens(self.until, got))
        return got


def test_messages_to_any_id_of_the_chain_are_read_by_its_current_run(operon):
    operon.launch()
    handle = operon.start(ChainListens(4, []), id="root")

    operon.send("root", "talk", "a")
    eventually(lambda: operon.find_run("root~2") is not None)
    operon.send("root", "talk", "b")
    eventually(lambda: operon.find_run("root~3") is not None)
    operon.handle("root~2").send("talk", "c")
    eventually(lambda: operon.find_run("root~4") is not None)
    operon.send("root~4", "talk", "d")

    assert handle.result(SOON) == ["root: a", "root~2: b", "root~3: c", "root~4: d"]


def test_messages_sent_before_a_run_goes_on_are_kept_for_its_successors(operon):
    handle = operon.start(ChainListens(3, []), id="root")
    for message in "abc":
        handle.send("talk", message)
    operon.launch()

    assert handle.result(SOON) == ["root: a", "root~2: b", "root~3: c"]
    with Session(operon.engine) as session:
        read = list(session.scalars(select(Message.received_by).order_by(Message.id)))
    assert read == ["root", "root~2", "root~3"]


def test_a_chain_that_goes_on_while_somebody_looks_has_not_ended(operon, monkeypatch):
    operon.launch()
    handle = operon.start(ChainListens(3, []), id="root")
    handle.send("talk", "a")
    await_waiting(operon, "root~2")
    newest = stored_runs.newest

    def too_late(connection: Any, run_id: str) -> str:
        found = newest(connection, run_id)
        if found == "root~2":
            handle.send("talk", "b")
            await_waiting(operon, "root~3")
        return found

    monkeypatch.setattr(stored_runs, "newest", too_late)

    assert handle.status() is RunStatus.WAITING
    handle.send("talk", "c")
    assert len(handle.result(SOON)) == 3


def test_events_and_streams_continue_under_any_id(operon):
    handle = operon.start(ChainListens(3, []), id="root")
    for message in "abc":
        handle.send("talk", message)
    read: list[str] = []
    reader = threading.Thread(
        target=lambda: read.extend(handle.stream("log", type=str))
    )
    reader.start()
    operon.launch()
    handle.result(SOON)
    reader.join()

    assert read == ["a", "b", "c"]
    for run_id in ids(operon):
        chained = operon.handle(run_id)
        assert chained.events() == {"latest": "c"}
        assert list(chained.stream("log", type=str, offset=1)) == ["b", "c"]


def test_queue_priority_attributes_and_who_asked_are_handed_on(make_operon, database):
    operon = make_operon(database.url, queues=["slow"])
    create_shop(operon.engine, "book")
    operon.launch()
    operon.start(
        ChainLoop(2),
        id="root",
        queue="slow",
        priority=3,
        attributes={"customer": 7},
        principal={"sub": "alice"},
    ).result(SOON)

    row = operon.get_run("root~2")
    assert (row.queue, row.priority) == ("slow", 3)
    assert (row.attributes, row.principal) == ({"customer": 7}, {"sub": "alice"})
    found = operon.list_runs(attributes={"customer": 7})
    assert {each.id for each in found} == {"root", "root~2"}


def test_a_deduplication_key_is_held_by_the_chain_until_it_ends(operon):
    class Holds(Workflow):
        number: int = 1

        def run(self) -> int:
            self.receive("go")
            if self.number < 3:
                self.continue_as(Holds(self.number + 1))
            return self.number

    operon.launch()
    handle = operon.start(Holds(), id="root", deduplicate="k")
    for number in (2, 3):
        operon.send("root", "go", None)
        eventually(lambda run_id=f"root~{number}": operon.find_run(run_id) is not None)
        joined = operon.start(Holds(), deduplicate="k")
        assert joined.id == f"root~{number}"
    operon.send("root", "go", None)
    assert handle.result(SOON) == 3

    assert operon.start(Holds(), id="fresh", deduplicate="k").id == "fresh"


# --- cancel, retry and resume


class ChainWaits(Workflow):
    """Goes on once, then waits for a day; compensates if it is cancelled."""

    number: int = 1

    @step
    def undo(self, session: Session) -> None:
        insert_order(session, "undone")

    def run(self) -> None:
        if self.number == 1:
            self.continue_as(ChainWaits(2))
        try:
            self.sleep(24 * HOUR)
        except RunCancelled:
            self.undo()
            raise


@pytest.mark.parametrize("asked", ["root", "root~2"])
def test_a_cancel_of_any_id_cancels_the_newest_run(operon, asked):
    operon.launch()
    handle = operon.start(ChainWaits(), id="root")
    eventually(lambda: operon.find_run("root~2") is not None)
    await_status(operon, "root~2", "waiting")

    operon.cancel(asked)

    with pytest.raises(RunCancelledError):
        handle.result(SOON)
    assert (status(operon, "root"), status(operon, "root~2")) == (
        "succeeded",
        "cancelled",
    )
    assert count(operon, run_id="undone") == 1


def test_a_cancel_follows_a_run_that_goes_on_at_the_same_moment(operon, monkeypatch):
    """It has looked for the newest run before that went on."""
    operon.launch()
    operon.start(ChainWaits(), id="root")
    eventually(lambda: operon.find_run("root~2") is not None)
    await_status(operon, "root~2", "waiting")
    monkeypatch.setattr(stored_runs, "newest", lambda _, run_id: run_id)

    operon.cancel("root")

    await_status(operon, "root~2", "cancelled")


def test_a_cancel_reaches_the_children_of_every_run_of_the_chain(operon):
    class Sleeps(Workflow):
        def run(self) -> None:
            self.sleep(24 * HOUR)

    class Starts(Workflow):
        number: int = 1

        def run(self) -> None:
            self.start(Sleeps())
            if self.number < 3:
                self.continue_as(Starts(self.number + 1))
            self.sleep(24 * HOUR)

    operon.launch()
    operon.start(Starts(), id="root")
    children = ["root/1", "root~2/1", "root~3/1"]
    for run_id in [*children, "root~3"]:
        eventually(lambda run_id=run_id: operon.find_run(run_id) is not None)
        await_status(operon, run_id, "waiting")

    operon.cancel("root")

    for run_id in [*children, "root~3"]:
        await_status(operon, run_id, "cancelled")


def test_a_cancel_before_a_body_goes_on_is_delivered_there(operon):
    cancel = _canceller(operon)
    acts["body 1"] = lambda: cancel("root")

    with pytest.raises(RunCancelledError):
        operon.run(ChainLoop(3), id="root")

    assert [kind for _, kind, _ in history(operon, "root")] == ["step", "cancel"]
    assert ids(operon) == ["root"]


def _canceller(operon, **options: Any) -> Any:
    """Return what cancels a run from within its body."""

    def cancel(run_id: str) -> None:
        asks = threading.Thread(target=operon.cancel, args=(run_id,), kwargs=options)
        asks.start()
        asks.join()

    return cancel


def test_a_cancel_that_was_delivered_where_a_body_goes_on_is_delivered_on_replay(
    operon,
):
    class Undoes(Workflow):
        @activity
        def ask(self) -> None:
            act("ask")

        @step
        def undo(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> None:
            self.ask()
            try:
                self.continue_as(Undoes())
            except RunCancelled:
                act("told")
                self.undo()
                raise

    acts.update(ask=lambda: operon.cancel("root"), told=crash)
    with pytest.raises(KeyboardInterrupt):
        operon.run(Undoes(), id="root")
    acts.clear()

    with pytest.raises(RunCancelledError):
        operon.run(Undoes(), id="root")
    assert names(operon, "root") == ["ask", "cancel", "undo"]
    assert ids(operon) == ["root"]


def test_a_body_that_goes_on_before_what_its_history_holds_is_dead(operon):
    class Changes(Workflow):
        @step
        def write_one(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> None:
            if "changed" in acts:
                self.continue_as(Changes())
            self.write_one()
            crash()

    with pytest.raises(KeyboardInterrupt):
        operon.run(Changes(), id="root")
    acts["changed"] = None

    with pytest.raises(RunDeadError, match=r"write_one.*continue_as"):
        operon.run(Changes(), id="root")
    assert ids(operon) == ["root"]


def test_retrying_any_id_of_a_chain_retries_its_newest_run(operon):
    def fail() -> None:
        raise LookupError("second")

    acts["step 2"] = fail
    with pytest.raises(LookupError):
        operon.run(ChainLoop(3), id="root")
    acts.clear()

    operon.handle("root").retry()

    assert operon.run(ChainLoop(3), id="root") == 3
    assert count(operon) == 3


def test_resuming_any_id_of_a_chain_resumes_its_newest_run(operon):
    operon.launch()
    operon.start(ChainWaits(), id="root")
    eventually(lambda: operon.find_run("root~2") is not None)
    operon.cancel("root", force=True)
    assert status(operon, "root~2") == "cancelled"

    operon.resume("root")

    await_status(operon, "root~2", "waiting")


# --- deadlines


def test_a_chain_keeps_the_deadline_of_its_first_run(make_operon, database):
    operon = make_operon(database.url, clock=TurnedClock(), inline_wait=timedelta(0))
    create_shop(operon.engine, "book")
    operon.launch()
    operon.start(ChainWaits(), id="root", timeout=2 * HOUR)
    eventually(lambda: operon.find_run("root~2") is not None)
    await_status(operon, "root~2", "waiting")

    first, second = operon.get_run("root"), operon.get_run("root~2")
    assert first.deadline_at == second.deadline_at is not None
    turn(operon, 3 * HOUR)

    await_status(operon, "root~2", "failed")
    assert count(operon, run_id="undone") == 1


# --- spawned operations and crashes


def test_spawned_operations_are_recorded_before_a_body_goes_on(operon, ledger):
    class Spawns(Workflow):
        number: int = 1

        @activity(retry=Retry(attempts=3, delay=timedelta(milliseconds=50)))
        def ask(self) -> str:
            if current().attempt == 1:
                raise LookupError
            return happen("asked")

        def run(self) -> int:
            self.spawn(self.ask)
            if self.number < 2:
                self.continue_as(Spawns(self.number + 1))
            return self.number

    assert operon.run(Spawns(), id="root") == 2
    assert names(operon, "root") == names(operon, "root~2") == ["ask"]
    assert happened(ledger) == ["asked", "asked"]


def test_a_body_goes_on_only_when_what_it_spawned_is_not_parked(make_operon, database):
    operon = make_operon(database.url, clock=TurnedClock(), inline_wait=timedelta(0))

    class Spawns(Workflow):
        number: int = 1

        @activity(retry=Retry(attempts=2, delay=HOUR, cap=HOUR, jitter=0))
        def ask(self) -> None:
            act("ask")

        def run(self) -> int:
            if self.number < 2:
                self.spawn(self.ask)
                self.continue_as(Spawns(self.number + 1))
            return self.number

    def fail() -> None:
        raise LookupError

    acts["ask"] = fail
    operon.launch()
    handle = operon.start(Spawns(), id="root")
    await_status(operon, "root", "waiting")
    acts.clear()
    turn(operon, HOUR)

    assert handle.result(SOON) == 2
    assert names(operon, "root") == ["ask"]


POINTS = [Point.RECORDED, Point.COMMITTED, Point.BODY_DONE, Point.FLUSHED]


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_anywhere_leaves_exactly_one_successor(
    make_operon, database, point, nth
):
    operon = make_operon(database.url, probe=Crasher(point, nth))
    create_shop(operon.engine, "book")

    with pytest.raises(Crash):
        operon.run(ChainLoop(3), id="root")

    operon.run(ChainLoop(3), id="root")
    assert count(operon) == 3
    assert ids(operon) == ["root", "root~2", "root~3"]


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_around_the_commit_that_goes_on_leaves_exactly_one_successor(
    make_operon, database, monkeypatch, when, nth
):
    operon = make_operon(database.url)
    create_shop(operon.engine, "book")
    left, go_on = [nth], _go_on()

    def die(run, asked) -> None:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            raise Crash
        go_on(run, asked)
        if left[0] == 0:
            raise Crash

    monkeypatch.setattr("operon.engine.execution.go_on", die)
    with pytest.raises(Crash):
        operon.run(ChainLoop(3), id="root")

    operon.run(ChainLoop(3), id="root")
    assert count(operon) == 3
    assert ids(operon) == ["root", "root~2", "root~3"]


def _go_on() -> Any:
    from operon.engine import turning  # noqa: PLC0415 - the one that is replaced

    return turning.go_on


def test_a_run_that_was_taken_over_makes_no_successor(operon):
    acts["body 1"] = lambda: end_elsewhere(operon, "root")

    assert operon.run(ChainLoop(2), id="root") == -1
    assert ids(operon) == ["root"]


def test_the_successor_is_not_made_without_the_end_of_its_predecessor(operon):
    """A cancel by force comes first."""
    cancel = _canceller(operon, force=True)
    acts["body 1"] = lambda: cancel("root")

    with pytest.raises(RunCancelledError):
        operon.run(ChainLoop(2), id="root")
    assert ids(operon) == ["root"]


# --- purge


@pytest.fixture
def turned(make_operon, database):
    operon = make_operon(database.url, clock=TurnedClock())
    create_shop(operon.engine, "book")
    return operon


def test_a_purge_keeps_the_first_run_of_a_live_chain(turned):
    turned.launch()
    handle = turned.start(ChainListens(4, []), id="root")
    for number in (2, 3):
        handle.send("talk", "a")
        eventually(lambda run_id=f"root~{number}": turned.find_run(run_id) is not None)
    turn(turned, 48 * HOUR)

    assert turned.purge(HOUR).removed == 1
    assert ids(turned) == ["root", "root~3"]
    assert handle.events() == {"latest": "a"}
    assert next(turned.handle("root~3").stream("log", offset=1)) == "a"


def test_a_chain_whose_middle_was_purged_is_followed_to_its_end(turned):
    turned.launch()
    handle = turned.start(ChainListens(3, []), id="root")
    for number in (2, 3):
        handle.send("talk", "a")
        eventually(lambda run_id=f"root~{number}": turned.find_run(run_id) is not None)
    turn(turned, 48 * HOUR)
    assert turned.purge(HOUR).removed == 1
    handle.send("talk", "b")

    assert len(handle.result(SOON)) == 3


def test_a_purge_keeps_the_first_run_of_a_chain_as_long_as_its_last(turned):
    """Its id is the idempotency key of the whole chain."""
    turned.run(ChainLoop(3), id="root")
    for run_id in ("root", "root~2"):
        tamper(
            turned,
            run_id,
            None,
            finished_at=turned.get_run(run_id).finished_at - 2 * HOUR,
        )

    turned.purge(HOUR)

    assert ids(turned) == ["root", "root~3"]
    turn(turned, 2 * HOUR)
    turned.purge(HOUR)
    assert ids(turned) == []
