"""Retries: how often, how far apart, after what, and what they leave behind."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import Retry
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.clock import SystemClock
from operon.errors import ConfigurationError
from operon.errors import RunCancelledError
from operon.status import RunStatus
from operon.store import finishes
from operon.store import orphans
from operon.store.finishes import Finish
from tests.engine.facts import attempts
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.shop import create_shop

QUICK = timedelta(milliseconds=5)
KINDS = ["step", "activity"]


class BankError(Exception):
    pass


class OtherError(Exception):
    pass


def flaky(kind: str, retry: Retry, work: Any) -> type[Workflow]:
    """Return a workflow whose one operation writes (if it can) and calls *work*."""

    class Flaky(Workflow):
        @step(retry=retry)
        def in_step(self, session: Session) -> int:
            insert_order(session)
            return int(work())

        @activity(retry=retry)
        def in_activity(self) -> int:
            return int(work())

        def run(self) -> int:
            return self.in_step() if kind == "step" else self.in_activity()

    return Flaky


class Waits(SystemClock):
    """A clock by which the test's own thread never waits, but notes how long."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.waited: list[float] = []

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if threading.get_ident() != self.thread:
            return super().wait(event, seconds)
        self.waited.append(round(seconds, 1))
        return event.is_set()


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def unwaiting(make_operon, database, waits):
    """An Operon whose foreground runs wait by `waits`, in their thread: not at all."""
    operon = make_operon(database.url, clock=waits, inline_wait=timedelta(days=1))
    create_shop(operon.engine, "book")
    return operon


@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_is_tried_again_until_it_returns(operon, kind):
    seen: list[tuple[Any, str]] = []

    def work() -> int:
        seen.append((current().attempt, current().idempotency_key))
        if len(seen) < 3:
            raise BankError(len(seen))
        return 7

    assert operon.run(flaky(kind, Retry(attempts=5, delay=QUICK), work)(), id="r") == 7

    assert seen == [(1, "r/1"), (2, "r/1"), (3, "r/1")]
    assert count(operon) == (1 if kind == "step" else 0)
    assert operon.list_steps("r")[0].attempts == 3
    failures = attempts(operon, "r")
    assert [(each.position, each.attempt) for each in failures] == [(1, 1), (1, 2)]
    assert all("BankError" in str(each.traceback) for each in failures)


@pytest.mark.parametrize("kind", KINDS)
def test_after_the_last_attempt_its_error_is_recorded_with_all_the_others(operon, kind):
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        raise BankError(f"no. {len(calls)}")

    workflow = flaky(kind, Retry(attempts=3, delay=QUICK), work)
    said = []
    for _ in range(2):
        with pytest.raises(BankError, match=r"no\. 3") as caught:
            operon.run(workflow(), id="r")
        said.append(caught.value.__notes__)

    assert len(calls) == 3
    assert said[0] == said[1]
    assert [note for note in said[0] if "BankError: no. 1" in note]
    assert [note for note in said[0] if "BankError: no. 2" in note]
    assert operon.list_steps("r")[0].attempts == 3
    assert [each.attempt for each in attempts(operon, "r")] == [1, 2]
    assert count(operon) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_policy_there_is_one_attempt(operon, kind):
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        raise BankError

    with pytest.raises(BankError):
        operon.run(flaky(kind, Retry(), work)(), id="r")

    assert len(calls) == 1
    assert attempts(operon, "r") == []


@pytest.mark.parametrize("kind", KINDS)
def test_errors_that_the_policy_does_not_name_are_final(operon, kind):
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        raise (BankError if len(calls) == 1 else OtherError)

    retry = Retry(attempts=9, delay=QUICK, retry_on=(BankError,))
    with pytest.raises(OtherError):
        operon.run(flaky(kind, retry, work)(), id="r")

    assert len(calls) == 2


def test_subclasses_of_a_named_error_are_tried_again(operon):
    class SlowBankError(BankError):
        pass

    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise SlowBankError
        return 1

    retry = Retry(attempts=2, delay=QUICK, retry_on=(BankError, LookupError))

    assert operon.run(flaky("step", retry, work)()) == 1


def test_waits_grow_up_to_the_cap_and_there_is_none_after_the_last(unwaiting, waits):
    def work() -> int:
        raise BankError

    retry = Retry(
        attempts=6,
        delay=timedelta(seconds=2),
        factor=3,
        cap=timedelta(seconds=40),
        jitter=0,
    )
    with pytest.raises(BankError):
        unwaiting.run(flaky("step", retry, work)())

    assert waits.waited == [2, 6, 18, 40, 40]


def test_jitter_stretches_or_shortens_each_wait_by_its_share():
    retry = Retry(attempts=3, delay=timedelta(seconds=10), jitter=0.2)

    shortest = retry.wait_after(1, uniform=lambda low, _: low)
    longest = retry.wait_after(1, uniform=lambda _, high: high)

    assert (shortest, longest) == (timedelta(seconds=8), timedelta(seconds=12))


def test_a_huge_number_of_attempts_waits_no_longer_than_the_cap():
    retry = Retry(attempts=10**6, jitter=0)

    assert retry.wait_after(10**5) == retry.cap


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"delay": timedelta(seconds=-1)},
        {"factor": 0.5},
        {"cap": timedelta(seconds=-1)},
        {"jitter": 1.5},
        {"jitter": -0.1},
        {"retry_on": ValueError},
        {"retry_on": (BaseException,)},
        {"retry_on": ("ValueError",)},
    ],
    ids=str,
)
def test_a_policy_that_cannot_be_followed_is_refused_at_once(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Retry(**options)


@pytest.mark.parametrize("kind", KINDS)
def test_attempts_are_counted_over_crashes(operon, kind):
    seen: list[int | None] = []

    def work() -> int:
        seen.append(current().attempt)
        if len(seen) == 2:
            raise KeyboardInterrupt
        raise BankError(len(seen))

    workflow = flaky(kind, Retry(attempts=3, delay=QUICK), work)
    with pytest.raises(KeyboardInterrupt):
        operon.run(workflow(), id="r")
    with pytest.raises(BankError) as caught:
        operon.run(workflow(), id="r")

    assert seen == [1, 2, 2, 3]
    assert [each.attempt for each in attempts(operon, "r")] == [1, 2]
    assert [note for note in caught.value.__notes__ if "BankError: 1" in note]
    assert [note for note in caught.value.__notes__ if "BankError: 3" in note]


def test_the_wait_that_a_crash_cut_short_is_waited_to_its_end(unwaiting, waits):
    seen: list[int | None] = []

    def work() -> int:
        seen.append(current().attempt)
        if len(seen) == 1:
            raise BankError
        return 5

    class Interrupts(Waits):
        def wait(self, event: threading.Event, seconds: float) -> bool:
            if threading.get_ident() != self.thread:
                return super().wait(event, seconds)
            raise KeyboardInterrupt

    long = timedelta(seconds=90)
    retry = Retry(attempts=2, delay=long, cap=long, jitter=0)
    real, services = waits, unwaiting._process.made().services
    unwaiting.run(flaky("activity", Retry(), lambda: 1)())  # the heartbeat is there
    workflow = flaky("step", retry, work)
    services.clock = Interrupts()
    with pytest.raises(KeyboardInterrupt):
        unwaiting.run(workflow(), id="r")
    services.clock = real

    assert unwaiting.run(workflow(), id="r") == 5
    assert seen == [1, 2]
    assert [seconds for seconds in waits.waited if 60 < seconds <= 90], waits.waited


def test_a_retried_error_is_not_seen_by_the_body(operon):
    caught: list[Exception] = []
    calls: list[int] = []

    class Handles(Workflow):
        @step(retry=Retry(attempts=2, delay=QUICK))
        def flaky(self, session: Session) -> int:
            del session
            calls.append(1)
            if len(calls) == 1:
                raise BankError
            return 1

        def run(self) -> int:
            try:
                return self.flaky()
            except BankError as error:
                caught.append(error)
                raise

    assert operon.run(Handles()) == 1
    assert caught == []


def test_every_position_counts_its_own_attempts(operon):
    seen: list[tuple[int | None, int | None]] = []

    class Twice(Workflow):
        @step(retry=Retry(attempts=2, delay=QUICK))
        def flaky(self, session: Session) -> None:
            del session
            now = current()
            seen.append((now.position, now.attempt))
            if now.attempt == 1:
                raise BankError

        def run(self) -> None:
            self.flaky()
            self.flaky()

    operon.run(Twice(), id="r")

    assert seen == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [(a.position, a.attempt) for a in attempts(operon, "r")] == [(1, 1), (2, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancel_during_an_attempt_that_fails_ends_the_retries(operon, kind):
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        raise BankError

    class Cancelled(Workflow):
        @step(retry=Retry(attempts=9, delay=QUICK))
        def in_step(self, session: Session) -> None:
            del session
            work()

        @activity(retry=Retry(attempts=9, delay=QUICK))
        def in_activity(self) -> None:
            operon.cancel(current().run_id)
            work()

        @activity
        def ask(self) -> None:
            operon.cancel(current().run_id)

        def run(self) -> None:
            if kind == "step":
                self.ask()
                self.in_step()
            else:
                self.in_activity()

    with pytest.raises(RunCancelledError):
        operon.run(Cancelled(), id="r")

    assert len(calls) == (0 if kind == "step" else 1)
    assert names(operon, "r")[-1] == "cancel"


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancel_during_the_wait_between_attempts_does_not_wait_for_its_end(
    make_operon, database, kind
):
    operon = make_operon(
        database.url,
        heartbeat=timedelta(milliseconds=50),
        lease=timedelta(milliseconds=300),
    )
    create_shop(operon.engine, "book")
    failed = threading.Event()

    def work() -> int:
        failed.set()
        raise BankError

    retry = Retry(attempts=9, delay=timedelta(hours=1), cap=timedelta(hours=1))
    workflow = flaky(kind, retry, work)
    operon.launch()
    handle = operon.start(workflow(), id="r")
    assert failed.wait(10)
    operon.cancel("r")

    with pytest.raises(RunCancelledError):
        handle.result(timedelta(seconds=10))
    assert history(operon, "r") == [(1, "cancel", "cancel")]


def test_a_forced_cancel_during_the_wait_ends_the_run_at_once(make_operon, database):
    operon = make_operon(
        database.url,
        heartbeat=timedelta(milliseconds=50),
        lease=timedelta(milliseconds=300),
    )
    create_shop(operon.engine, "book")
    calls: list[int] = []
    failed = threading.Event()

    def work() -> int:
        calls.append(1)
        failed.set()
        raise BankError

    retry = Retry(attempts=9, delay=timedelta(hours=1), cap=timedelta(hours=1))
    operon.launch()
    handle = operon.start(flaky("step", retry, work)(), id="r")
    assert failed.wait(10)
    operon.cancel("r", force=True)

    with pytest.raises(RunCancelledError):
        handle.result(timedelta(seconds=10))
    assert history(operon, "r") == []
    assert len(calls) == 1


def test_an_attempt_of_a_lost_run_is_not_recorded(postgres_database, make_operon):
    """It is recorded under the fence, as a checkpoint is."""
    operon = make_operon(postgres_database.url)

    class Taken(Workflow):
        @activity(retry=Retry(attempts=3, delay=QUICK))
        def ask(self) -> None:
            _take_over_and_finish(operon, "Taken")
            raise BankError

        def run(self) -> int:
            self.ask()
            return 0

    assert operon.run(Taken(), id="r") == -1
    assert attempts(operon, "r") == []
    assert status(operon, "r") == "succeeded"


def _take_over_and_finish(operon, name: str) -> None:
    services = operon._process.made().services
    backend, clock = services.database.backend, services.clock
    with services.database.transaction() as connection:
        (claimed,) = orphans.claim_orphans(
            connection,
            backend,
            "thief",
            gone=[services.executor],
            known=[(name, 1)],
            limit=1,
            clock=clock,
        )
        how = Finish(lease=claimed.lease, status=RunStatus.SUCCEEDED, output="-1")
        finishes.finish(connection, backend, [how], clock=clock)
