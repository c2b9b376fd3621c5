"""Activities: the outside world, at least once, recorded after it happened."""

import threading
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.errors import MisuseError
from operon.errors import ResultNotSerializableError
from operon.errors import RunCancelledError
from operon.errors import StepTimeoutError
from operon.points import Point
from tests.engine.facts import attempts
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.shop import happen
from tests.shop import happened
from tests.shop import place

QUICK = timedelta(milliseconds=5)
SHORT = timedelta(milliseconds=40)


def test_between_the_effect_and_its_record_a_crash_repeats_it_with_the_same_key(
    make_operon, database, ledger
):
    crashes = [1]

    def crash(point: Point, run_id: str) -> None:
        del run_id
        if point is Point.EFFECT_DONE and crashes:
            crashes.pop()
            raise KeyboardInterrupt

    operon = make_operon(database.url, probe=crash)

    class Pays(Workflow):
        @activity
        def charge(self) -> str:
            return happen(current().idempotency_key)

        def run(self) -> str:
            return self.charge()

    with pytest.raises(KeyboardInterrupt):
        operon.run(Pays(), id="r")
    assert operon.run(Pays(), id="r") == "paid r/1"

    assert happened(ledger) == ["r/1", "r/1"]
    assert history(operon, "r") == [(1, "activity", "charge")]


def test_once_recorded_an_activity_never_happens_again(operon, ledger):
    crashes = [1]

    class Pays(Workflow):
        @activity
        def charge(self) -> str:
            return happen(current().idempotency_key)

        def run(self) -> str:
            paid = self.charge()
            if crashes:
                crashes.pop()
                raise KeyboardInterrupt
            return paid

    with pytest.raises(KeyboardInterrupt):
        operon.run(Pays(), id="r")
    assert operon.run(Pays(), id="r") == operon.run(Pays(), id="r") == "paid r/1"

    assert happened(ledger) == ["r/1"]


def test_keys_differ_by_run_and_position(operon):
    keys: list[str] = []

    class Twice(Workflow):
        @activity
        def ask(self) -> None:
            keys.append(current().idempotency_key)

        def run(self) -> None:
            self.ask()
            self.ask()

    operon.run(Twice(), id="a")
    operon.run(Twice(), id="b")

    assert keys == ["a/1", "a/2", "b/1", "b/2"]


def test_no_connection_is_held_while_an_activity_runs(operon):
    class Asks(Workflow):
        @step
        def before(self, session: Session) -> None:
            insert_order(session)

        @activity
        def ask(self) -> int:
            await_empty_pool(operon)
            return 1

        def run(self) -> int:
            self.before()
            return self.ask()

    assert operon.run(Asks()) == 1


def test_an_activity_may_use_the_database_on_its_own(operon):
    class Asks(Workflow):
        @activity
        def ask(self) -> int:
            with Session(operon.engine) as session, session.begin():
                return insert_order(session, current().run_id).id

        def run(self) -> int:
            return self.ask()

    assert operon.run(Asks(), id="r") == 1
    assert count(operon, run_id="r") == 1


def test_an_activity_in_an_activity_is_a_plain_call(operon):
    class Asks(Workflow):
        @activity
        def outer(self) -> list[str]:
            return [self.inner(), current().idempotency_key]

        @activity(retry=Retry(attempts=5))
        def inner(self) -> str:
            return current().idempotency_key

        def run(self) -> list[str]:
            return self.outer()

    assert operon.run(Asks(), id="r") == ["r/1", "r/1"]
    assert names(operon, "r") == ["outer"]


def test_what_an_activity_starts_has_the_same_id_on_every_attempt(operon):
    calls: list[int] = []

    class Starts(Workflow):
        @activity(retry=Retry(attempts=2, delay=QUICK))
        def start_two(self) -> list[str]:
            calls.append(1)
            ids = [operon.start(place("book")).id, operon.start(place("pen")).id]
            if len(calls) == 1:
                raise LookupError
            return ids

        def run(self) -> list[str]:
            return self.start_two()

    assert operon.run(Starts(), id="r") == ["r/1/1", "r/1/2"]
    assert sorted(each.id for each in operon.list_runs()) == ["r", "r/1/1", "r/1/2"]
    assert operon.get_run("r/1/1").parent_id == "r"


def test_an_activity_that_returns_in_time_is_not_touched_by_its_timeout(operon):
    class Asks(Workflow):
        @activity(timeout=timedelta(seconds=30))
        def ask(self) -> list[Any]:
            now = current()
            assert now.deadline is not None
            left = now.deadline - datetime.now(UTC)
            return [now.idempotency_key, timedelta(0) < left <= timedelta(seconds=31)]

        def run(self) -> list[Any]:
            return self.ask()

    assert operon.run(Asks(), id="r") == ["r/1", True]


@pytest.mark.parametrize("error", [LookupError("no"), ValueError(1, 2)])
def test_an_error_within_the_timeout_is_the_activitys_own(operon, error):
    class Asks(Workflow):
        @activity(timeout=timedelta(seconds=30))
        def ask(self) -> None:
            raise error

        def run(self) -> None:
            self.ask()

    with pytest.raises(type(error)) as caught:
        operon.run(Asks())

    assert caught.value.args == error.args


def test_a_timeout_is_recorded_and_raised_again_the_same(operon):
    late = threading.Event()

    class Asks(Workflow):
        @activity(timeout=SHORT)
        def ask(self) -> str:
            late.wait(10)
            return "late"

        def run(self) -> str:
            return self.ask()

    said = []
    for _ in range(2):
        with pytest.raises(StepTimeoutError, match="'ask' at position 1") as caught:
            operon.run(Asks(), id="r")
        said.append((str(caught.value), vars(caught.value)))
        late.set()

    assert said[0] == said[1]
    assert operon.list_steps("r")[0].error is not None


def test_a_timed_out_attempt_is_retried_and_its_late_result_discarded(operon):
    late, returned = threading.Event(), threading.Event()
    seen: list[Any] = []

    class Asks(Workflow):
        @activity(timeout=SHORT, retry=Retry(attempts=3, delay=QUICK))
        def ask(self) -> str:
            seen.append((current().attempt, current().idempotency_key))
            if len(seen) == 1:
                late.wait(10)
                returned.set()
                return "late"
            late.set()
            assert returned.wait(10)
            return "second"

        def run(self) -> str:
            return self.ask()

    assert operon.run(Asks(), id="r") == "second"

    assert seen == [(1, "r/1"), (2, "r/1")]
    assert operon.list_steps("r")[0].output == '"second"'
    assert [each.attempt for each in attempts(operon, "r")] == [1]
    assert "StepTimeoutError" in attempts(operon, "r")[0].error


def test_a_late_attempt_can_neither_step_nor_start_as_if_it_were_in_time(operon):
    """What a late thread still calls must not take a position of its run."""
    late, done = threading.Event(), threading.Event()
    said: list[str] = []

    class Asks(Workflow):
        @step
        def keep(self, session: Session) -> None:
            insert_order(session)

        @activity(timeout=SHORT)
        def ask(self) -> None:
            late.wait(10)
            try:
                self.keep()
            except MisuseError as error:
                said.append(type(error).__name__)
            done.set()

        def run(self) -> str:
            try:
                self.ask()
            except StepTimeoutError:
                late.set()
                assert done.wait(10)
                self.keep()
            return "done"

    assert operon.run(Asks(), id="r") == "done"
    assert said == ["MisuseError"]
    assert names(operon, "r") == ["ask", "keep"]
    assert count(operon) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancel_during_an_activity_is_delivered_after_its_outcome(operon, fails):
    class Pays(Workflow):
        @activity
        def charge(self) -> str:
            operon.cancel(current().run_id)
            if fails:
                raise LookupError("declined")
            return "paid"

        @step
        def settle(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> str:
            try:
                paid = self.charge()
            except LookupError:
                paid = "declined"
            self.settle()
            return paid

    with pytest.raises(RunCancelledError):
        operon.run(Pays(), id="r")

    assert names(operon, "r") == ["charge", "cancel"]
    first = operon.list_steps("r")[0]
    assert (first.error is not None) == fails
    assert count(operon) == 0


def test_a_timeout_loses_to_a_cancel(operon):
    calls: list[int] = []
    late = threading.Event()

    class Asks(Workflow):
        @activity(timeout=SHORT, retry=Retry(attempts=9, delay=QUICK))
        def ask(self) -> None:
            calls.append(1)
            operon.cancel(current().run_id)
            late.wait(10)

        def run(self) -> None:
            try:
                self.ask()
            finally:
                late.set()

    with pytest.raises(RunCancelledError):
        operon.run(Asks(), id="r")

    assert len(calls) == 1
    assert names(operon, "r")[-1] == "cancel"
    assert status(operon, "r") == "cancelled"


def test_a_result_that_cannot_be_stored_is_refused_by_name_and_not_tried_again(operon):
    calls: list[int] = []

    class Asks(Workflow):
        @activity(retry=Retry(attempts=5, delay=QUICK))
        def ask(self) -> dict[str, Any]:
            calls.append(1)
            return {"items": [1, object()]}

        def run(self) -> dict[str, Any]:
            return self.ask()

    for _ in range(2):
        with pytest.raises(
            ResultNotSerializableError, match=r"'ask' at position 1.*\[1\]"
        ):
            operon.run(Asks(), id="r")

    assert len(calls) == 1
    assert status(operon, "r") == "failed"


def test_an_activity_cannot_swallow_its_runs_cancel(operon):
    """A cancel is raised in the body, never inside an activity."""
    seen: list[BaseException] = []

    class Asks(Workflow):
        @activity
        def ask(self) -> None:
            try:
                operon.cancel(current().run_id)
            except BaseException as error:
                seen.append(error)
                raise

        def run(self) -> str:
            self.ask()
            try:
                self.ask()
            except RunCancelled:
                return "swallowed"
            return "done"

    with pytest.raises(RunCancelledError):
        operon.run(Asks(), id="r")

    assert seen == []
    assert names(operon, "r") == ["ask", "cancel"]


def test_many_timed_activities_leave_no_connection_behind(operon):
    class Asks(Workflow):
        @activity(timeout=timedelta(seconds=30))
        def ask(self, number: int) -> int:
            return number

        def run(self) -> int:
            return sum(self.ask(number) for number in range(20))

    assert operon.run(Asks()) == 190
    await_empty_pool(operon)


def test_an_activity_of_a_launched_run_behaves_the_same(operon, ledger):
    class Pays(Workflow):
        @activity(timeout=timedelta(seconds=30))
        def charge(self) -> str:
            return happen(current().idempotency_key)

        def run(self) -> str:
            return self.charge()

    operon.launch()

    assert operon.start(Pays(), id="r").result(timedelta(seconds=10)) == "paid r/1"
    assert happened(ledger) == ["r/1"]
