"""Children: runs that a body starts, and what they come to."""

import threading
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import Handle
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon import transaction
from operon.errors import DuplicateRunError
from operon.errors import MisuseError
from operon.errors import ResultTimeoutError
from operon.errors import RetryRefusedError
from operon.errors import RunCancelledError
from operon.errors import RunConflictError
from operon.errors import RunDeadError
from operon.errors import RunNotFoundError
from operon.errors import UnknownQueueError
from operon.models import WorkflowRun
from operon.points import Point
from tests.engine.facts import attempts
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.turned import SOON
from tests.engine.turned import Crash
from tests.engine.turned import Crasher
from tests.engine.turned import Gate
from tests.engine.turned import await_status
from tests.processes import eventually
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


@dataclass
class Receipt:
    number: int
    amount: Decimal


class ShipOne(Workflow):
    """The child: writes one order; what else it does, a test decides."""

    sku: str = "book"

    @step
    def pack(self, session: Session) -> Receipt:
        act("pack")
        number = insert_order(session, current().run_id).id
        return Receipt(number, Decimal("1.50"))

    @activity
    def ask(self) -> None:
        act("ask")

    def run(self) -> Receipt:
        receipt = self.pack()
        self.ask()
        act("child")
        return receipt


class CallsShip(Workflow):
    """The parent: one step, then the child."""

    @step
    def begin(self, session: Session) -> None:
        insert_order(session, "parent")

    def run(self) -> Receipt:
        self.begin()
        receipt = self.call(ShipOne())
        act("parent")
        return receipt


# --- the start


@pytest.mark.parametrize("point", [Point.RECORDED, Point.COMMITTED])
def test_a_child_and_its_parents_checkpoint_are_one_commit(
    make_operon, database, point
):
    crasher = Crasher()
    operon = make_operon(database.url, probe=crasher)
    create_shop(operon.engine, "book")
    crasher.point = point
    crasher.left = 2  # the first is that of the parent's step

    with pytest.raises(Crash):
        operon.run(CallsShip(), id="r")
    started = point is Point.COMMITTED
    assert names(operon, "r") == ["begin", "ShipOne"][: 1 + started]
    assert (operon.find_run("r/2") is not None) is started

    assert operon.run(CallsShip(), id="r") == Receipt(2, Decimal("1.50"))
    assert count(operon, WorkflowRun) == 2
    assert (count(operon, run_id="parent"), count(operon, run_id="r/2")) == (1, 1)


def test_a_replay_starts_no_second_child(operon):
    acts["parent"] = crash
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            operon.run(CallsShip(), id="r")
    acts.clear()

    assert operon.run(CallsShip(), id="r").number == 2
    assert count(operon, WorkflowRun) == 2
    assert history(operon, "r") == [
        (1, "step", "begin"),
        (2, "start", "ShipOne"),
        (3, "result", "r/2"),
    ]


def test_ids_derive_from_parent_and_position_and_rows_tell_the_family(operon):
    class Grandparent(Workflow):
        def run(self) -> list[str]:
            one = self.start(CallsShip())
            two = self.start(ShipOne())
            one.result()
            return [one.id, two.id]

    who = {"sub": "alice"}
    assert operon.run(Grandparent(), id="g", principal=who) == ["g/1", "g/2"]
    row = operon.get_run("g/1/2")
    assert (row.workflow, row.parent_id, row.root_id) == ("ShipOne", "g/1", "g")
    assert row.principal == who
    child = operon.get_run("g/1")
    assert (child.parent_id, child.root_id, child.principal) == ("g", "g", who)


def test_a_child_may_be_given_an_id_and_everything_else_that_start_takes(operon):
    class Starts(Workflow):
        def run(self) -> str:
            return self.start(
                ShipOne(),
                id="mine",
                priority=7,
                delay=timedelta(days=1),
                timeout=timedelta(days=2),
                attributes={"kind": "child"},
                principal={"sub": "bob"},
            ).id

    assert operon.run(Starts()) == "mine"
    row = operon.get_run("mine")
    assert (row.status, row.priority, row.timeout) == (
        "enqueued",
        7,
        timedelta(days=2),
    )
    assert row.due_at - row.created_at > timedelta(hours=23)
    assert (row.attributes, row.principal) == ({"kind": "child"}, {"sub": "bob"})


class JoinsTaken(Workflow):
    """Starts a child under an id that is taken."""

    on_conflict: str = "return"
    sku: str = "book"

    def run(self) -> str:
        act("body")
        on_conflict: Any = self.on_conflict
        child = self.start(ShipOne(self.sku), id="taken", on_conflict=on_conflict)
        act("after")
        return child.id


@transaction
def child_order(session: Session) -> int:
    return insert_order(session).id


@pytest.mark.parametrize("taken", ["another workflow", "another input", "any"])
def test_an_id_that_is_taken_is_a_recorded_conflict(operon, taken):
    held: Any = {"another workflow": child_order(), "another input": ShipOne("pen")}
    operon.start(held.get(taken, ShipOne()), id="taken")
    joins = JoinsTaken(on_conflict="raise" if taken == "any" else "return")

    said = []
    for _ in range(2):
        with pytest.raises(RunConflictError, match="'taken'") as caught:
            operon.run(joins, id="r")
        said.append(str(caught.value))

    assert said[0] == said[1]
    assert history(operon, "r") == [(1, "start", "ShipOne")]
    await_empty_pool(operon)


def test_a_recorded_conflict_is_replayed_though_the_id_has_become_free(operon):
    class Handles(Workflow):
        def run(self) -> str:
            try:
                self.start(ShipOne(), id="taken")
            except RunConflictError:
                act("conflict")
                return "conflict"
            return "started"

    operon.start(child_order(), id="taken")
    acts["conflict"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Handles(), id="r")
    acts.clear()
    operon.cancel("taken")
    operon.purge(timedelta(0))
    assert operon.find_run("taken") is None

    assert operon.run(Handles(), id="r") == "conflict"


def test_a_child_with_the_id_and_input_of_a_run_joins_it(operon):
    operon.start(ShipOne(), id="taken")

    assert operon.run(JoinsTaken(), id="r") == "taken"
    assert count(operon, WorkflowRun, workflow="ShipOne") == 1
    assert operon.get_run("taken").parent_id is None


def test_a_deduplicated_child_joins_the_run_that_holds_the_key(operon):
    class Starts(Workflow):
        on_conflict: str = "return"

        def run(self) -> str:
            on_conflict: Any = self.on_conflict
            return self.start(ShipOne(), deduplicate="k", on_conflict=on_conflict).id

    operon.start(ShipOne(), id="holder", deduplicate="k")

    assert operon.run(Starts(), id="r") == "holder"
    with pytest.raises(DuplicateRunError, match="holder"):
        operon.run(Starts("raise"), id="s")
    assert operon.find_run("r/1") is None


def test_a_child_of_an_unknown_queue_is_a_recorded_error(operon):
    class Starts(Workflow):
        def run(self) -> None:
            self.start(ShipOne(), queue="nobody")

    for _ in range(2):
        with pytest.raises(UnknownQueueError, match="nobody"):
            operon.run(Starts(), id="r")
    assert names(operon, "r") == ["ShipOne"]


@pytest.mark.parametrize(
    "options",
    [
        {"delay": timedelta(seconds=-1)},
        {"priority": -1},
        {"timeout": timedelta(0)},
        {"debounce": timedelta(seconds=1)},
        {"id": ""},
        {"queue": ""},
        {"attributes": {"when": object()}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_cannot_be_meant_take_no_position(operon, options):
    class Starts(Workflow):
        def run(self) -> str:
            with pytest.raises(MisuseError):
                self.start(ShipOne(), **options)
            return self.start(ShipOne()).id

    assert operon.run(Starts(), id="r") == "r/1"


@pytest.mark.parametrize("child", [ShipOne, "ShipOne", None, lambda: None, object()])
def test_what_is_no_workflow_is_no_child(operon, child):
    class Starts(Workflow):
        def run(self) -> None:
            self.start(child)

    with pytest.raises(MisuseError):
        operon.run(Starts(), id="r")
    assert history(operon, "r") == []


def test_another_child_at_a_recorded_position_is_non_determinism(operon):
    class Changes(Workflow):
        def run(self) -> None:
            self.start(ShipOne() if not acts else child_order())
            crash()

    with pytest.raises(KeyboardInterrupt):
        operon.run(Changes(), id="r")
    acts["changed"] = None

    with pytest.raises(RunDeadError, match=r"start 'ShipOne'.*start 'child_order'"):
        operon.run(Changes(), id="r")


# --- what they come to


def test_call_returns_the_childs_result_as_it_was_declared(operon):
    receipt = operon.run(CallsShip(), id="r")

    assert receipt == Receipt(2, Decimal("1.50"))
    assert type(receipt.amount) is Decimal


class DeclinedError(Exception):
    """What a child raises."""

    def __init__(self, amount: int) -> None:
        super().__init__(f"{amount} is too much")
        self.amount = amount


def decline() -> None:
    raise DeclinedError(7)


@pytest.mark.parametrize("where", ["pack", "ask", "child"])
def test_call_raises_what_the_child_raised(operon, where):
    acts[where] = decline
    told = []
    for _ in range(2):
        with pytest.raises(DeclinedError, match="7 is too much") as caught:
            operon.run(CallsShip(), id="r")
        told.append(caught.value.amount)

    assert told == [7, 7]
    assert (status(operon, "r"), status(operon, "r/2")) == ("failed", "failed")


def test_a_parent_that_catches_its_childs_error_goes_on(operon):
    class Catches(Workflow):
        def run(self) -> str:
            try:
                self.call(ShipOne())
            except DeclinedError as error:
                return f"declined {error.amount}"
            return "shipped"

    acts["child"] = decline

    assert operon.run(Catches()) == "declined 7"


@pytest.mark.parametrize("force", [False, True])
def test_call_raises_that_the_child_was_cancelled(operon, force):
    acts["ask"] = lambda: operon.cancel("r/1", force=force)
    acts["caught"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(CallsAsksTwice(), id="r")
    acts.clear()

    assert operon.run(CallsAsksTwice(), id="r") == "r/1 was cancelled"
    assert status(operon, "r/1") == "cancelled"


class AsksTwice(Workflow):
    """A child that asks twice, so that it learns of a cancel."""

    @activity
    def ask(self) -> None:
        act("ask")

    def run(self) -> None:
        self.ask()
        self.ask()


class CallsAsksTwice(Workflow):
    def run(self) -> str:
        try:
            self.call(AsksTwice())
        except RunCancelledError as error:
            act("caught")
            return f"{error.run_id} was cancelled"
        return "shipped"


def test_call_raises_that_the_child_is_dead_and_why(operon):
    class Dies(Workflow):
        def run(self) -> None:
            raise SystemExit(3)

    class Catches(Workflow):
        def run(self) -> str:
            try:
                self.call(Dies())
            except RunDeadError as error:
                return f"{error.run_id}: {error.reason}"
            return "lived"

    operon.launch()

    told = operon.start(Catches(), id="r").result(SOON)
    assert told.startswith("r/1: ")
    assert "SystemExit" in told
    assert status(operon, "r/1") == "dead"


def test_a_transaction_is_a_child_too(operon):
    class Calls(Workflow):
        def run(self) -> list[int]:
            return [self.call(child_order()), self.call(child_order())]

    assert operon.run(Calls(), id="r") == [1, 2]
    assert status(operon, "r/1") == status(operon, "r/3") == "succeeded"


def test_a_transaction_that_fails_fails_its_caller(operon):
    @transaction
    def fails(session: Session) -> None:
        insert_order(session)
        raise DeclinedError(3)

    class Calls(Workflow):
        def run(self) -> None:
            self.call(fails())

    with pytest.raises(DeclinedError, match="3 is"):
        operon.run(Calls(), id="r")
    assert count(operon) == 0


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_an_empty_result_of_a_child_is_a_result(operon, value):
    class Returns(Workflow):
        def run(self) -> Any:
            return value

    class Asks(Workflow):
        def run(self) -> Any:
            child = self.start(Returns())
            return [child.result(), child.result()]

    assert operon.run(Asks(), id="r") == [value, value]
    assert len(history(operon, "r")) == 3


def test_a_result_is_recorded_and_stays_when_the_child_is_gone(operon):
    acts["parent"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(CallsShip(), id="r")
    acts.clear()
    with Session(operon.engine) as session, session.begin():
        session.delete(session.get_one(WorkflowRun, "r/2"))

    assert operon.run(CallsShip(), id="r").number == 2


def test_a_body_asks_for_the_result_of_any_run(operon):
    operon.run(ShipOne(), id="stranger")

    class Asks(Workflow):
        def run(self) -> Any:
            return operon.handle("stranger").result()

    assert operon.run(Asks(), id="r") == {"number": 1, "amount": "1.50"}
    assert history(operon, "r") == [(1, "result", "stranger")]


def test_the_result_of_no_run_is_a_recorded_error(operon):
    class Asks(Workflow):
        def run(self) -> Any:
            return operon.handle("nobody").result()

    for _ in range(2):
        with pytest.raises(RunNotFoundError, match="'nobody'"):
            operon.run(Asks(), id="r")
        operon.start(ShipOne(), id="nobody")
    assert history(operon, "r") == [(1, "result", "nobody")]


def test_a_result_that_does_not_come_in_time_is_a_recorded_error(operon):
    class Asks(Workflow):
        def run(self) -> str:
            child = self.start(ShipOne(), delay=timedelta(days=1))
            try:
                child.result(timedelta(milliseconds=50))
            except ResultTimeoutError as error:
                act("timeout")
                return f"{error.run_id} after {error.waited:g}"
            return "shipped"

    acts["timeout"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Asks(), id="r")
    acts.clear()

    assert operon.run(Asks(), id="r") == "r/1 after 0.05"
    assert names(operon, "r") == ["ShipOne", "r/1"]


@pytest.mark.parametrize("place", ["step", "activity"])
def test_neither_step_nor_activity_waits_for_a_child(operon, place):
    class Waits(Workflow):
        @step
        def in_step(self, session: Session, run_id: str) -> None:
            del session
            operon.handle(run_id).result()

        @activity
        def in_activity(self, run_id: str) -> None:
            operon.handle(run_id).result()

        def run(self) -> None:
            child = self.start(ShipOne())
            (self.in_step if place == "step" else self.in_activity)(child.id)

    with pytest.raises(MisuseError, match=rf"Handle\.result.*{place}"):
        operon.run(Waits())


def test_what_a_handle_reads_is_refused_in_a_body(operon):
    class Reads(Workflow):
        def run(self) -> None:
            child = self.start(ShipOne())
            for read in (child.status, child.steps, child.events):
                with pytest.raises(MisuseError, match="on replay"):
                    read()

    operon.run(Reads())


# --- who executes them


def test_a_foreground_run_executes_its_children_and_theirs_itself(operon):
    """Nobody has launched an executor."""
    threads: set[int] = set()

    class Leaf(Workflow):
        number: int

        @step
        def write_one(self, session: Session) -> int:
            threads.add(threading.get_ident())
            return insert_order(session, "leaf").id

        def run(self) -> int:
            self.write_one()
            return self.number

    class Branch(Workflow):
        depth: int

        def run(self) -> int:
            if self.depth == 0:
                return self.call(Leaf(1))
            children = [self.start(Branch(self.depth - 1)) for _ in range(2)]
            return sum(child.result() for child in children)

    assert operon.run(Branch(2), id="r") == 4
    assert threads == {threading.get_ident()}
    assert count(operon, run_id="leaf") == 4
    assert count(operon, WorkflowRun, status="succeeded") == 11


def test_a_foreground_run_waits_for_a_child_that_is_not_due_yet(operon):
    class Waits(Workflow):
        def run(self) -> int:
            child = self.start(ShipOne(), delay=timedelta(seconds=1.5))
            return child.result().number

    assert operon.run(Waits(), id="r") == 1


def test_a_foreground_run_executes_a_child_that_waits_itself(operon):
    class Naps(Workflow):
        def run(self) -> str:
            self.sleep(timedelta(seconds=1.2))
            return self.call(Returns())

    class Returns(Workflow):
        def run(self) -> str:
            return "rested"

    class Waits(Workflow):
        def run(self) -> str:
            return self.call(Naps())

    assert operon.run(Waits(), id="r") == "rested"


def test_a_waiting_parent_holds_no_thread(make_operon, database):
    operon = make_operon(database.url, inline_wait=timedelta(0))
    create_shop(operon.engine, "book")
    gate = Gate()
    acts["ask"] = gate.wait
    operon.launch()
    operon.start(CallsShip(), id="r")
    try:
        await_status(operon, "r", "waiting")
        row = operon.get_run("r")
        assert (row.wait_kind, row.wait_on, row.executor) == ("result", "r/2", None)
        eventually(
            lambda: "operon-run-r" not in {each.name for each in threading.enumerate()}
        )
    finally:
        gate.open()

    assert operon.handle("r").result(SOON).number == 2


def test_one_thread_executes_a_family_of_any_depth(make_operon, database):
    operon = make_operon(database.url, threads=1)

    class Deep(Workflow):
        depth: int

        def run(self) -> int:
            return 0 if self.depth == 0 else 1 + self.call(Deep(self.depth - 1))

    operon.launch()

    assert operon.start(Deep(6)).result(SOON) == 6


def test_many_children_of_many_parents_are_each_executed_once(make_operon, database):
    operon = make_operon(database.url, inline_wait=timedelta(0))
    create_shop(operon.engine, "book")

    class Fans(Workflow):
        def run(self) -> int:
            children = [self.start(ShipOne()) for _ in range(5)]
            return len({child.result().number for child in children})

    operon.launch()
    parents = [operon.start(Fans(), id=f"r{n}") for n in range(5)]

    assert [each.result(SOON) for each in parents] == [5] * 5
    assert count(operon) == 25


def test_a_child_survives_its_parents_crash(operon):
    class Leaves(Workflow):
        @activity
        def ask(self) -> None:
            act("parent")

        def run(self) -> str:
            child = self.start(ShipOne())
            self.ask()
            return child.id

    acts["parent"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Leaves(), id="r")
    operon.cancel("r", children=False, force=True)
    acts.clear()
    operon.launch()

    assert operon.handle("r/1").result(SOON).number == 1
    assert status(operon, "r") == "cancelled"


def test_a_child_does_not_keep_its_parent_from_ending(operon):
    class Leaves(Workflow):
        def run(self) -> str:
            return self.start(ShipOne()).id

    assert operon.run(Leaves(), id="r") == "r/1"
    assert status(operon, "r/1") == "enqueued"
    operon.launch()
    assert operon.handle("r/1").result(SOON).number == 1


# --- cancel


class Generations(Workflow):
    """Begins a family of the given depth, each of which waits at an activity."""

    depth: int

    @activity
    def ask(self) -> None:
        act("ask")

    @step
    def undo(self, session: Session) -> None:
        insert_order(session, f"undone {current().run_id}")

    def run(self) -> None:
        try:
            if self.depth:
                self.call(Generations(self.depth - 1))
            self.sleep(timedelta(days=1))
        except RunCancelled:
            self.undo()
            raise


@pytest.fixture
def family(make_operon, database):
    """An Operon whose runs `r`, `r/1` and `r/1/1` wait, each for the next."""
    operon = make_operon(database.url, inline_wait=timedelta(0))
    create_shop(operon.engine, "book")
    operon.launch()
    operon.start(Generations(2), id="r")
    eventually(lambda: operon.find_run("r/1/1") is not None)
    for run_id in ("r", "r/1", "r/1/1"):
        await_status(operon, run_id, "waiting")
    return operon


def test_a_cancel_reaches_children_and_theirs_and_each_compensates(family):
    family.cancel("r")

    for run_id in ("r", "r/1", "r/1/1"):
        with pytest.raises(RunCancelledError):
            family.handle(run_id).result(SOON)
        assert count(family, run_id=f"undone {run_id}") == 1


def test_a_cancel_without_children_leaves_them_alone(family):
    family.cancel("r", children=False)

    with pytest.raises(RunCancelledError):
        family.handle("r").result(SOON)
    assert status(family, "r/1") == status(family, "r/1/1") == "waiting"
    family.handle("r/1").cancel()
    with pytest.raises(RunCancelledError):
        family.handle("r/1/1").result(SOON)


@pytest.mark.parametrize("children", [True, False])
def test_a_forced_cancel_ends_them_at_once_without_compensation(family, children):
    family.cancel("r", children=children, force=True)

    ended = "cancelled" if children else "waiting"
    assert status(family, "r") == "cancelled"
    assert status(family, "r/1") == status(family, "r/1/1") == ended
    assert count(family) == 0


def test_a_cancelled_child_wakes_its_parent(family):
    family.cancel("r/1/1")

    with pytest.raises(RunCancelledError, match="'r/1/1'"):
        family.handle("r").result(SOON)
    assert (status(family, "r"), status(family, "r/1")) == ("failed", "failed")


def test_a_child_that_never_began_is_cancelled_with_its_parent(operon):
    class Starts(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel(current().run_id)

        def run(self) -> None:
            self.start(ShipOne(), delay=timedelta(days=1))
            self.ask()
            self.ask()

    with pytest.raises(RunCancelledError):
        operon.run(Starts(), id="r")

    assert (status(operon, "r"), status(operon, "r/1")) == ("cancelled", "cancelled")


def test_a_compensation_may_start_and_call_children(operon):
    class Undoes(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel(current().run_id)

        def run(self) -> None:
            try:
                self.ask()
                self.ask()
            except RunCancelled:
                self.call(ShipOne())
                raise

    with pytest.raises(RunCancelledError):
        operon.run(Undoes(), id="r")

    assert status(operon, "r/3") == "succeeded"
    assert [kind for _, kind, _ in history(operon, "r")] == [
        "activity",
        "cancel",
        "start",
        "result",
    ]


def test_a_cancel_waits_for_a_child_that_is_being_started(make_operon, database):
    """Its parent's row is locked first, so that none escapes."""
    reached, go_on = Gate(), Gate()

    def hold(point: Point, run_id: str) -> None:
        if point is Point.RECORDED and run_id == "r" and not reached._event.is_set():
            reached.open()
            go_on.wait()

    operon = make_operon(database.url, probe=hold)
    canceller = make_operon(database.url)

    class Starts(Workflow):
        def run(self) -> None:
            self.start(ShipOne(), delay=timedelta(days=1))
            self.sleep(timedelta(days=1))

    operon.launch()
    operon.start(Starts(), id="r")
    reached.wait()
    asks = threading.Thread(target=canceller.cancel, args=("r",))
    asks.start()
    go_on.open()
    asks.join()

    with pytest.raises(RunCancelledError):
        canceller.handle("r").result(SOON)
    # whichever came first: the child was not started, or is cancelled as well
    child = canceller.find_run("r/1")
    assert child is None or child.status == "cancelled"


# --- retry and fork


def test_retrying_a_parent_retries_the_child_that_failed(operon, ledger):
    class Ships(Workflow):
        @activity
        def ask(self) -> str:
            happen("asked")
            act("ask")
            return "asked"

        def run(self) -> str:
            return self.ask()

    class Calls(Workflow):
        def run(self) -> str:
            self.call(Returns())
            return self.call(Ships())

    class Returns(Workflow):
        def run(self) -> None:
            happen("returned")

    acts["ask"] = decline
    with pytest.raises(DeclinedError):
        operon.run(Calls(), id="r")
    acts.clear()
    operon.retry("r")

    assert status(operon, "r/3") == "enqueued"
    assert operon.run(Calls(), id="r") == "asked"
    assert happened(ledger) == ["returned", "asked", "asked"]
    assert [(each.position, each.kind) for each in attempts(operon, "r")] == [
        (4, "result")
    ]
    assert len(attempts(operon, "r/3")) == 1
    assert count(operon, WorkflowRun) == 3


def test_retrying_a_grandparent_retries_the_whole_line(operon):
    class Grandparent(Workflow):
        def run(self) -> int:
            return self.call(CallsShip()).number

    acts["ask"] = decline
    with pytest.raises(DeclinedError):
        operon.run(Grandparent(), id="g")
    acts.clear()
    operon.retry("g")

    assert operon.run(Grandparent(), id="g") == 2
    assert count(operon) == 2


def test_a_parent_is_not_retried_if_its_child_has_compensated(operon):
    class Undoes(Workflow):
        @activity
        def ask(self) -> None:
            raise DeclinedError(1)

        @step
        def undo(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> None:
            try:
                self.ask()
            finally:
                self.undo()

    class Calls(Workflow):
        def run(self) -> None:
            self.call(Undoes())

    with pytest.raises(DeclinedError):
        operon.run(Calls(), id="r")

    with pytest.raises(RetryRefusedError, match=r"'r/1'.*undo"):
        operon.retry("r")
    assert (status(operon, "r"), len(history(operon, "r"))) == ("failed", 2)


def test_retrying_a_parent_leaves_a_child_alone_that_has_gone_on_meanwhile(operon):
    acts["ask"] = decline
    with pytest.raises(DeclinedError):
        operon.run(CallsShip(), id="r")
    acts.clear()
    operon.retry("r/2")
    operon.run(ShipOne(), id="r/2")
    operon.retry("r")

    assert operon.run(CallsShip(), id="r").number == 2
    assert len(attempts(operon, "r/2")) == 1


@pytest.mark.parametrize(("k", "child"), [(1, "f/2"), (2, "f/2"), (3, "r/2")])
def test_a_fork_shares_the_children_started_before_it(operon, k, child):
    operon.run(CallsShip(), id="r")
    operon.fork("r", from_position=k, id="f")

    operon.run(CallsShip(), id="f")

    assert history(operon, "f")[2] == (3, "result", child)
    assert count(operon, WorkflowRun, workflow="ShipOne") == (1 if k == 3 else 2)


def test_a_handle_of_a_child_knows_its_run(operon):
    class Starts(Workflow):
        def run(self) -> bool:
            child = self.start(ShipOne())
            return isinstance(child, Handle) and child == operon.handle(child.id)

    assert operon.run(Starts()) is True
