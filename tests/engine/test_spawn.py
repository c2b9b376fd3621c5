"""Spawned operations: several at once, each at a position that replay keeps."""

import threading
from datetime import timedelta
from functools import partial
from itertools import combinations
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon import transaction
from operon.errors import MisuseError
from operon.errors import NoCurrentRunError
from operon.errors import RetryRefusedError
from operon.errors import RunCancelledError
from operon.errors import RunDeadError
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.testing import TurnedClock
from tests.engine import spawner
from tests.engine.facts import attempts
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.facts import tamper
from tests.engine.turned import HOUR
from tests.engine.turned import SOON
from tests.engine.turned import Gate
from tests.engine.turned import await_status
from tests.engine.turned import end_elsewhere
from tests.engine.turned import turn
from tests.processes import Child
from tests.processes import eventually
from tests.shop import create_shop
from tests.shop import happen
from tests.shop import happened

HELD = "READ COMMITTED"


class GathersThree(Workflow):
    """Gathers three activities, in an order of finishing that a test decides."""

    @activity
    def ask(self, what: str) -> str:
        happen(what)
        act(what)
        return what

    @step
    def keep(self, session: Session, told: list[str]) -> None:
        insert_order(session, "".join(told))

    def run(self) -> list[str]:
        futures = [self.spawn(self.ask, what) for what in "abc"]
        told = list(self.gather(*futures))
        self.keep(told)
        act("end")
        return told


acts: dict[str, Any] = {}
"""What happens at each place, by its name."""


def act(where: str) -> None:
    acts.get(where, lambda: None)()


def crash() -> None:
    raise KeyboardInterrupt


def fail() -> None:
    raise LookupError("no")


@pytest.fixture(autouse=True)
def no_acts():
    acts.clear()
    yield
    acts.clear()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def turned(make_operon, database, clock):
    """An Operon on a turned clock, whose runs are suspended at once when they wait."""
    operon = make_operon(database.url, clock=clock, inline_wait=timedelta(0))

    create_shop(operon.engine, "book")
    return operon


def in_order(operon, *order: str) -> None:
    """Let the activities end in *order*, each once the one before is recorded."""

    def end(before: int) -> None:
        eventually(lambda: len(operon.list_steps("r")) >= before)

    for before, what in enumerate(order):
        acts[what] = partial(end, before)


# --- at once, and in their places


def test_spawned_activities_execute_at_the_same_time(operon, ledger):
    barrier = threading.Barrier(3, timeout=15)
    acts.update(dict.fromkeys("abc", barrier.wait))

    assert operon.run(GathersThree()) == ["a", "b", "c"]


def test_spawned_steps_execute_at_the_same_time_where_the_database_lets_them(
    make_operon, postgres_database
):
    operon = make_operon(postgres_database.url)

    create_shop(operon.engine, "book")
    barrier = threading.Barrier(3, timeout=15)

    class Steps(Workflow):
        @step(isolation=HELD)
        def write_one(self, session: Session) -> int:
            found = insert_order(session).id
            barrier.wait()
            return found

        def run(self) -> list[int]:
            return list(self.gather(*(self.spawn(self.write_one) for _ in range(3))))

    assert sorted(operon.run(Steps())) == [1, 2, 3]


def test_spawned_steps_keep_their_rows_and_their_places(operon):
    class Steps(Workflow):
        @step
        def write_one(self, session: Session, number: int) -> str:
            insert_order(session, f"no {number}")
            return f"no {number}"

        def run(self) -> list[str]:
            spawned = [self.spawn(self.write_one, number) for number in range(8)]
            return list(self.gather(*spawned))

    told = [f"no {number}" for number in range(8)]
    assert operon.run(Steps(), id="r") == told
    assert count(operon) == 8
    assert [each.output for each in operon.list_steps("r")] == [f'"{t}"' for t in told]


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
def test_positions_are_kept_on_replay_whatever_order_they_ended_in(
    operon, ledger, order
):
    in_order(operon, *order)
    acts["end"] = crash

    with pytest.raises(KeyboardInterrupt):
        operon.run(GathersThree(), id="r")
    ended = sorted(operon.list_steps("r")[:3], key=lambda each: each.finished_at)
    acts.clear()

    assert operon.run(GathersThree(), id="r") == ["a", "b", "c"]
    assert [each.output for each in ended] == [f'"{what}"' for what in order]
    assert sorted(happened(ledger)) == ["a", "b", "c"]
    assert count(operon, run_id="abc") == 1


def test_at_most_as_many_execute_at_once_as_there_are_threads(make_operon, database):
    operon = make_operon(database.url, threads=2)
    at_once, most, mutex = [0], [0], threading.Lock()
    both = threading.Barrier(2, timeout=15)

    class Many(Workflow):
        @activity
        def ask(self) -> None:
            with mutex:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            both.wait()
            with mutex:
                at_once[0] -= 1

        def run(self) -> None:
            self.gather(*(self.spawn(self.ask) for _ in range(6)))

    operon.run(Many())

    assert most == [2]


def test_a_body_goes_on_while_what_it_spawned_executes(operon):
    gate = Gate()

    class Goes(Workflow):
        @activity
        def ask(self) -> str:
            gate.wait()
            return "asked"

        @step
        def meanwhile(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> str:
            asked = self.spawn(self.ask)
            self.meanwhile()
            gate.open()
            return asked.result()

    assert operon.run(Goes(), id="r") == "asked"
    assert history(operon, "r") == [(1, "activity", "ask"), (2, "step", "meanwhile")]
    opened = [each.open_from for each in operon.list_steps("r")]
    assert opened == [None, 1]


def test_a_spawned_operation_sees_its_own_position_and_key(operon):
    class Tells(Workflow):
        @activity
        def ask(self) -> str:
            return f"{current().position} {current().idempotency_key}"

        def run(self) -> list[str]:
            return list(self.gather(self.spawn(self.ask), self.spawn(self.ask)))

    assert operon.run(Tells(), id="r") == ["1 r/1", "2 r/2"]


def test_plain_functions_are_spawned_as_methods_are(operon):
    @activity
    def double(number: int) -> int:
        return 2 * number

    @step
    def note(session: Session, what: str) -> str:
        insert_order(session, what)
        return what

    class Plain(Workflow):
        def run(self) -> tuple[int, str]:
            return self.gather(self.spawn(double, 4), self.spawn(note, what="noted"))

    assert operon.run(Plain()) == (8, "noted")
    assert count(operon, run_id="noted") == 1


def test_gathering_nothing_takes_no_position(operon):
    class Nothing(Workflow):
        def run(self) -> int:
            return len(self.gather())

    assert operon.run(Nothing(), id="r") == 0
    assert history(operon, "r") == []


def test_a_future_may_be_asked_and_gathered_again_and_again(operon, ledger):
    class Again(Workflow):
        @activity
        def ask(self) -> str:
            return happen("asked")

        def run(self) -> list[str]:
            asked = self.spawn(self.ask)
            one = asked.result()
            return [one, asked.result(), *self.gather(asked, asked)]

    assert operon.run(Again(), id="r") == ["paid asked"] * 4
    assert names(operon, "r") == ["ask"]


# --- what they come to


def test_gather_raises_the_first_error_by_order_after_all_have_ended(operon, ledger):
    ended: list[str] = []

    class Fails(Workflow):
        @activity
        def ask(self, what: str) -> str:
            if what == "b":
                gate.wait()
            if what == "c":
                gate.open()
            ended.append(what)
            if what in "bc":
                raise LookupError(what)
            return what

        def run(self) -> list[str]:
            try:
                self.gather(*(self.spawn(self.ask, what) for what in "abcd"))
            except LookupError as error:
                return [str(error.args[0]), *sorted(ended)]
            return []

    gate = Gate()
    assert operon.run(Fails(), id="r") == ["b", "a", "b", "c", "d"]
    assert [each.error is None for each in operon.list_steps("r")] == [
        True,
        False,
        False,
        True,
    ]


def test_futures_that_nobody_asks_are_recorded_before_the_run_ends(operon, ledger):
    gate = Gate()

    class Leaves(Workflow):
        @activity
        def ask(self, what: str) -> str:
            gate.wait()
            return happen(what)

        def run(self) -> str:
            for what in "ab":
                self.spawn(self.ask, what)
            opener.start()
            return "left"

    opener = threading.Timer(0.2, gate.open)

    assert operon.run(Leaves(), id="r") == "left"
    assert names(operon, "r") == ["ask", "ask"]
    assert sorted(happened(ledger)) == ["a", "b"]


def test_an_error_that_nobody_asks_for_is_recorded_and_fails_nothing(operon):
    class Leaves(Workflow):
        @activity
        def ask(self) -> None:
            raise LookupError("nobody asks")

        def run(self) -> str:
            self.spawn(self.ask)
            return "left"

    assert operon.run(Leaves(), id="r") == "left"
    assert operon.list_steps("r")[0].error is not None


def test_futures_are_recorded_before_a_run_fails(operon, ledger):
    class Fails(Workflow):
        @activity
        def ask(self) -> str:
            return happen("asked")

        def run(self) -> None:
            self.spawn(self.ask)
            raise LookupError("body")

    with pytest.raises(LookupError, match="body"):
        operon.run(Fails(), id="r")

    assert names(operon, "r") == ["ask"]


def test_a_thread_that_dies_under_an_operation_nobody_asks_for_leaves_the_run_open(
    operon, ledger
):
    """The operation has no outcome, so the run has none either."""

    class Leaves(Workflow):
        @activity
        def ask(self) -> str:
            act("ask")
            return happen("asked")

        def run(self) -> str:
            self.spawn(self.ask)
            return "left"

    acts["ask"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Leaves(), id="r")
    assert status(operon, "r") == "enqueued"
    acts.clear()

    assert operon.run(Leaves(), id="r") == "left"
    assert names(operon, "r") == ["ask"]


# --- crashes


SUBSETS = [subset for size in range(4) for subset in combinations("abc", size)]


@pytest.mark.parametrize("recorded", SUBSETS, ids="".join)
def test_after_a_crash_only_what_was_not_recorded_of_a_gather_is_done_again(
    operon, ledger, recorded
):
    acts.update({what: crash for what in "abc" if what not in recorded})
    acts["end"] = crash

    with pytest.raises(KeyboardInterrupt):
        operon.run(GathersThree(), id="r")
    found = [each.output for each in operon.list_steps("r") if each.name == "ask"]
    assert found == [f'"{what}"' for what in recorded]
    acts.clear()

    assert operon.run(GathersThree(), id="r") == ["a", "b", "c"]
    for what in "abc":
        assert happened(ledger).count(what) == (1 if what in recorded else 2)
    assert count(operon, run_id="abc") == 1


@pytest.mark.parametrize("recorded", ["", "b", "ac"])
def test_a_killed_process_leaves_what_it_recorded_of_a_gather(
    make_operon, database, ledger, recorded
):
    operon = make_operon(database.url)
    operon.start(spawner.Spawner(), id="r")
    with Child("tests.engine.spawner", [database.url, recorded]) as child:
        eventually(lambda: len(set(happened(ledger))) == 3, timeout=40)
        eventually(lambda: len(operon.list_steps("r")) == len(recorded))
        child.kill()
    operon.launch()

    assert operon.handle("r").result(SOON) == ["a", "b", "c"]
    for what in "abc":
        assert happened(ledger).count(what) == (1 if what in recorded else 2)
    assert operon.get_run("r").recoveries == 1


def test_a_hole_below_an_operation_that_ended_beside_it_is_no_hole(operon, ledger):
    """`open_from` says so: it is what a crash within a gather leaves."""
    acts["b"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(GathersThree(), id="r")
    acts.clear()
    before = {each.position: each.open_from for each in operon.list_steps("r")}

    assert operon.run(GathersThree(), id="r") == ["a", "b", "c"]
    assert before[3] is not None
    assert before[3] <= 2


def test_a_hole_stays_one_when_a_gather_follows_it(operon):
    class Follows(Workflow):
        @step
        def begin(self, session: Session) -> None:
            insert_order(session)

        @activity
        def ask(self) -> None:
            act("ask")

        def run(self) -> None:
            self.begin()
            self.begin()
            self.gather(self.spawn(self.ask), self.spawn(self.ask))

    acts["ask"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Follows(), id="r")
    _forget(operon, "r", 1)
    acts.clear()

    with pytest.raises(RunDeadError, match="hole"):
        operon.run(Follows(), id="r")


def _forget(operon, run_id: str, position: int) -> None:
    with Session(operon.engine) as session, session.begin():
        session.execute(
            delete(Checkpoint).where(
                Checkpoint.run_id == run_id, Checkpoint.position == position
            )
        )


def test_another_operation_at_a_spawned_position_is_non_determinism(operon):
    acts["end"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(GathersThree(), id="r")
    tamper(operon, "r", 2, name="other")

    with pytest.raises(RunDeadError, match=r"'other'.*'ask'.*test_spawn\.py:\d+"):
        operon.run(GathersThree(), id="r")


# --- misuse


@pytest.mark.parametrize("foreign", [lambda: None, lambda: "text", lambda: 7, object])
def test_gathering_what_was_not_spawned_is_refused(operon, foreign):
    class Gathers(Workflow):
        def run(self) -> None:
            self.gather(foreign())  # type: ignore[arg-type]

    with pytest.raises(MisuseError, match=r"self\.spawn"):
        operon.run(Gathers(), id="r")
    assert history(operon, "r") == []


class KeepsFuture(Workflow):
    """Spawns an activity and keeps the future where others find it."""

    @activity
    def ask(self) -> str:
        return "asked"

    def run(self) -> str:
        kept.append(self.spawn(self.ask))
        return kept[-1].result()


kept: list[Any] = []


@pytest.mark.parametrize("how", ["gather", "result"])
def test_a_future_of_another_run_is_refused(operon, how):
    operon.run(KeepsFuture(), id="one")

    class Steals(Workflow):
        def run(self) -> None:
            if how == "gather":
                self.gather(kept[-1])
            else:
                kept[-1].result()

    with pytest.raises(MisuseError, match=r"self\.spawn"):
        operon.run(Steals(), id="r")


def test_a_future_of_an_earlier_pass_of_the_same_run_is_refused(operon):
    class Passes(Workflow):
        @activity
        def ask(self) -> str:
            return "asked"

        def run(self) -> str:
            kept.append(self.spawn(self.ask))
            act("after")
            return kept[0].result()

    kept.clear()
    acts["after"] = crash
    with pytest.raises(KeyboardInterrupt):
        operon.run(Passes(), id="r")
    acts.clear()

    with pytest.raises(MisuseError, match=r"self\.spawn"):
        operon.run(Passes(), id="r")


def test_a_future_is_refused_outside_of_every_body(operon):
    kept.clear()
    operon.run(KeepsFuture())

    with pytest.raises(MisuseError, match=r"self\.spawn"):
        kept[0].result()


def test_a_step_or_activity_cannot_wait_for_a_future_of_its_run(operon):
    class Waits(Workflow):
        @activity
        def ask(self) -> str:
            return "asked"

        @activity
        def wait(self) -> str:
            return kept[-1].result()

        def run(self) -> str:
            kept.append(self.spawn(self.ask))
            return self.wait()

    with pytest.raises(MisuseError, match=r"self\.spawn"):
        operon.run(Waits())


@transaction
def spawned_alone(session: Session) -> int:
    return insert_order(session).id


@pytest.mark.parametrize("candidate", [len, "ask", None, spawned_alone, GathersThree])
def test_spawning_what_is_neither_step_nor_activity_is_refused(operon, candidate):
    class Spawns(Workflow):
        @activity
        def ask(self) -> None: ...

        def run(self) -> None:
            self.spawn(candidate)
            self.ask()

    with pytest.raises(MisuseError, match=r"neither a step nor an activity.*self\."):
        operon.run(Spawns(), id="r")
    assert history(operon, "r") == []


def test_a_called_operation_is_refused_with_its_cure(operon):
    class Calls(Workflow):
        @activity
        def ask(self) -> str:
            return "asked"

        def run(self) -> None:
            self.spawn(self.ask())  # type: ignore[call-overload]

    with pytest.raises(MisuseError, match="without calling it"):
        operon.run(Calls())


def test_arguments_that_do_not_fit_take_no_position(operon):
    class Unfit(Workflow):
        @activity
        def ask(self, what: str) -> str:
            return what

        def run(self) -> str:
            with pytest.raises(TypeError):
                self.spawn(self.ask)  # type: ignore[call-arg]
            with pytest.raises(TypeError):
                self.spawn(self.ask, "a", "b")  # type: ignore[call-arg]
            return self.spawn(self.ask, what="fits").result()

    assert operon.run(Unfit(), id="r") == "fits"
    assert history(operon, "r") == [(1, "activity", "ask")]


@pytest.mark.parametrize("word", ["spawn", "gather"])
def test_only_a_body_spawns_and_gathers(operon, word):
    class Inside(Workflow):
        @activity
        def ask(self) -> None:
            if word == "spawn":
                self.spawn(self.ask)
            else:
                self.gather()

        def run(self) -> None:
            self.ask()

    with pytest.raises(MisuseError, match=f"self.{word} was called inside the act"):
        operon.run(Inside())
    with pytest.raises(NoCurrentRunError, match=f"self.{word}"):
        Inside().spawn(len, "a") if word == "spawn" else Inside().gather()


# --- retries


class ParksOne(Workflow):
    """One spawned activity fails and is tried again in an hour; another does not."""

    @activity(retry=Retry(attempts=3, delay=HOUR, factor=1.0, cap=HOUR, jitter=0))
    def ask(self) -> str:
        happen(f"try {current().attempt}")
        act("ask")
        return f"asked {current().attempt}"

    @activity
    def other(self) -> str:
        return happen("other")

    @step
    def beside(self, session: Session) -> int:
        return insert_order(session).id

    def run(self) -> list[Any]:
        asked, other = self.spawn(self.ask), self.spawn(self.other)
        beside = self.beside()
        return [*self.gather(asked, other), beside]


def test_a_spawned_activity_with_a_long_retry_parks_and_the_others_go_on(
    turned, ledger
):
    acts["ask"] = fail
    turned.launch()
    turned.start(ParksOne(), id="r")

    await_status(turned, "r", "waiting")
    row = turned.get_run("r")
    assert (row.wait_kind, row.wait_position, row.executor) == ("retry", 1, None)
    assert [each.position for each in turned.list_steps("r")] == [2, 3]
    _await_no_threads("r")
    acts.clear()
    turn(turned, timedelta(minutes=59))
    assert status(turned, "r") == "waiting"
    turn(turned, timedelta(minutes=2))

    assert turned.handle("r").result(SOON) == ["asked 2", "paid other", 1]
    assert sorted(happened(ledger)) == ["other", "try 1", "try 2"]
    assert count(turned) == 1
    assert [each.attempt for each in attempts(turned, "r")] == [1]


def _await_no_threads(run_id: str) -> None:
    """Make sure that no thread is left that belongs to *run_id*."""
    eventually(
        lambda: not [each for each in threading.enumerate() if run_id in _suffix(each)],
        saying="a thread of a waiting run",
    )


def _suffix(thread: threading.Thread) -> list[str]:
    return [thread.name.removeprefix("operon-run-").removeprefix("operon-spawn-")]


def test_a_run_whose_body_has_ended_waits_for_what_is_parked(turned, ledger):
    class Leaves(Workflow):
        @activity(retry=Retry(attempts=2, delay=HOUR, jitter=0, cap=HOUR))
        def ask(self) -> str:
            act("ask")
            return happen("asked")

        def run(self) -> str:
            self.spawn(self.ask)
            return "left"

    acts["ask"] = fail
    turned.launch()
    turned.start(Leaves(), id="r")
    await_status(turned, "r", "waiting")
    assert turned.get_run("r").wait_kind == "retry"
    acts.clear()
    turn(turned, HOUR)

    assert turned.handle("r").result(SOON) == "left"
    assert names(turned, "r") == ["ask"]
    assert happened(ledger) == ["asked"]


def test_a_run_sleeps_no_longer_than_its_parked_operation(turned, ledger):
    class Sleeps(Workflow):
        @activity(retry=Retry(attempts=2, delay=HOUR, jitter=0, cap=HOUR))
        def ask(self) -> str:
            act("ask")
            return happen("asked")

        def run(self) -> str:
            asked = self.spawn(self.ask)
            self.sleep(24 * HOUR)
            return asked.result()

    acts["ask"] = fail
    turned.launch()
    turned.start(Sleeps(), id="r")
    await_status(turned, "r", "waiting")
    acts.clear()
    turn(turned, HOUR)
    eventually(lambda: happened(ledger) == ["asked"])
    await_status(turned, "r", "waiting")
    assert names(turned, "r") == ["ask"]
    turn(turned, 23 * HOUR)

    assert turned.handle("r").result(SOON) == "paid asked"


def test_a_short_retry_of_a_spawned_activity_is_waited_for_in_its_thread(
    operon, ledger
):
    class Quick(Workflow):
        @activity(retry=Retry(attempts=3, delay=timedelta(milliseconds=10)))
        def ask(self) -> int:
            happen("asked")
            if current().attempt != 3:
                raise LookupError
            return 3

        def run(self) -> list[int]:
            return list(self.gather(self.spawn(self.ask), self.spawn(self.ask)))

    assert operon.run(Quick(), id="r") == [3, 3]
    assert [(each.position, each.attempt) for each in attempts(operon, "r")] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]


# --- cancel


class SpawnsAndUndoes(Workflow):
    """Cancelled while two spawned activities execute; tells what it saw."""

    @activity
    def ask(self, what: str) -> str:
        act(what)
        return happen(what)

    @step
    def undo(self, session: Session) -> None:
        insert_order(session, "undone")

    def run(self) -> None:
        one, two = self.spawn(self.ask, "a"), self.spawn(self.ask, "b")
        try:
            seen.append(self.gather(one, two))
            self.undo()
            seen.append("went on")
        except RunCancelled as cancelled:
            seen.append(("cancelled", cancelled.by_deadline))
            self.undo()
            act("undone")
            raise


seen: list[Any] = []


def test_a_cancel_while_spawned_operations_execute_loses_none_of_their_outcomes(
    operon, ledger
):
    """It is delivered once, at the next operation, and replays identically."""
    both = threading.Barrier(2, timeout=15)
    seen.clear()

    def cancel() -> None:
        both.wait()
        operon.cancel("r")
        both.wait()

    def wait() -> None:
        both.wait()
        both.wait()

    acts.update(a=cancel, b=wait, undone=crash)
    with pytest.raises(KeyboardInterrupt):
        operon.run(SpawnsAndUndoes(), id="r")
    first = seen.copy()
    acts.clear()
    seen.clear()
    with pytest.raises(RunCancelledError):
        operon.run(SpawnsAndUndoes(), id="r")

    assert first == seen == [("paid a", "paid b"), ("cancelled", False)]
    assert names(operon, "r") == ["ask", "ask", "cancel", "undo"]
    assert count(operon, run_id="undone") == 1
    assert sorted(happened(ledger)) == ["a", "b"]


def test_a_cancel_between_attempts_takes_the_place_of_one_spawned_operation(
    operon, ledger
):
    class Tries(Workflow):
        @activity(retry=Retry(attempts=50, delay=timedelta(milliseconds=20)))
        def ask(self, what: str) -> str:
            act(what)
            if what == "b" or not told:
                raise LookupError
            return happen(what)

        @step
        def undo(self, session: Session) -> None:
            insert_order(session, "undone")

        def run(self) -> None:
            futures = [self.spawn(self.ask, what) for what in "ab"]
            try:
                self.gather(*futures)
                seen.append("gathered")
            except RunCancelled:
                seen.append("cancelled")
                self.undo()
                act("undone")
                raise

    told: list[int] = []

    def cancel() -> None:
        if not told:
            operon.cancel("r")
            told.append(1)

    seen.clear()
    acts.update(a=cancel, undone=crash)
    with pytest.raises(KeyboardInterrupt):
        operon.run(Tries(), id="r")
    acts.clear()
    with pytest.raises(RunCancelledError):
        operon.run(Tries(), id="r")

    kinds = [kind for _, kind, _ in history(operon, "r")]
    assert kinds.count("cancel") == 1
    assert kinds[-1] == "step"
    assert seen == ["cancelled", "cancelled"]
    assert count(operon, run_id="undone") == 1


def test_operations_spawned_after_the_cancel_was_told_work(operon, ledger):
    class Undoes(Workflow):
        @activity
        def ask(self, what: str) -> str:
            act(what)
            return happen(what)

        def run(self) -> None:
            self.ask("a")
            try:
                self.ask("b")
            except RunCancelled:
                self.gather(*(self.spawn(self.ask, what) for what in "cd"))
                raise

    acts["a"] = lambda: operon.cancel("r")
    with pytest.raises(RunCancelledError):
        operon.run(Undoes(), id="r")

    assert sorted(happened(ledger)) == ["a", "c", "d"]
    assert names(operon, "r") == ["ask", "cancel", "ask", "ask"]


def test_a_cancel_told_at_a_spawn_is_raised_where_its_future_is_asked(operon, ledger):
    class Spawns(Workflow):
        @activity
        def ask(self, what: str) -> str:
            act(what)
            return happen(what)

        def run(self) -> None:
            self.ask("a")
            future = self.spawn(self.ask, "b")
            seen.append("spawned")
            try:
                future.result()
            except RunCancelled:
                seen.append("cancelled")
                act("told")
                raise

    seen.clear()
    acts.update(a=lambda: operon.cancel("r"), told=crash)
    with pytest.raises(KeyboardInterrupt):
        operon.run(Spawns(), id="r")
    acts.clear()
    with pytest.raises(RunCancelledError):
        operon.run(Spawns(), id="r")

    assert seen == ["spawned", "cancelled"] * 2
    assert names(operon, "r") == ["ask", "cancel"]
    assert happened(ledger) == ["a"]


def test_a_cancel_that_comes_while_a_run_is_being_suspended_wakes_it(turned, ledger):
    """The body sleeps for a day; what it spawned ends after the cancel."""
    gate = Gate()

    class Sleeps(Workflow):
        @activity
        def ask(self) -> str:
            happen("begun")
            gate.wait()
            return happen("asked")

        def run(self) -> None:
            self.spawn(self.ask)
            self.sleep(24 * HOUR)

    turned.launch()
    turned.start(Sleeps(), id="r")
    eventually(lambda: happened(ledger) == ["begun"])
    turned.cancel("r")
    gate.open()

    eventually(lambda: status(turned, "r") == "cancelled", timeout=5)
    assert names(turned, "r") == ["ask", "cancel"]


def test_a_forced_cancel_while_spawned_operations_execute_keeps_nothing_of_them(
    operon, ledger
):
    both = threading.Barrier(2, timeout=15)

    def cancel() -> None:
        both.wait()
        operon.cancel("r", force=True)
        both.wait()

    def wait() -> None:
        both.wait()
        both.wait()

    acts.update(a=cancel, b=wait)
    seen.clear()
    with pytest.raises(RunCancelledError):
        operon.run(SpawnsAndUndoes(), id="r")

    assert seen == []
    assert history(operon, "r") == []
    assert status(operon, "r") == "cancelled"


def test_a_gather_tells_the_body_to_end_before_any_error(operon, ledger):
    class Fails(Workflow):
        @activity(retry=Retry(attempts=50, delay=timedelta(milliseconds=20)))
        def ask(self, what: str) -> None:
            if what == "b" and current().attempt == 2:
                operon.cancel("r")
            raise LookupError(what)

        @activity
        def fail(self) -> None:
            raise KeyError

        def run(self) -> None:
            self.gather(self.spawn(self.fail), self.spawn(self.ask, "b"))

    with pytest.raises(RunCancelledError):
        operon.run(Fails(), id="r")
    assert [kind for _, kind, _ in history(operon, "r")] == ["activity", "cancel"]


# --- a lease that is lost


def test_a_lease_lost_while_spawned_operations_execute_records_none_of_them(
    operon, ledger
):
    class Loses(Workflow):
        @activity
        def steal(self) -> None:
            asking.wait()
            end_elsewhere(operon, "r")
            gate.open()

        @activity
        def ask(self) -> str:
            asking.open()
            gate.wait()
            return happen("asked")

        def run(self) -> int:
            try:
                self.gather(self.spawn(self.steal), self.spawn(self.ask))
            except:
                seen.append("unwound")
                raise
            return 1

    asking, gate = Gate(), Gate()
    seen.clear()

    assert operon.run(Loses(), id="r") == -1
    assert history(operon, "r") == []
    assert (happened(ledger), seen) == (["asked"], ["unwound"])
    await_empty_pool(operon)


def test_a_lease_lost_while_spawned_steps_execute_leaves_none_of_their_rows(
    make_operon, postgres_database
):
    operon = make_operon(postgres_database.url)
    create_shop(operon.engine, "book")
    both = threading.Barrier(3, timeout=15)

    class Loses(Workflow):
        @step(isolation=HELD)
        def write_one(self, session: Session) -> int:
            found = insert_order(session).id
            both.wait()
            both.wait()
            return found

        @activity
        def steal(self) -> None:
            both.wait()
            end_elsewhere(operon, "r")
            both.wait()

        def run(self) -> int:
            futures = [self.spawn(self.write_one), self.spawn(self.write_one)]
            self.gather(*futures, self.spawn(self.steal))
            return 1

    assert operon.run(Loses(), id="r") == -1
    assert (count(operon), history(operon, "r")) == (0, [])
    await_empty_pool(operon)


def test_a_lost_lease_begins_nothing_that_still_waits_for_a_thread(
    make_operon, database, ledger
):
    operon = make_operon(database.url, threads=1)

    class Loses(Workflow):
        @activity
        def ask(self, what: str) -> None:
            happen(what)
            if what == "a":
                end_elsewhere(operon, "r")
                for run in operon._process.made().services.active.each():
                    run.interrupt()  # as the heartbeat does

        def run(self) -> int:
            self.gather(*(self.spawn(self.ask, what) for what in "abc"))
            return 1

    assert operon.run(Loses(), id="r") == -1
    assert happened(ledger) == ["a"]


def test_a_lost_lease_makes_no_further_attempt(operon, ledger):
    class Loses(Workflow):
        @activity(retry=Retry(attempts=5, delay=timedelta(milliseconds=900), jitter=0))
        def ask(self) -> None:
            happen("asked")
            later.start()
            raise LookupError

        def run(self) -> int:
            self.spawn(self.ask).result()
            return 1

    def steal() -> None:
        end_elsewhere(operon, "r")
        for run in operon._process.made().services.active.each():
            run.interrupt()  # as the heartbeat does

    later = threading.Timer(0.1, steal)
    assert operon.run(Loses(), id="r") == -1
    assert happened(ledger) == ["asked"]


def test_a_shutdown_begins_nothing_that_still_waits_for_a_thread(
    make_operon, database, ledger
):
    operon, other = make_operon(database.url, threads=1), make_operon(database.url)
    gate = Gate()

    class Many(Workflow):
        @activity
        def ask(self, what: str) -> str:
            happen(what)
            if what == "a":
                gate.wait()
            return what

        def run(self) -> list[str]:
            return list(self.gather(*(self.spawn(self.ask, what) for what in "abc")))

    operon.launch()
    operon.start(Many(), id="r")
    eventually(lambda: happened(ledger) == ["a"])
    stopper = threading.Thread(target=operon.shutdown, args=(SOON,))
    stopper.start()
    assert operon.ready().services.stopping.wait(15)
    gate.open()
    stopper.join()
    assert happened(ledger) == ["a"]
    assert (status(other, "r"), len(other.list_steps("r"))) == ("enqueued", 1)
    other.launch()

    assert other.handle("r").result(SOON) == ["a", "b", "c"]
    assert sorted(happened(ledger)) == ["a", "b", "c"]


# --- fork and retry


def test_a_fork_within_an_open_gather_is_refused_and_one_before_it_is_not(
    operon, ledger
):
    gate = Gate()

    class Opens(Workflow):
        @step
        def begin(self, session: Session) -> int:
            return insert_order(session).id

        @activity
        def ask(self, what: str) -> str:
            if what == "slow":
                gate.wait()
            return what

        def run(self) -> list[str]:
            self.begin()
            slow, fast = self.spawn(self.ask, "slow"), self.spawn(self.ask, "fast")
            return list(self.gather(slow, fast))

    operon.launch()
    operon.start(Opens(), id="r")
    try:
        eventually(lambda: len(operon.list_steps("r")) == 2)
        for position in (3, 4):
            with pytest.raises(MisuseError, match=r"open at 2; .*use 1 to 2"):
                operon.fork("r", from_position=position, id="f")
        assert operon.find_run("f") is None
        operon.fork("r", from_position=2, id="f")
    finally:
        gate.open()

    assert operon.handle("r").result(SOON) == ["slow", "fast"]
    assert operon.handle("f").result(SOON) == ["slow", "fast"]
    assert count(operon) == 1
    operon.fork("r", from_position=4, id="g")
    assert operon.handle("g").result(SOON) == ["slow", "fast"]


def end_and_fail(end: Any) -> None:
    end()
    fail()


@pytest.mark.parametrize("order", ["acb", "cab", "bca", "cba"])
def test_retry_redoes_the_one_of_a_gather_that_failed_beside_its_siblings(
    operon, ledger, order
):
    in_order(operon, *order)
    acts["b"] = partial(end_and_fail, acts["b"])
    with pytest.raises(LookupError):
        operon.run(GathersThree(), id="r")
    acts.clear()
    operon.retry("r")

    assert operon.run(GathersThree(), id="r") == ["a", "b", "c"]
    assert sorted(happened(ledger)) == ["a", "b", "b", "c"]


@pytest.mark.parametrize("order", ["abc", "bac"])
def test_retry_redoes_the_one_of_a_gather_that_failed_before_the_last_ended(
    operon, ledger, order
):
    in_order(operon, *order)
    acts["b"] = partial(end_and_fail, acts["b"])
    with pytest.raises(LookupError):
        operon.run(GathersThree(), id="r")
    acts.clear()
    operon.retry("r")

    assert operon.run(GathersThree(), id="r") == ["a", "b", "c"]


def test_retry_is_refused_after_a_compensation_though_something_else_was_open(
    operon, ledger
):
    gate = Gate()

    class Undoes(Workflow):
        @activity
        def slow(self) -> None:
            gate.wait()

        @step
        def charge(self, session: Session) -> None:
            insert_order(session)
            raise LookupError("declined")

        @step
        def undo(self, session: Session) -> None:
            insert_order(session, "undone")

        def run(self) -> None:
            self.spawn(self.slow)
            try:
                self.charge()
            except LookupError:
                self.undo()
                gate.open()
                raise

    with pytest.raises(LookupError):
        operon.run(Undoes(), id="r")

    with pytest.raises(RetryRefusedError, match=r"undo.*at 3"):
        operon.retry("r")


def test_a_fork_of_a_run_with_a_gather_keeps_what_was_recorded(operon, ledger):
    operon.run(GathersThree(), id="r")
    operon.fork("r", from_position=3, id="f")

    assert operon.run(GathersThree(), id="f") == ["a", "b", "c"]
    assert happened(ledger).count("c") == 2
    assert len(happened(ledger)) == 4


def test_what_a_run_spawned_is_not_left_in_its_row(operon):
    operon.run(GathersThree(), id="r")

    assert count(operon, WorkflowRun, parent_id="r") == 0
