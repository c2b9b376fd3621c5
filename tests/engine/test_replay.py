"""One id, one run: nothing happens twice, and a replay says what was said first."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.errors import NonDeterminismError
from operon.errors import RecordedError
from operon.errors import RunCancelled
from operon.errors import RunConflictError
from operon.errors import RunDeadError
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.facts import stock
from tests.processes import Child
from tests.shop import Checkout
from tests.shop import OutOfStockError
from tests.shop import Payment
from tests.shop import ThreeSteps
from tests.shop import happened

CALLERS = 8


@pytest.mark.parametrize("again", ["run", "start"])
def test_the_same_id_is_the_same_run(operon, ledger, again):
    first = operon.run(Checkout("book"), id="order-42")

    if again == "run":
        second = operon.run(Checkout("book"), id="order-42")
    else:
        second = operon.start(Checkout("book"), id="order-42").result()

    assert second == first
    assert stock(operon) == 99
    assert count(operon, run_id="order-42") == count(operon, Payment) == 1
    assert len(happened(ledger)) == 1


def test_without_an_id_every_call_is_a_run_of_its_own(operon):
    assert operon.run(ThreeSteps("book")) != operon.run(ThreeSteps("book"))


def test_threads_that_run_one_id_at_once_share_one_run(operon, ledger):
    barrier = threading.Barrier(CALLERS)

    def call(_: int) -> int:
        barrier.wait()
        return operon.run(Checkout("book"), id="shared")

    with ThreadPoolExecutor(CALLERS) as pool:
        results = list(pool.map(call, range(CALLERS)))

    assert len(set(results)) == 1
    assert stock(operon) == 99
    assert count(operon) == count(operon, Payment) == len(happened(ledger)) == 1
    assert names(operon, "shared") == ["reserve", "charge", "settle"]


def test_threads_that_run_a_failing_id_at_once_see_the_same_error(operon):
    calls: list[int] = []
    barrier = threading.Barrier(CALLERS)

    class Fails(Workflow):
        @step
        def fail(self, session: Session) -> None:
            insert_order(session)
            calls.append(1)
            raise OutOfStockError("book", len(calls))

        def run(self) -> None:
            self.fail()

    def call(_: int) -> tuple[object, ...]:
        barrier.wait()
        with pytest.raises(OutOfStockError) as caught:
            operon.run(Fails(), id="shared")
        return caught.value.args

    with ThreadPoolExecutor(CALLERS) as pool:
        said = list(pool.map(call, range(CALLERS)))

    assert said == [("book", 1)] * CALLERS
    assert (len(calls), count(operon)) == (1, 0)


def test_launched_executors_and_callers_share_one_run(make_operon, database, operon):
    others = [make_operon(database.url) for _ in range(2)]
    for each in others:
        each.launch()

    handles = [each.start(ThreeSteps("book"), id="shared") for each in others]
    direct = operon.run(ThreeSteps("book"), id="shared")

    assert {handle.result() for handle in handles} == {direct}
    assert (stock(operon), count(operon)) == (99, 1)


PROGRAM = """
import sys
from datetime import timedelta
from operon import Operon
from tests.shop import Checkout

operon = Operon(sys.argv[1])
print("result", operon.run(Checkout("book"), id="shared"))
operon.shutdown(timedelta(seconds=5))
operon.engine.dispose()
"""


def test_processes_that_run_one_id_at_once_share_one_run(
    operon, database, ledger, tmp_path
):
    program: Path = tmp_path / "caller.py"
    program.write_text(PROGRAM)
    children = [Child(program, [database.url]) for _ in range(4)]

    for child in children:
        child.__enter__()
    try:
        codes = [child.wait() for child in children]
        said = [child.output().strip() for child in children]
    finally:
        for child in children:
            child.__exit__(None, None, None)

    assert codes == [0] * 4, said
    assert len(set(said)) == 1
    assert said[0].startswith("result ")
    assert stock(operon) == 99
    assert count(operon) == count(operon, Payment) == len(happened(ledger)) == 1


@pytest.mark.parametrize("other", [Checkout("pen"), Checkout("book", 2)])
def test_an_id_with_other_input_is_refused_and_nothing_runs(operon, other):
    operon.run(Checkout("book"), id="r")

    with pytest.raises(RunConflictError, match="another input") as caught:
        operon.run(other, id="r")

    assert caught.value.run_id == "r"
    assert count(operon) == 1


def test_an_id_of_another_workflow_is_refused(operon):
    operon.run(Checkout("book"), id="r")

    with pytest.raises(RunConflictError, match=r"Checkout.*not 'ThreeSteps'"):
        operon.run(ThreeSteps("book"), id="r")


def test_the_same_input_in_other_words_is_the_same(operon):
    first = operon.run(Checkout("book"), id="r")

    assert operon.run(Checkout(sku="book", quantity=1, card="good"), id="r") == first


def test_on_conflict_raise_refuses_even_the_same_input(operon):
    operon.run(Checkout("book"), id="r", on_conflict="raise")

    with pytest.raises(RunConflictError, match="exists already"):
        operon.run(Checkout("book"), id="r", on_conflict="raise")


@pytest.mark.parametrize("value", [None, False, 0, "", 0.0, [], {}])
@pytest.mark.parametrize("kind", ["step", "activity"])
def test_a_result_that_is_false_is_a_result(operon, value, kind):
    calls: list[str] = []

    class Returns(Workflow):
        @activity
        def ask(self):
            calls.append("activity")
            return value

        def run(self):
            answer = self.keep() if kind == "step" else self.ask()
            if len(calls) == 1:
                calls.append("interrupt")
                raise KeyboardInterrupt
            return [answer]

        @step
        def keep(self, session: Session):
            del session
            calls.append("step")
            return value

    with pytest.raises(KeyboardInterrupt):
        operon.run(Returns(), id="r")

    result = operon.run(Returns(), id="r")

    assert result == [value]
    assert type(result[0]) is type(value)
    assert calls == [kind, "interrupt"]
    assert operon.run(Returns(), id="r") == [value]


@pytest.mark.parametrize("value", [None, False, 0, ""])
def test_the_recorded_result_wins_over_what_a_body_would_return_now(operon, value):
    values = [value]

    class Returns(Workflow):
        def run(self):
            return values[-1]

    first = operon.run(Returns(), id="r")
    values.append("another")
    second = operon.run(Returns(), id="r")

    assert (first, second) == (value, value)
    assert type(first) is type(second) is type(value)


class DetailedError(Exception):
    def __init__(self, sku: str, *, left: int) -> None:
        super().__init__(f"{sku}: {left} left")
        self.sku = sku
        self.left = left


def facts_of(error: BaseException) -> tuple[object, ...]:
    """Return all that a handler may look at."""
    notes = getattr(error, "__notes__", [])
    state = {k: v for k, v in vars(error).items() if k != "__notes__"}
    return type(error), error.args, str(error), state, notes


@pytest.mark.parametrize("kind", ["step", "activity"])
def test_an_error_is_the_same_in_every_pass_and_to_every_caller(operon, kind):
    calls: list[str] = []
    seen: list[tuple[object, ...]] = []

    def fail() -> None:
        calls.append(kind)
        error = DetailedError("book", left=3)
        error.add_note("look at shelf 4")
        raise error

    class Fails(Workflow):
        @step
        def reserve(self, session: Session) -> None:
            insert_order(session)
            fail()

        @activity
        def charge(self) -> None:
            fail()

        @step
        def settle(self, session: Session) -> None:
            del session

        def run(self) -> None:
            try:
                self.reserve() if kind == "step" else self.charge()
            except DetailedError as error:
                seen.append(facts_of(error))
                if len(seen) == 1:
                    raise KeyboardInterrupt from None
                raise

    with pytest.raises(KeyboardInterrupt):
        operon.run(Fails(), id="r")
    for _ in range(2):
        with pytest.raises(DetailedError) as caught:
            operon.run(Fails(), id="r")
        seen.append(facts_of(caught.value))
    with pytest.raises(DetailedError) as caught:
        operon.handle("r").result()
    seen.append(facts_of(caught.value))

    assert calls == [kind]
    assert seen == [seen[0]] * 5
    _, args, _, state, notes = seen[0]
    assert args == ("book: 3 left",)
    assert state == {"sku": "book", "left": 3}
    assert notes == ["look at shelf 4"]
    assert count(operon) == 0
    assert history(operon, "r") == [
        (1, kind, "reserve" if kind == "step" else "charge")
    ]


def test_an_error_raised_by_the_body_is_raised_again_as_it_was_recorded(operon):
    left = [1]

    class Fails(Workflow):
        def run(self) -> None:
            raise DetailedError("book", left=left[-1])

    for _ in range(2):
        with pytest.raises(DetailedError, match="1 left"):
            operon.run(Fails(), id="r")
        left.append(2)

    assert status(operon, "r") == "failed"


def test_the_traceback_of_the_first_pass_shows_where_the_step_failed(operon):
    class Fails(Workflow):
        @step
        def reserve(self, session: Session) -> None:
            del session
            raise DetailedError("book", left=1)

        def run(self) -> None:
            self.reserve()

    with pytest.raises(DetailedError) as caught:
        operon.run(Fails())

    assert "reserve" in {entry.name for entry in caught.traceback}


def test_an_error_class_of_a_function_comes_back_as_itself(operon):
    class LocalError(Exception):
        pass

    class Fails(Workflow):
        @step
        def fail(self, session: Session) -> None:
            del session
            raise LocalError("here", 7)

        def run(self) -> str:
            try:
                self.fail()
            except LocalError as error:
                return f"{error.args}"
            return "nothing"

    assert operon.run(Fails()) == "('here', 7)"


def test_an_error_whose_class_vanished_is_a_recorded_error_that_says_it_all(
    operon, monkeypatch
):
    class Fails(Workflow):
        @step
        def fail(self, session: Session) -> None:
            del session
            raise DetailedError("book", left=1)

        def run(self) -> None:
            self.fail()

    with pytest.raises(DetailedError):
        operon.run(Fails(), id="r")
    monkeypatch.delattr(sys.modules[__name__], "DetailedError")

    with pytest.raises(RecordedError, match=r"DetailedError: book: 1 left"):
        operon.run(Fails(), id="r")
    assert [each.id for each in operon.list_runs()] == ["r"]
    assert [each.name for each in operon.handle("r").steps()] == ["fail"]
    assert operon.run(ThreeSteps("book"), id="other") > 0


def test_an_error_that_cannot_be_rebuilt_is_a_recorded_error_in_both_passes(operon):
    passes: list[type[Exception]] = []

    class Fails(Workflow):
        @step
        def fail(self, session: Session) -> None:
            del session
            raise ValueError(object())

        def run(self) -> None:
            try:
                self.fail()
            except Exception as error:
                passes.append(type(error))
                if len(passes) == 1:
                    raise KeyboardInterrupt from None
                raise

    with pytest.raises(KeyboardInterrupt):
        operon.run(Fails(), id="r")
    with pytest.raises(RecordedError, match="ValueError"):
        operon.run(Fails(), id="r")

    assert passes == [RecordedError, RecordedError]


@pytest.mark.parametrize("crash_after", [1, 2, 3])
def test_after_a_crash_recorded_operations_are_not_executed_again(operon, crash_after):
    executed: list[str] = []
    crashed: list[int] = []

    def note(name: str) -> None:
        executed.append(name)

    class Three(Workflow):
        @step
        def one(self, session: Session) -> int:
            note("one")
            return insert_order(session).id

        @activity
        def two(self, order_id: int) -> int:
            note("two")
            return order_id + 1

        @step
        def three(self, session: Session, number: int) -> int:
            note("three")
            insert_order(session)
            return number + 1

        def run(self) -> int:
            value = 0
            for number, call in enumerate((lambda _: self.one(), self.two, self.three)):
                value = call(value)
                if number + 1 == crash_after and not crashed:
                    crashed.append(1)
                    raise KeyboardInterrupt
            return value

    with pytest.raises(KeyboardInterrupt):
        operon.run(Three(), id="r")
    assert status(operon, "r") == "enqueued"
    result = operon.run(Three(), id="r")

    assert executed == ["one", "two", "three"]
    assert result == operon.handle("r").result() == 3
    assert count(operon) == 2


def test_a_launched_executor_continues_what_a_caller_left(operon):
    crashed: list[int] = []

    class Left(Workflow):
        @step
        def one(self, session: Session) -> int:
            return insert_order(session).id

        def run(self) -> int:
            found = self.one()
            if not crashed:
                crashed.append(1)
                raise KeyboardInterrupt
            return found

    with pytest.raises(KeyboardInterrupt):
        operon.run(Left(), id="r")
    operon.launch()

    assert operon.handle("r").result(timedelta(seconds=10)) == 1
    assert count(operon) == 1


def reordered(operon, first: list[str], second: list[str]) -> None:
    """Record what *first* calls and interrupt; then call what *second* says."""
    todo = [*first, "interrupt"]

    @activity(name="a")
    def c() -> None:
        pass

    def interrupt() -> None:
        raise KeyboardInterrupt

    class Changing(Workflow):
        @step
        def a(self, session: Session) -> None:
            insert_order(session)

        @step
        def b(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> None:
            calls = {"a": self.a, "b": self.b, "c": c, "interrupt": interrupt}
            for name in todo:
                calls[name]()

    with pytest.raises(KeyboardInterrupt):
        operon.run(Changing(), id="r")
    todo[:] = second
    operon.run(Changing(), id="r")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["a"], ["b"], "recorded was step 'a', called was step 'b'"),
        (["a"], ["c"], "recorded was step 'a', called was activity 'a'"),
        (["a", "b"], ["a", "a"], "recorded was step 'b', called was step 'a'"),
        (["a", "b"], ["a"], "recorded was step 'b', called was the end of the body"),
        (["a"], [], "recorded was step 'a', called was the end of the body"),
    ],
)
def test_a_body_that_does_not_follow_its_history_dies_and_says_where(
    operon, first, second, said
):
    with pytest.raises(RunDeadError, match=said) as caught:
        reordered(operon, first, second)

    cause = caught.value.__cause__
    assert isinstance(cause, NonDeterminismError)
    assert cause.position == max(1, len(first))
    assert status(operon, "r") == "dead"
    assert count(operon) == len(first)
    assert names(operon, "r") == first


def test_non_determinism_names_the_line_of_the_body(operon):
    with pytest.raises(RunDeadError) as caught:
        reordered(operon, ["a"], ["b"])

    cause = caught.value.__cause__
    assert isinstance(cause, NonDeterminismError)
    path, _, line = cause.source.rpartition(":")
    assert path == __file__
    source = Path(__file__).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert "calls[name]()" in source


def test_a_body_that_swallows_everything_cannot_outlive_its_own_end(operon):
    """What ends a claim is raised again at every operation, and the result ignored."""
    crashed: list[int] = []
    said: list[str] = []

    class Swallows(Workflow):
        @step
        def a(self, session: Session) -> None:
            insert_order(session)

        @step
        def b(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> str:
            if not crashed:
                self.a()
                crashed.append(1)
                raise KeyboardInterrupt
            for _ in range(3):
                try:
                    self.b()
                except:  # noqa: E722 - on purpose
                    said.append("swallowed")
            return "all is well"

    with pytest.raises(KeyboardInterrupt):
        operon.run(Swallows(), id="r")
    with pytest.raises(RunDeadError):
        operon.run(Swallows(), id="r")

    assert len(said) % 3 == 0  # it never got out of the loop any earlier
    assert said
    assert status(operon, "r") == "dead"
    assert count(operon) == 1


def test_a_bare_except_that_swallows_a_cancel_still_ends_cancelled(operon):
    class Swallows(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel(current().run_id)

        def run(self) -> str:
            self.ask()
            try:
                self.keep()
            except:  # noqa: E722 - on purpose
                self.keep()
            return "all is well"

        @step
        def keep(self, session: Session) -> None:
            insert_order(session)

    with pytest.raises(Exception, match="was cancelled"):
        operon.run(Swallows(), id="r")

    assert names(operon, "r") == ["ask", "cancel", "keep"]
    assert status(operon, "r") == "cancelled"


def test_the_body_sees_what_is_in_the_database_never_the_object_itself(operon):
    made: list[list[int]] = []

    class Returns(Workflow):
        @step
        def build(self, session: Session) -> list[int]:
            del session
            made.append([1, 2])
            return made[0]

        def run(self) -> bool:
            found = self.build()
            return found == made[0] and found is not made[0]

    assert operon.run(Returns())


def test_self_in_the_body_is_the_decoded_input(operon):
    class Echo(Workflow):
        numbers: list[int]

        def run(self) -> list[int]:
            self.numbers.append(3)
            return self.numbers

    mine = Echo([1, 2])

    assert operon.run(mine, id="r") == [1, 2, 3]
    assert mine.numbers == [1, 2]
    assert operon.run(mine, id="r") == [1, 2, 3]


def test_a_result_that_is_changed_by_the_body_does_not_change_what_is_recorded(operon):
    class Changes(Workflow):
        @step
        def build(self, session: Session) -> list[int]:
            del session
            return [1]

        def run(self) -> int:
            found = self.build()
            found.append(2)
            return len(found)

    operon.run(Changes(), id="r")

    assert operon.list_steps("r")[0].output == "[1]"


def test_run_cancelled_raised_by_the_body_itself_ends_it_cancelled(operon):
    class Ends(Workflow):
        def run(self) -> None:
            raise RunCancelled(current().run_id)

    with pytest.raises(Exception, match="was cancelled"):
        operon.run(Ends(), id="r")

    assert status(operon, "r") == "cancelled"
