"""What a body learns by the way, the same on every replay: time, chance, patches."""

import threading
from contextlib import suppress
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import step
from operon.errors import MisuseError
from operon.errors import NoCurrentRunError
from operon.errors import RunCancelledError
from operon.errors import RunDeadError
from operon.testing import TurnedClock
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import status
from tests.engine.test_budget import counting
from tests.engine.turned import HOUR
from tests.engine.turned import SOON
from tests.engine.turned import await_status
from tests.engine.turned import turn
from tests.shop import create_shop

seen: list[Any] = []
"""What the bodies were told, pass after pass."""

acts: dict[str, Any] = {}
"""What happens at each place, by its name."""


def act(where: str) -> Any:
    return acts.get(where, lambda: None)()


def crash() -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def nothing_seen():
    seen.clear()
    acts.clear()
    yield
    acts.clear()


def passes(operon, workflow: Workflow, times: int = 2) -> list[list[Any]]:
    """Run *workflow* until it has crashed that often, then to its end: what it saw."""
    told: list[list[Any]] = []
    acts["end"] = crash
    for left in range(times, -1, -1):
        if not left:
            del acts["end"]
        with suppress(KeyboardInterrupt):
            operon.run(workflow, id="r")
        # a caller's body may begin before it learns that the id is taken
        told.append(seen[-len(told[0]) :] if told else seen.copy())
        seen.clear()
    return told


# --- now


class TellsTime(Workflow):
    """Asks for the time between operations of every sort."""

    @step
    def write_one(self, session: Session) -> int:
        return insert_order(session).id

    @activity(retry=Retry(attempts=2, delay=timedelta(milliseconds=20)))
    def ask(self) -> str:
        return "asked"

    @activity
    def fail(self) -> None:
        raise LookupError

    def run(self) -> None:
        self.tell()
        self.write_one()
        self.tell()
        self.ask()
        self.tell()
        try:
            self.fail()
        except LookupError:
            self.tell()
        self.sleep(timedelta(milliseconds=30))
        self.tell()
        self.publish("key", 1)
        self.tell()
        self.receive("nothing", timeout=timedelta(0))
        self.tell()
        self.annotate(told=1)
        self.tell()
        one, two = self.spawn(self.ask), self.spawn(self.write_one)
        self.tell()
        self.gather(one, two)
        self.tell()
        self.call(TimedChild())
        self.tell()
        act("end")

    def tell(self) -> None:
        seen.append(self.now())


class TimedChild(Workflow):
    def run(self) -> int:
        return 1


def test_the_time_is_equal_on_replay_and_never_goes_back(operon):
    first, second, last = passes(operon, TellsTime())

    assert first == second == last
    assert first == sorted(first)
    assert len(first) == 11
    assert all(each.tzinfo is not None for each in first)
    assert all(each.utcoffset() == timedelta(0) for each in first)


def test_the_time_is_that_of_the_last_operation(operon):
    operon.run(TellsTime(), id="r")

    recorded = [each.finished_at for each in operon.list_steps("r")]
    created_at = operon.get_run("r").created_at
    assert seen[:4] == [created_at, *recorded[:3]]


def test_the_time_before_the_first_operation_is_that_of_the_runs_start(operon):
    class Asks(Workflow):
        def run(self) -> datetime:
            found = self.now()
            assert self.now() == found
            act("end")
            return found

    acts["end"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Asks(), id="r")
    acts.clear()

    assert operon.run(Asks(), id="r") == operon.get_run("r").created_at
    assert history(operon, "r") == []


def test_a_run_that_waited_in_a_queue_is_told_when_it_was_started(operon):
    class Asks(Workflow):
        def run(self) -> datetime:
            return self.now()

    handle = operon.start(Asks(), id="r", delay=timedelta(milliseconds=300))
    operon.launch()

    assert handle.result(SOON) == operon.get_run("r").created_at


def test_a_body_is_told_what_time_it_is_after_a_long_sleep(make_operon, database):
    operon = make_operon(database.url, clock=TurnedClock())

    class Sleeps(Workflow):
        def run(self) -> list[datetime]:
            before = self.now()
            self.sleep(24 * HOUR)
            return [before, self.now()]

    operon.launch()
    handle = operon.start(Sleeps(), id="r")
    await_status(operon, "r", "waiting")
    turn(operon, 24 * HOUR)

    before, after = handle.result(SOON)
    assert 24 * HOUR <= after - before < 25 * HOUR


def test_a_cancel_told_in_a_spawned_operation_does_not_move_the_time_before_it_is_asked(
    operon,
):
    class Spawns(Workflow):
        @activity(retry=Retry(attempts=9, delay=timedelta(milliseconds=50), factor=1))
        def ask(self) -> None:
            if not asked:
                asked.append(1)
                operon.cancel("r")
            raise LookupError

        def run(self) -> None:
            future = self.spawn(self.ask)
            seen.append(self.now())
            future.await_end()
            seen.append(self.now())
            try:
                future.result()
            except RunCancelled:
                seen.append(self.now())
                act("end")
                raise

    asked: list[int] = []
    acts["end"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Spawns(), id="r")
    first = seen.copy()
    seen.clear()
    acts.clear()
    with pytest.raises(RunCancelledError):
        operon.run(Spawns(), id="r")

    assert seen == first


def test_a_cancel_passes_time_and_is_told_the_same_on_replay(operon):
    class Cancels(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel("r")

        @step
        def undo(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> None:
            try:
                self.ask()
                seen.append(self.now())
                self.ask()
            except RunCancelled:
                seen.append(self.now())
                self.undo()
                seen.append(self.now())
                act("end")
                raise

    acts["end"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Cancels(), id="r")
    first = seen.copy()
    seen.clear()
    acts.clear()
    with pytest.raises(RunCancelledError):
        operon.run(Cancels(), id="r")

    assert seen == first == sorted(first)
    assert len(set(first)) == 3


# --- uuid and random


class DrawsLots(Workflow):
    @step
    def write_one(self, session: Session) -> int:
        return insert_order(session).id

    def run(self) -> list[UUID]:
        seen.extend([self.uuid(), self.uuid(), self.random().random()])
        self.write_one()
        seen.extend([self.uuid(), self.random().random(), self.random().random()])
        generator = self.random()
        seen.extend(generator.randrange(10**9) for _ in range(3))
        act("end")
        return [each for each in seen if isinstance(each, UUID)]


def test_chance_is_equal_on_replay_and_different_from_call_to_call(operon):
    first, second, last = passes(operon, DrawsLots())

    assert first == second == last
    assert len(set(first)) == len(first) == 9


def test_chance_is_different_from_run_to_run(operon):
    one, other = operon.run(DrawsLots()), operon.run(DrawsLots())

    assert not set(one) & set(other[3:])
    assert len({*seen}) == 18


def test_a_uuid_is_one_that_others_accept(operon):
    made = operon.run(DrawsLots(), id="r")

    assert [each.version for each in made] == [5, 5, 5]
    assert [UUID(str(each)) for each in made] == made


def test_chance_does_not_depend_on_the_process(operon, make_operon, database):
    passes_here = operon.run(DrawsLots(), id="r")
    seen.clear()
    elsewhere = make_operon(database.url)
    operon.fork("r", from_position=1, id="f")

    assert elsewhere.run(DrawsLots(), id="r") == passes_here
    assert elsewhere.run(DrawsLots(), id="f") != passes_here


def test_time_and_chance_cost_no_statement(make_operon, database):
    operon = make_operon(database.url)
    create_shop(operon.engine, "book")
    operon.run(DrawsLots())  # the pool, the prepared statements, the first beat

    class Asks(Workflow):
        @step
        def write_one(self, session: Session) -> int:
            return insert_order(session).id

        def run(self) -> None:
            self.write_one()
            with counting(operon.engine) as found:
                for _ in range(10):
                    self.now()
                    self.uuid()
                    self.random().random()
            seen.append((found.statements, found.commits))

    operon.run(Asks(), id="r")

    assert seen[-1] == ([], 0)
    assert len(history(operon, "r")) == 1


def test_chance_alone_makes_no_run_before_its_end(make_operon, database):
    operon = make_operon(database.url)
    create_shop(operon.engine, "book")
    operon.run(DrawsLots())

    class Asks(Workflow):
        def run(self) -> str:
            with counting(operon.engine) as found:
                self.random()
                told = str(self.uuid())
            seen.append(found.statements)
            return told

    operon.run(Asks())

    assert seen[-1] == []


@pytest.mark.parametrize("word", ["now", "uuid", "random"])
def test_time_and_chance_are_for_bodies(operon, word):
    class Inside(Workflow):
        @activity
        def ask(self) -> None:
            getattr(self, word)()

        def run(self) -> None:
            self.ask()

    with pytest.raises(MisuseError, match=rf"self\.{word} was called inside"):
        operon.run(Inside())
    with pytest.raises(NoCurrentRunError, match=rf"self\.{word}"):
        getattr(Inside(), word)()


# --- patched


class ChangedBody(Workflow):
    """A body that was changed; whether the change is there, a test decides."""

    @step
    def begin(self, session: Session) -> None:
        insert_order(session, "begin")

    @step
    def old(self, session: Session) -> None:
        insert_order(session, "old")

    @step
    def new(self, session: Session) -> None:
        insert_order(session, "new")

    @step
    def end(self, session: Session) -> None:
        insert_order(session, "end")

    def run(self) -> str:
        self.begin()
        act("begun")
        if "changed" in acts and self.patched("better"):
            self.new()
            way = "new"
        else:
            self.old()
            way = "old"
        act("changing")
        self.end()
        act("ended")
        return way


def test_a_new_run_goes_the_new_way(operon):
    acts["changed"] = None

    assert operon.run(ChangedBody(), id="r") == "new"
    assert history(operon, "r") == [
        (1, "step", "begin"),
        (2, "patch", "better"),
        (3, "step", "new"),
        (4, "step", "end"),
    ]


@pytest.mark.parametrize("where", ["changing", "ended"])
def test_a_run_that_had_passed_the_place_goes_the_old_way(operon, where):
    acts[where] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(ChangedBody(), id="r")
    del acts[where]
    acts["changed"] = None

    assert operon.run(ChangedBody(), id="r") == "old"
    assert [name for *_, name in history(operon, "r")] == ["begin", "old", "end"]
    assert count(operon, run_id="new") == 0


def test_a_run_in_flight_before_the_place_goes_the_new_way(operon):
    acts["begun"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(ChangedBody(), id="r")
    del acts["begun"]
    acts["changed"] = None

    assert operon.run(ChangedBody(), id="r") == "new"


@pytest.mark.parametrize("where", ["changing", "ended"])
def test_a_run_that_went_the_new_way_stays_on_it(operon, where):
    acts.update({"changed": None, where: crash})
    with pytest.raises(KeyboardInterrupt):
        operon.run(ChangedBody(), id="r")
    del acts[where]

    assert operon.run(ChangedBody(), id="r") == "new"
    assert (count(operon, run_id="new"), count(operon, run_id="old")) == (1, 0)


def test_a_patch_that_was_recorded_and_is_gone_from_the_body_is_non_determinism(
    operon,
):
    acts.update(changed=None, changing=crash)
    with pytest.raises(KeyboardInterrupt):
        operon.run(ChangedBody(), id="r")
    acts.clear()

    with pytest.raises(RunDeadError, match=r"patch 'better'.*step 'old'"):
        operon.run(ChangedBody(), id="r")


def test_a_patch_at_the_end_of_a_body_is_not_seen_by_a_run_that_waits_before_it(
    operon,
):
    class Loops(Workflow):
        def run(self) -> list[bool]:
            return [self.patched("a"), self.patched("a"), self.patched("b")]

    assert operon.run(Loops(), id="r") == [True, True, True]
    assert [kind for _, kind, _ in history(operon, "r")] == ["patch"] * 3


def test_a_run_with_an_open_gather_had_passed_a_place_before_it(operon):
    """The patch stands before what was spawned first, which is not recorded yet."""

    class Gathers(Workflow):
        @activity
        def ask(self, what: str) -> str:
            act(what)
            return what

        def run(self) -> list[Any]:
            better = "changed" in acts and self.patched("better")
            futures = [self.spawn(self.ask, what) for what in "ab"]
            return [better, *self.gather(*futures)]

    acts["a"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Gathers(), id="r")
    assert [position for position, *_ in history(operon, "r")] == [2]
    acts.clear()
    acts["changed"] = None

    assert operon.run(Gathers(), id="r") == [False, "a", "b"]


def test_a_cancel_told_at_a_patch_is_told_there_again_on_replay(operon):
    class Patched(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel("r")

        @step
        def undo(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> None:
            self.ask()
            try:
                self.patched("better")
                seen.append("patched")
            except RunCancelled:
                seen.append("cancelled")
                self.undo()
                act("end")
                raise
            self.undo()

    acts["end"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Patched(), id="r")
    acts.clear()
    with pytest.raises(RunCancelledError):
        operon.run(Patched(), id="r")

    assert seen == ["cancelled", "cancelled"]
    assert (status(operon, "r"), count(operon)) == ("cancelled", 1)


@pytest.mark.parametrize("name", ["", "x" * 256, None, 7])
def test_a_patch_needs_a_name(operon, name):
    class Patched(Workflow):
        def run(self) -> None:
            self.patched(name)

    with pytest.raises(MisuseError, match=r"self\.patched"):
        operon.run(Patched(), id="r")
    assert history(operon, "r") == []


# --- annotate


class AnnotatesRun(Workflow):
    def run(self) -> None:
        self.annotate(customer=7, stage="one")
        act("between")
        self.annotate(stage="two", urgent=True)
        act("end")


def test_a_run_is_found_by_what_its_body_annotates(operon):
    operon.run(AnnotatesRun(), id="r", attributes={"from": "test", "customer": 1})
    operon.run(TimedChild(), id="other", attributes={"from": "test"})

    found = {"from": "test", "customer": 7, "stage": "two", "urgent": True}
    assert operon.get_run("r").attributes == found
    for key, value in found.items():
        runs = operon.list_runs(attributes={key: value}, workflow="AnnotatesRun")
        assert [each.id for each in runs] == ["r"]
    assert operon.list_runs(attributes={"stage": "one"}) == []
    assert operon.list_runs(attributes={"customer": 1}) == []


def test_annotations_are_visible_while_the_run_goes_on_and_written_once(operon):
    def look() -> None:
        found: list[Any] = []
        asks = threading.Thread(
            target=lambda: found.extend(operon.list_runs(attributes={"stage": "one"}))
        )
        asks.start()
        asks.join()
        seen.append([each.id for each in found])

    acts.update(between=look, end=crash)
    with pytest.raises(KeyboardInterrupt):
        operon.run(AnnotatesRun(), id="r")
    acts.clear()
    operon.run(AnnotatesRun(), id="r")

    assert seen == [["r"]]
    assert history(operon, "r") == [
        (1, "annotate", "annotate"),
        (2, "annotate", "annotate"),
    ]
    assert operon.get_run("r").attributes["stage"] == "two"


@pytest.mark.parametrize(
    "value", [object(), float("nan"), datetime(2026, 1, 1, tzinfo=UTC), {1, 2}]
)
def test_what_is_no_plain_value_annotates_nothing(operon, value):
    class Annotates(Workflow):
        def run(self) -> str:
            with pytest.raises(MisuseError, match=r"self\.annotate"):
                self.annotate(when=value)
            return "went on"

    assert operon.run(Annotates(), id="r") == "went on"
    assert history(operon, "r") == []
