"""What an operator does to a run: cancel, force, resume, retry, fork."""

import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import exc
from sqlalchemy.orm import Session

from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.errors import MisuseError
from operon.errors import ResumeRefusedError
from operon.errors import RetryRefusedError
from operon.errors import RunCancelledError
from operon.errors import RunConflictError
from operon.errors import RunDeadError
from operon.errors import RunNotFoundError
from tests.engine import seam
from tests.engine.facts import attempts
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.facts import stock
from tests.shop import Checkout
from tests.shop import OutOfStockError
from tests.shop import PaymentDeclinedError
from tests.shop import ThreeSteps
from tests.shop import happen
from tests.shop import happened
from tests.shop import place

SOON = timedelta(seconds=15)


class Compensates(Workflow):
    """Reserves, is cancelled while it charges, and undoes what it reserved."""

    how: str = "except"

    @step
    def reserve(self, session: Session) -> int:
        return insert_order(session, current().run_id).id

    @activity
    def charge(self) -> str:
        for wish in wishes:
            wish(current().run_id)
        return happen(current().idempotency_key)

    @step
    def settle(self, session: Session) -> None:
        insert_order(session, "settled")

    @step
    def release(self, session: Session) -> None:
        insert_order(session, "released")

    def run(self) -> str:
        self.reserve()
        try:
            paid = self.charge()
            self.settle()
        except RunCancelled:
            self.release()
            if self.how == "swallow":
                return "swallowed"
            if self.how == "another error":
                raise LookupError("compensated") from None
            raise
        return paid


wishes: list[Any] = []
"""What happens to the run while it charges."""


@pytest.fixture(autouse=True)
def no_wishes():
    wishes.clear()
    yield
    wishes.clear()


# --- cancel


@pytest.mark.parametrize("how", ["except", "swallow", "another error"])
def test_a_cancel_is_raised_at_the_next_operation_and_compensated_once(
    operon, ledger, how
):
    wishes.append(operon.cancel)

    for _ in range(2):
        with pytest.raises(RunCancelledError) as caught:
            operon.run(Compensates(how=how), id="r")
        assert caught.value.run_id == "r"

    assert names(operon, "r") == ["reserve", "charge", "cancel", "release"]
    assert status(operon, "r") == "cancelled"
    assert (count(operon, run_id="released"), count(operon, run_id="settled")) == (1, 0)
    assert happened(ledger) == ["r/2"]


def test_a_cancel_compensates_in_finally(operon):
    class Cleans(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel(current().run_id)

        @step
        def clean(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> None:
            try:
                self.ask()
                self.ask()
            finally:
                self.clean()

    with pytest.raises(RunCancelledError):
        operon.run(Cleans(), id="r")

    assert names(operon, "r") == ["ask", "cancel", "clean"]
    assert count(operon) == 1


def test_a_compensation_cut_by_a_crash_goes_on_where_it_stopped(operon):
    crashes = [1]

    class Cleans(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel(current().run_id)

        @step
        def first(self, session: Session) -> None:
            insert_order(session, "first")

        @step
        def second(self, session: Session) -> None:
            insert_order(session, "second")
            if crashes:
                crashes.pop()
                raise KeyboardInterrupt

        def run(self) -> None:
            try:
                self.ask()
                self.ask()
            except RunCancelled:
                self.first()
                self.second()
                raise

    with pytest.raises(KeyboardInterrupt):
        operon.run(Cleans(), id="r")
    with pytest.raises(RunCancelledError):
        operon.run(Cleans(), id="r")

    assert names(operon, "r") == ["ask", "cancel", "first", "second"]
    assert (count(operon, run_id="first"), count(operon, run_id="second")) == (1, 1)


def test_a_cancelled_run_is_cancelled_once_however_often_it_is_asked(operon):
    wishes.extend([operon.cancel, operon.cancel])

    with pytest.raises(RunCancelledError):
        operon.run(Compensates(), id="r")
    operon.cancel("r")

    assert names(operon, "r").count("cancel") == 1


def test_a_cancel_during_the_compensation_changes_nothing(operon):
    class Cleans(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel(current().run_id)

        @step
        def clean(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> None:
            try:
                self.ask()
                self.ask()
            except RunCancelled:
                self.ask()
                self.clean()
                raise

    with pytest.raises(RunCancelledError):
        operon.run(Cleans(), id="r")

    assert names(operon, "r") == ["ask", "cancel", "ask", "clean"]


def test_an_enqueued_run_that_is_cancelled_never_begins(operon, ledger):
    operon.start(Compensates(), id="r")

    operon.cancel("r")
    operon.launch()

    with pytest.raises(RunCancelledError):
        operon.handle("r").result(SOON)
    assert operon.start(ThreeSteps("book")).result(SOON) > 0  # the queue is served
    assert history(operon, "r") == []
    assert happened(ledger) == []


def test_a_run_that_was_left_and_is_cancelled_compensates_when_it_goes_on(operon):
    crashes = [1]

    class Left(Workflow):
        @step
        def reserve(self, session: Session) -> None:
            insert_order(session)

        @step
        def release(self, session: Session) -> None:
            insert_order(session, "released")

        def run(self) -> None:
            self.reserve()
            if crashes:
                crashes.pop()
                raise KeyboardInterrupt
            try:
                self.reserve()
            except RunCancelled:
                self.release()
                raise

    with pytest.raises(KeyboardInterrupt):
        operon.run(Left(), id="r")
    operon.cancel("r")
    assert status(operon, "r") == "enqueued"
    operon.launch()

    with pytest.raises(RunCancelledError):
        operon.handle("r").result(SOON)
    assert names(operon, "r") == ["reserve", "cancel", "release"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("ending", ["succeeded", "failed"])
def test_a_cancel_of_an_ended_run_changes_nothing(operon, force, ending):
    sku = "book" if ending == "succeeded" else "none"
    with suppress(exc.NoResultFound):
        operon.run(ThreeSteps(sku), id="r")
    assert status(operon, "r") == ending
    before = vars(operon.get_run("r")).copy()

    operon.cancel("r", force=force)

    after = vars(operon.get_run("r")).copy()
    before.pop("_sa_instance_state")
    after.pop("_sa_instance_state")
    assert after == before


def test_a_cancel_after_the_last_operation_comes_too_late(operon):
    """What `run` returns never contradicts the row."""

    class Ends(Workflow):
        @step
        def write_one(self, session: Session) -> int:
            return insert_order(session).id

        def run(self) -> int:
            found = self.write_one()
            seam.cancel(operon, "r")
            return found

    assert operon.run(Ends(), id="r") == 1
    assert operon.handle("r").result() == 1
    assert status(operon, "r") == "succeeded"


def test_a_forced_cancel_after_the_last_operation_is_what_run_tells(operon):
    class Ends(Workflow):
        @step
        def write_one(self, session: Session) -> int:
            return insert_order(session).id

        def run(self) -> int:
            found = self.write_one()
            seam.force_cancel(operon, "r")
            return found

    with pytest.raises(RunCancelledError):
        operon.run(Ends(), id="r")
    assert status(operon, "r") == "cancelled"


def test_force_ends_a_run_at_once_without_compensation(operon):
    wishes.append(lambda run_id: operon.cancel(run_id, force=True))

    with pytest.raises(RunCancelledError):
        operon.run(Compensates(), id="r")

    assert names(operon, "r") == ["reserve"]
    assert count(operon, run_id="released") == 0
    assert status(operon, "r") == "cancelled"
    assert operon.get_run("r").finished_at is not None


def test_after_force_what_the_body_still_tries_is_not_durable(operon):
    tried: list[str] = []

    class Tries(Workflow):
        @activity
        def ask(self) -> None:
            operon.cancel(current().run_id, force=True)

        @step
        def keep(self, session: Session) -> None:
            tried.append("keep")
            insert_order(session)

        def run(self) -> str:
            try:
                self.ask()
            except:  # noqa: E722 - on purpose
                self.keep()
            finally:
                self.keep()
            return "done"

    with pytest.raises(RunCancelledError):
        operon.run(Tries(), id="r")

    assert tried == []
    assert count(operon) == 0


def test_a_cancel_in_a_session_is_granted_when_that_commits(operon):
    operon.start(place("book"), id="kept")
    operon.start(place("book"), id="gone")

    with Session(operon.engine) as session:
        operon.cancel("kept", session=session)
        session.rollback()
        operon.cancel("gone", session=session)
        assert status(operon, "gone") == "enqueued"
        with session.begin_nested() as savepoint:
            operon.cancel("kept", session=session)
            savepoint.rollback()
        session.commit()

    assert (status(operon, "kept"), status(operon, "gone")) == ("enqueued", "cancelled")


def test_a_cancel_in_a_step_is_granted_with_the_step(operon):
    operon.start(place("book"), id="other")
    fails = [True]

    class Cancels(Workflow):
        @step
        def cancel_other(self, session: Session) -> str:
            del session
            operon.cancel("other")
            if fails:
                raise LookupError
            return "cancelled"

        def run(self) -> str:
            return self.cancel_other()

    with pytest.raises(LookupError):
        operon.run(Cancels())
    assert status(operon, "other") == "enqueued"
    fails.clear()

    assert operon.run(Cancels()) == "cancelled"
    assert status(operon, "other") == "cancelled"


@pytest.mark.parametrize("force", [False, True])
def test_a_step_cannot_cancel_its_own_run(operon, force):
    """Its own commit would be refused by the fence, again and again."""

    class Cancels(Workflow):
        @step
        def give_up(self, session: Session) -> None:
            insert_order(session)
            operon.cancel(current().run_id, force=force)

        def run(self) -> None:
            self.give_up()

    with pytest.raises(MisuseError, match=r"operon\.cancel.*own run"):
        operon.run(Cancels(), id="r")

    assert count(operon) == 0


@pytest.mark.parametrize("wish", ["cancel", "resume", "retry", "start"])
def test_a_wish_in_a_body_is_refused(operon, wish):
    operon.run(ThreeSteps("book"), id="other")

    class Wishes(Workflow):
        def run(self) -> None:
            if wish == "start":
                operon.start(place("book"))
            else:
                getattr(operon, wish)("other")

    with pytest.raises(MisuseError, match=f"operon.{wish}.*body"):
        operon.run(Wishes())


# --- unknown ids


@pytest.mark.parametrize(
    "ask",
    [
        lambda operon: operon.cancel("none"),
        lambda operon: operon.cancel("none", force=True),
        lambda operon: operon.resume("none"),
        lambda operon: operon.retry("none"),
        lambda operon: operon.fork("none", from_position=1),
        lambda operon: operon.get_run("none"),
        lambda operon: operon.list_steps("none"),
        lambda operon: operon.handle("none").status(),
        lambda operon: operon.handle("none").result(),
        lambda operon: operon.handle("none").steps(),
        lambda operon: operon.handle("none").cancel(),
        lambda operon: operon.handle("none").resume(),
        lambda operon: operon.handle("none").retry(),
        lambda operon: operon.handle("none").fork(from_position=1),
    ],
)
def test_an_unknown_id_is_an_error_that_names_it(operon, ask):
    with pytest.raises(RunNotFoundError, match="'none' does not exist") as caught:
        ask(operon)

    assert caught.value.run_id == "none"
    assert operon.find_run("none") is None
    await_empty_pool(operon)


def test_an_unknown_id_does_not_poison_the_callers_session(operon):
    with Session(operon.engine) as session:
        insert_order(session)
        with pytest.raises(RunNotFoundError):
            operon.cancel("none", session=session)
        session.commit()

    assert count(operon) == 1


# --- resume


def test_a_run_cancelled_by_force_is_resumed_without_redoing(operon, ledger):
    wishes.append(lambda run_id: operon.cancel(run_id, force=True))
    with pytest.raises(RunCancelledError):
        operon.run(Compensates(), id="r")
    wishes.clear()

    operon.resume("r")

    assert status(operon, "r") == "enqueued"
    assert operon.run(Compensates(), id="r") == "paid r/2"
    assert names(operon, "r") == ["reserve", "charge", "settle"]
    assert count(operon, run_id="r") == count(operon, run_id="settled") == 1
    assert happened(ledger) == ["r/2", "r/2"]


def test_a_dead_run_is_resumed_when_its_code_is_mended(operon):
    names_called = ["one"]

    class Mended(Workflow):
        @step
        def one(self, session: Session) -> None:
            insert_order(session, "one")

        @step
        def two(self, session: Session) -> None:
            insert_order(session, "two")

        def run(self) -> str:
            for name in names_called:
                getattr(self, name)()
            if names_called == ["one"]:
                names_called[:] = ["two"]
                raise KeyboardInterrupt
            return "done"

    with pytest.raises(KeyboardInterrupt):
        operon.run(Mended(), id="r")
    with pytest.raises(RunDeadError):
        operon.run(Mended(), id="r")
    names_called[:] = ["one", "two"]
    operon.resume("r")
    operon.launch()

    assert operon.handle("r").result(SOON) == "done"
    assert (count(operon, run_id="one"), count(operon, run_id="two")) == (1, 1)
    row = operon.get_run("r")
    assert (row.error, row.recoveries) == (None, 0)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("enqueued", "is enqueued"),
        ("succeeded", "is succeeded"),
        ("failed", "is failed"),
        ("compensated", "has compensated"),
    ],
)
def test_a_run_that_is_neither_dead_nor_ended_by_force_is_not_resumed(
    operon, state, said
):
    bring_to(operon, state)

    with pytest.raises(ResumeRefusedError, match=said):
        operon.resume("r")


def bring_to(operon, state: str) -> None:
    """Bring run `r` into *state*."""
    if state == "enqueued":
        operon.start(place("book"), id="r")
    elif state == "succeeded":
        operon.run(ThreeSteps("book"), id="r")
    elif state == "failed":
        with pytest.raises(OutOfStockError):
            operon.run(Checkout("book", quantity=1000), id="r")
    else:
        wishes.append(operon.cancel)
        with pytest.raises(RunCancelledError):
            operon.run(Compensates(), id="r")


@pytest.mark.parametrize("wish", ["resume", "retry"])
def test_a_running_run_is_neither_resumed_nor_retried(operon, wish):
    said: list[str] = []

    def ask(run_id: str) -> None:
        with pytest.raises((ResumeRefusedError, RetryRefusedError)) as caught:
            getattr(operon, wish)(run_id)
        said.append(str(caught.value))

    wishes.append(ask)
    operon.run(Compensates(), id="r")

    assert "is running" in said[0]


# --- retry


def test_retry_redoes_the_failed_operation_only(operon, ledger):
    broken = [True]

    class Pays(Workflow):
        @step
        def reserve(self, session: Session) -> int:
            return insert_order(session).id

        @activity
        def charge(self) -> str:
            happen(current().idempotency_key)
            if broken:
                raise PaymentDeclinedError("no")
            return "paid"

        def run(self) -> str:
            self.reserve()
            return self.charge()

    with pytest.raises(PaymentDeclinedError):
        operon.run(Pays(), id="r")
    broken.clear()
    operon.retry("r")

    assert status(operon, "r") == "enqueued"
    assert operon.run(Pays(), id="r") == "paid"
    assert names(operon, "r") == ["reserve", "charge"]
    assert count(operon) == 1
    assert happened(ledger) == ["r/2", "r/2"]
    moved = attempts(operon, "r")
    assert [(each.position, each.attempt) for each in moved] == [(2, 1)]
    assert "PaymentDeclinedError" in moved[0].error


def test_retry_may_be_asked_again_and_again_and_keeps_every_error(operon):
    seen: list[int | None] = []

    class Fails(Workflow):
        @step
        def fail(self, session: Session) -> str:
            del session
            seen.append(current().attempt)
            if len(seen) < 3:
                raise LookupError(f"no. {len(seen)}")
            return "done"

        def run(self) -> str:
            return self.fail()

    for _ in range(2):
        with pytest.raises(LookupError):
            operon.run(Fails(), id="r")
        operon.retry("r")

    assert operon.run(Fails(), id="r") == "done"
    assert [each.attempt for each in attempts(operon, "r")] == [1, 2]
    assert seen == [1, 2, 3]
    assert operon.list_steps("r")[0].attempts == 3


def test_a_run_whose_body_failed_runs_its_body_again_from_its_history(operon):
    broken = [True]

    class Raises(Workflow):
        @step
        def reserve(self, session: Session) -> int:
            return insert_order(session).id

        def run(self) -> int:
            found = self.reserve()
            if broken:
                raise LookupError("body")
            return found

    with pytest.raises(LookupError):
        operon.run(Raises(), id="r")
    broken.clear()
    operon.retry("r")

    assert operon.run(Raises(), id="r") == 1
    assert count(operon) == 1


def test_retry_after_a_compensation_is_refused_and_names_what_came_later(operon):
    with pytest.raises(PaymentDeclinedError):
        operon.run(Checkout("book", card="declined"), id="r")

    with pytest.raises(RetryRefusedError, match=r"release.*fork") as caught:
        operon.retry("r")

    assert caught.value.later == ("step 'release' at 3",)
    assert status(operon, "r") == "failed"
    assert names(operon, "r") == ["reserve", "charge", "release"]


@pytest.mark.parametrize("state", ["enqueued", "succeeded", "compensated"])
def test_a_run_that_has_not_failed_is_not_retried(operon, state):
    bring_to(operon, state)

    with pytest.raises(RetryRefusedError, match="not failed"):
        operon.retry("r")


def test_a_retry_in_a_session_is_granted_when_that_commits(operon):
    bring_to(operon, "failed")

    with Session(operon.engine) as session:
        operon.retry("r", session=session)
        session.rollback()
        assert (status(operon, "r"), names(operon, "r")) == ("failed", ["reserve"])
        operon.retry("r", session=session)
        session.commit()

    assert (status(operon, "r"), names(operon, "r")) == ("enqueued", [])


# --- fork


class Counts(Workflow):
    """Three operations, each of which says when it was executed."""

    @step
    def one(self, session: Session) -> str:
        insert_order(session, f"one {current().run_id}")
        return current().run_id

    @activity
    def two(self) -> str:
        return happen(current().idempotency_key)

    @step
    def three(self, session: Session) -> str:
        insert_order(session, f"three {current().run_id}")
        return current().run_id

    def run(self) -> list[str]:
        return [self.one(), self.two(), self.three()]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_fork_redoes_exactly_what_comes_from_its_position_on(operon, ledger, k):
    original = operon.run(Counts(), id="a")

    fork = operon.fork("a", from_position=k, id="b")
    assert fork.id == "b"
    assert names(operon, "b") == ["one", "two", "three"][: k - 1]
    result = operon.run(Counts(), id="b")

    redone = ["b", "paid b/2", "b"]
    assert result == original[: k - 1] + redone[k - 1 :]
    assert count(operon, run_id="one b") == int(k <= 1)
    assert happened(ledger) == ["a/2", "b/2"][: 2 if k <= 2 else 1]
    assert count(operon, run_id="three b") == int(k <= 3)
    assert operon.get_run("b").forked_from == "a"
    assert operon.handle("a").result() == original
    assert names(operon, "a") == ["one", "two", "three"]


def test_a_fork_of_a_fork_keeps_what_both_kept(operon, ledger):
    operon.run(Counts(), id="a")
    operon.fork("a", from_position=3, id="b")
    operon.run(Counts(), id="b")
    operon.fork("b", from_position=2, id="c")
    operon.launch()

    assert operon.handle("c").result(SOON) == ["a", "paid c/2", "c"]
    assert operon.get_run("c").forked_from == "b"
    assert happened(ledger) == ["a/2", "c/2"]


def test_a_fork_without_an_id_gets_one(operon):
    operon.run(Counts(), id="a")

    fork = operon.handle("a").fork(from_position=1)

    assert fork.id != "a"
    assert fork.status() == "enqueued"


def test_a_failed_run_is_forked_past_what_failed(operon, ledger):
    with pytest.raises(PaymentDeclinedError):
        operon.run(Checkout("book", card="declined"), id="a")

    operon.fork("a", from_position=2, id="b")

    with pytest.raises(PaymentDeclinedError, match="1"):
        operon.run(Checkout("book", card="declined"), id="b")
    assert names(operon, "b") == ["reserve", "charge", "release"]
    assert stock(operon) == 101  # one order, released by both
    assert happened(ledger) == []


@pytest.mark.parametrize("k", [0, -1, 5])
def test_a_fork_outside_the_history_is_refused(operon, k):
    operon.run(Counts(), id="a")

    with pytest.raises(MisuseError, match=f"from_position={k}.*use 1 to 4"):
        operon.fork("a", from_position=k, id="b")

    assert operon.find_run("b") is None


def test_a_fork_onto_an_id_that_exists_is_refused(operon):
    operon.run(Counts(), id="a")
    operon.run(ThreeSteps("book"), id="b")

    with pytest.raises(RunConflictError, match="'b'"):
        operon.fork("a", from_position=2, id="b")

    assert names(operon, "b") == ["take", "pay", "close"]
    await_empty_pool(operon)


def test_a_fork_onto_an_id_that_exists_does_not_poison_the_callers_session(operon):
    operon.run(Counts(), id="a")

    with Session(operon.engine) as session:
        insert_order(session, "mine")
        with pytest.raises(RunConflictError):
            operon.fork("a", from_position=2, id="a", session=session)
        session.commit()

    assert count(operon, run_id="mine") == 1


def test_a_fork_in_a_session_exists_when_that_commits(operon):
    operon.run(Counts(), id="a")

    with Session(operon.engine) as session:
        operon.fork("a", from_position=2, id="b", session=session)
        assert operon.find_run("b") is None
        session.rollback()
        assert operon.find_run("b") is None
        operon.fork("a", from_position=2, id="b", session=session)
        session.commit()

    assert names(operon, "b") == ["one"]


def test_a_running_run_may_be_forked(operon, ledger):
    wishes.append(lambda run_id: operon.fork(run_id, from_position=2, id="b"))

    operon.run(Compensates(), id="a")
    wishes.clear()

    assert operon.run(Compensates(), id="b") == "paid b/2"
    assert happened(ledger) == ["a/2", "b/2"]
    assert count(operon, run_id="a") == 1


def test_two_operators_who_retry_at_once_make_one_retry(operon):
    bring_to(operon, "failed")
    barrier = threading.Barrier(4)
    granted: list[bool] = []

    def ask() -> None:
        barrier.wait()
        try:
            operon.retry("r")
        except RetryRefusedError:
            granted.append(False)
        else:
            granted.append(True)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(granted) == [False, False, False, True]
    assert [each.attempt for each in attempts(operon, "r")] == [1]
