"""Messages: who gets which, how often, in what order, and when nobody does."""

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import false
from sqlalchemy.orm import Session

from operon import Retry
from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon.engine import execution
from operon.errors import DecodeError
from operon.errors import MisuseError
from operon.errors import RunCancelledError
from operon.errors import RunNotFoundError
from operon.errors import RunTimeoutError
from operon.points import Point
from operon.store import messages
from operon.store import waits
from operon.store.checkpoints import Lease
from operon.store.waits import Wait
from operon.testing import TurnedClock
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.waits import AT_ONCE
from tests.engine.waits import SOON
from tests.engine.waits import Crash
from tests.engine.waits import MarkerRun
from tests.engine.waits import await_waiting
from tests.engine.waits import crash_once
from tests.engine.waits import let_look
from tests.engine.waits import mail
from tests.engine.waits import offsets
from tests.engine.waits import row
from tests.engine.waits import stocked
from tests.engine.waits import threads_of
from tests.engine.waits import unread
from tests.processes import eventually

HOUR = timedelta(hours=1)
LONG = timedelta(days=1)


class ReceivesAll(Workflow):
    """ReceivesAll one message of each topic, one after the other."""

    topics: list[str]

    def run(self) -> list[Any]:
        return [self.receive(topic) for topic in self.topics]


class ReceivesTwice(Workflow):
    """ReceivesAll a message, writes a row, and receives another."""

    @step
    def insert(self, session: Session) -> None:
        insert_order(session)

    def run(self) -> list[Any]:
        first = self.receive("t")
        self.insert()
        return [first, self.receive("t")]


class ReceivesInTime(Workflow):
    """Waits an hour for a message, then writes a row."""

    @step
    def insert(self, session: Session) -> None:
        insert_order(session)

    def run(self) -> Any:
        found = self.receive("t", timeout=HOUR)
        self.insert()
        return found


@pytest.fixture
def clock():
    return TurnedClock()


@pytest.fixture
def office(make_operon, database, clock):
    """An Operon that suspends at once, on a turned clock; not launched."""
    return stocked(make_operon(database.url, clock=clock, **AT_ONCE))


# --- waiting for a message


def test_a_message_sent_before_the_receiver_waits_is_kept(office):
    handle = office.start(ReceivesAll(["t"]), id="r")
    office.send("r", "t", {"approved": True})

    office.launch()

    assert handle.result(SOON) == [{"approved": True}]
    assert row(office, "r").epoch == 1  # it never waited


@pytest.mark.parametrize("inline_wait", [timedelta(0), LONG])
def test_a_message_wakes_who_waits_for_it(make_operon, database, inline_wait):
    operon = make_operon(database.url, inline_wait=inline_wait)
    operon.launch()
    handle = operon.start(ReceivesAll(["t"]), id="r")
    if inline_wait:
        eventually(lambda: threads_of("r"))
    else:
        waiting = await_waiting(operon, "r")
        assert (waiting.executor, waiting.wait_kind) == (None, "receive")
        assert (waiting.wait_on, waiting.wait_key) == ("r", "t")
        eventually(lambda: threads_of("r") == [])

    operon.send("r", "t", 7)

    assert handle.result(SOON) == [7]
    assert history(operon, "r") == [(1, "receive", "t")]


def test_a_message_of_another_topic_or_to_another_run_wakes_nobody(office):
    office.launch()
    handle = office.start(ReceivesAll(["t"]), id="r")
    office.start(ReceivesAll(["t"]), id="other")
    before = await_waiting(office, "r").epoch
    await_waiting(office, "other")

    office.send("r", "another", 1)
    office.send("other", "t", 2)
    let_look(office)
    after = row(office, "r")
    office.send("r", "t", 3)

    assert (after.status, after.epoch) == ("waiting", before)
    assert handle.result(SOON) == [3]
    assert office.handle("other").result(SOON) == [2]
    assert unread(office, "r") == 1


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("order", ["message", "waiting"])
def test_a_message_between_none_yet_and_waiting_wakes_in_either_commit_order(
    make_operon, database, monkeypatch, order, told
):
    """The body has found nothing; then both commit. *order* says which does first.

    On PostgreSQL the message that commits last has been written first. Nobody has to
    be told: what is looked at is the committed rows.
    """
    operon = make_operon(database.url, **AT_ONCE)
    if not told:
        operon._process.ready().services.tell = lambda *_: None
    suspend, seen = execution.suspend, []

    def between(run, wait) -> None:
        if run.run_id != "r" or seen:
            suspend(run, wait)
            return
        seen.append(unread(operon, "r"))
        if order == "message":
            operon.send("r", "t", 1)
            suspend(run, wait)
        elif database.dialect == "sqlite":
            suspend(run, wait)
            operon.send("r", "t", 1)
        else:
            with Session(operon.engine) as session, session.begin():
                operon.send("r", "t", 1, session=session)
                suspend(run, wait)

    monkeypatch.setattr(execution, "suspend", between)
    operon.launch()

    handle = operon.start(ReceivesAll(["t"]), id="r")

    assert handle.result(SOON) == [1]
    assert seen == [0]
    assert row(operon, "r").epoch == 3  # claimed, suspended, claimed


def test_a_message_that_commits_while_the_suspension_does_wakes(
    make_operon, postgres_database
):
    """The suspension's statement came first and saw nothing; its COMMIT comes last."""
    operon = make_operon(postgres_database.url, **AT_ONCE)
    services = operon._process.ready().services
    backend, clock = services.database.backend, services.clock
    operon.start(ReceivesAll(["t"]), id="r")
    wait = Wait(kind="receive", position=1, on="r", key="t")
    with services.database.transaction() as connection:
        claimed = _claimed(services, connection, "r")
    with services.database.transaction() as connection:
        assert waits.suspend(connection, backend, claimed, wait)
        operon.send("r", "t", 5)

    with services.database.transaction() as connection:
        assert list(waits.wake(connection, backend, clock=clock, on=["r"])) == ["r"]
    operon.launch()
    assert operon.handle("r").result(SOON) == [5]


def _claimed(services, connection, run_id: str) -> Lease:
    from operon.store import claims  # noqa: PLC0415 - only here

    found = claims.claim_one(
        connection,
        services.database.backend,
        services.executor,
        run_id,
        gone=[],
        clock=services.clock,
    )
    assert found is not None
    return found.lease


def test_without_a_look_at_the_messages_nothing_would_wake_the_receiver(
    office, monkeypatch
):
    """Planted bug: only time ends a wait. It shows that the tests above can fail."""

    monkeypatch.setattr(waits, "is_answered", false)
    office.launch()
    office.start(ReceivesAll(["t"]), id="r")
    await_waiting(office, "r")

    office.send("r", "t", 1)
    let_look(office)

    assert status(office, "r") == "waiting"


def test_a_waiting_run_is_woken_by_a_message_from_another_process(
    make_operon, database
):
    """Two Operons know nothing of each other but the database."""
    here = make_operon(database.url, **AT_ONCE)
    there = make_operon(database.url, **AT_ONCE)
    here.launch()
    here.start(ReceivesAll(["t", "t"]), id="r")
    await_waiting(there, "r", 1)

    there.send("r", "t", 1)
    await_waiting(there, "r", 2)
    there.launch()
    here.shutdown()
    there.handle("r").send("t", 2)

    assert there.handle("r").result(SOON) == [1, 2]


def test_a_run_sends_a_message_to_another_and_to_itself(office):
    class Sends(Workflow):
        def run(self) -> Any:
            self.send("r", "t", "from one run to another")
            self.send(current().run_id, "t", "to itself")
            return self.receive("t")

    office.launch()
    handle = office.start(ReceivesAll(["t"]), id="r")
    await_waiting(office, "r")

    assert office.start(Sends(), id="s").result(SOON) == "to itself"
    assert handle.result(SOON) == ["from one run to another"]
    assert [each.sender for each in mail(office, "r")] == ["s"]


# --- order, and once


def test_messages_of_one_sender_come_in_their_order_by_topic(office):
    handle = office.start(ReceivesAll(["b"] * 5 + ["a"] * 5), id="r")
    for n in range(5):
        office.send("r", "a", f"a{n}")
        office.send("r", "b", f"b{n}")

    office.launch()

    expected = [f"b{n}" for n in range(5)] + [f"a{n}" for n in range(5)]
    assert handle.result(SOON) == expected


def test_messages_of_many_senders_keep_the_order_of_each(office):
    senders, each = 4, 6
    handle = office.start(ReceivesAll(["t"] * senders * each), id="r")

    def work(sender: int) -> None:
        for n in range(each):
            office.send("r", "t", [sender, n])

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(work, range(senders)))
    office.launch()
    received = handle.result(SOON)

    for sender in range(senders):
        own = [n for who, n in received if who == sender]
        assert own == list(range(each))


def test_messages_that_a_body_sends_arrive_in_its_order(office):
    class Sends(Workflow):
        def run(self) -> None:
            for n in range(5):
                self.send("r", "t", n)

    handle = office.start(ReceivesAll(["t"] * 5), id="r")
    office.run(Sends())
    office.launch()

    assert handle.result(SOON) == [0, 1, 2, 3, 4]


def test_a_message_is_read_once_however_often_the_body_is_replayed(office):
    office.launch()
    handle = office.start(ReceivesAll(["t"] * 4), id="r")
    for n in range(4):
        await_waiting(office, "r", n + 1)
        office.send("r", "t", n)

    assert handle.result(SOON) == [0, 1, 2, 3]
    read = [(each.received_by, each.position) for each in mail(office, "r")]
    assert read == [("r", n + 1) for n in range(4)]


@pytest.mark.parametrize("point", [Point.RECORDED, Point.COMMITTED, Point.BEGAN])
def test_a_crash_around_a_receive_neither_loses_nor_repeats_a_message(
    make_operon, database, point
):
    """Before the commit, after it, and in the step that follows."""
    probe = crash_once(point, "r")
    operon = stocked(make_operon(database.url, probe=probe, **AT_ONCE))
    operon.start(ReceivesTwice(), id="r")
    for n in (1, 2):
        operon.send("r", "t", n)

    with pytest.raises(Crash):
        operon.run(ReceivesTwice(), id="r")

    assert operon.run(ReceivesTwice(), id="r") == [1, 2]
    assert names(operon, "r") == ["t", "insert", "t"]
    assert [each.position for each in mail(operon, "r")] == [1, 3]
    assert count(operon) == 1


def test_without_the_mark_a_message_would_be_read_twice(office, monkeypatch):
    """Planted bug: the tests of reading once can fail."""
    monkeypatch.setattr(messages, "mark_read", lambda *_: None)
    handle = office.start(ReceivesAll(["t", "t"]), id="r")
    office.send("r", "t", 1)
    office.send("r", "t", 2)

    office.launch()

    assert handle.result(SOON) == [1, 1]


def test_a_mark_of_its_own_commit_would_lose_a_message_in_a_crash(
    make_operon, postgres_database, monkeypatch
):
    """Planted bug: reading and recording in two transactions."""
    operon = make_operon(
        postgres_database.url, probe=crash_once(Point.RECORDED, "r"), **AT_ONCE
    )
    database = operon._process.ready().services.database
    real = messages.mark_read

    def apart(connection, message, run_id, position) -> None:
        del connection
        with database.transaction() as another:
            real(another, message, run_id, position)

    monkeypatch.setattr(messages, "mark_read", apart)
    operon.start(ReceivesAll(["t"]), id="r")
    operon.send("r", "t", "lost")
    operon.send("r", "t", "next")
    with pytest.raises(Crash):
        operon.run(ReceivesAll(["t"]), id="r")

    assert operon.run(ReceivesAll(["t"]), id="r") == ["next"]


# --- nobody sends


def test_a_timeout_gives_none_once_and_for_ever(make_operon, database, clock):
    """What was recorded as None stays so, though a message has come since."""
    probe = crash_once(Point.BEGAN, "r")
    operon = stocked(make_operon(database.url, clock=clock, probe=probe, **AT_ONCE))
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(operon.run, ReceivesInTime(), id="r")
        await_waiting(operon, "r")
        clock.turn(hours=1)
        with pytest.raises(Crash):
            ran.result(SOON.total_seconds())
    operon.send("r", "t", "too late")

    assert operon.run(ReceivesInTime(), id="r") is None
    assert names(operon, "r") == ["t", "insert"]
    assert unread(operon, "r") == 1


def test_a_timeout_counts_from_when_the_body_asked(office, clock):
    """A restart of the executor does not give the sender more time."""
    office.launch()
    office.start(ReceivesInTime(), id="r")
    until = await_waiting(office, "r").wait_until
    clock.turn(minutes=40)
    office.shutdown()
    office.launch()
    let_look(office)
    before = row(office, "r")
    clock.turn(minutes=20)

    assert office.handle("r").result(SOON) is None
    assert (before.status, before.wait_until) == ("waiting", until)


def test_a_message_within_the_timeout_is_received(office, clock):
    office.launch()
    handle = office.start(ReceivesInTime(), id="r")
    await_waiting(office, "r")
    clock.turn(minutes=59)

    office.send("r", "t", "in time")

    assert handle.result(SOON) == "in time"


def test_a_timeout_of_zero_only_looks(office):
    class Looks(Workflow):
        def run(self) -> list[Any]:
            return [self.receive("t", timeout=timedelta(0)) for _ in range(2)]

    office.start(Looks(), id="r")
    office.send("r", "t", 1)

    assert office.run(Looks(), id="r") == [1, None]
    assert row(office, "r").epoch == 1


def test_a_timeout_beyond_the_calendar_is_no_timeout(office):
    class Patient(Workflow):
        def run(self) -> Any:
            return self.receive("t", timeout=timedelta.max)

    office.launch()
    handle = office.start(Patient(), id="r")
    await_waiting(office, "r")
    office.send("r", "t", 1)

    assert handle.result(SOON) == 1


def test_a_message_that_arrives_with_the_timeout_wins(office, clock):
    """It is there when the run looks, and the run looks before it gives up."""
    office.launch()
    handle = office.start(ReceivesInTime(), id="r")
    await_waiting(office, "r")
    office.shutdown()
    clock.turn(hours=2)
    office.send("r", "t", "just")
    office.launch()

    assert office.handle(handle.id).result(SOON) == "just"


# --- what a message may be


@dataclasses.dataclass(frozen=True)
class Approval:
    by: str
    at: datetime
    amount: Decimal


class Review(BaseModel):
    stars: int
    text: str | None = None


MOMENT = datetime(2026, 5, 4, 3, 2, 1, 500, tzinfo=UTC)
VALUES = [
    (Approval("ada", MOMENT, Decimal("1.10")), Approval),
    (Review(stars=5), Review),
    (MOMENT, datetime),
    ([1, 2, 3], list[int]),
    ("text", str),
    (7, int | None),
    (None, int | None),
    (False, bool),
    ({"nested": [1, {"a": None}]}, Any),
]


@pytest.mark.parametrize(
    ("value", "kind", "sender"),
    [
        *((value, kind, "outside") for value, kind in VALUES),
        (*VALUES[0], "body"),
        (*VALUES[1], "step"),
    ],
)
def test_a_message_comes_as_what_it_was_sent_as(office, value, kind, sender):
    class Reads(Workflow):
        def run(self) -> bool:
            received.append(self.receive("t", type=kind))
            return True

    class Sends(Workflow):
        @step
        def tell(self, session: Session) -> None:
            office.send("r", "t", value)

        def run(self) -> None:
            if sender == "body":
                self.send("r", "t", value)
            else:
                self.tell()

    received: list[Any] = []
    office.start(Reads(), id="r")
    if sender == "outside":
        office.send("r", "t", value)
    else:
        office.run(Sends())

    assert office.run(Reads(), id="r")
    assert received == [value]
    assert type(received[0]) is type(value)


@pytest.mark.parametrize("kind", [str, bool, Decimal, Approval])
def test_what_never_came_is_none_whatever_type_it_would_have_had(
    make_operon, database, kind
):
    class Reads(Workflow):
        @step
        def insert(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> bool:
            message = self.receive("t", type=kind, timeout=timedelta(0))
            event = self.event("p", "k", type=kind, timeout=timedelta(0))
            self.insert()
            self.sleep(timedelta(milliseconds=1))  # and once more, from the history
            return message is None and event is None

    operon = stocked(make_operon(database.url, probe=crash_once(Point.BEGAN, "r")))
    operon.start(Reads(), id="p")
    with pytest.raises(Crash):
        operon.run(Reads(), id="r")

    assert operon.run(Reads(), id="r") is True


def test_a_message_that_does_not_decode_is_an_error_once_and_counts_as_read(
    make_operon, database
):
    class Reads(Workflow):
        @step
        def insert(self, session: Session) -> None:
            insert_order(session)

        def run(self) -> list[Any]:
            try:
                first: Any = self.receive("t", type=Approval)
            except DecodeError as error:
                first = str(error)
            self.insert()
            return [first, self.receive("t", type=int)]

    probe = crash_once(Point.BEGAN, "r")
    operon = stocked(make_operon(database.url, probe=probe, **AT_ONCE))
    operon.start(Reads(), id="r")
    operon.send("r", "t", {"by": 1})
    operon.send("r", "t", 2)
    with pytest.raises(Crash):
        operon.run(Reads(), id="r")

    first, second = operon.run(Reads(), id="r")

    assert "'t'" in first
    assert second == 2
    assert [each.position for each in mail(operon, "r")] == [1, 3]
    recorded = operon.list_steps("r")[0]
    assert recorded.output is None
    assert "DecodeError" in str(recorded.error)


def test_a_receive_that_failed_is_retried_with_the_same_message(office):
    """The operator has mended the type; the message is read again."""
    kinds: list[Any] = [int]

    class Reads(Workflow):
        def run(self) -> Any:
            return self.receive("t", type=kinds[0])

    office.start(Reads(), id="r")
    office.send("r", "t", "seven")
    office.send("r", "t", "eight")
    with pytest.raises(DecodeError):
        office.run(Reads(), id="r")

    kinds[:] = [str]
    office.retry("r")

    assert office.run(Reads(), id="r") == "seven"
    assert unread(office, "r") == 1


@pytest.mark.parametrize("place", ["outside", "body"])
@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), {"a": object()}, "\ud800"],
    ids=["object", "nan", "nested", "surrogate"],
)
def test_what_cannot_be_stored_is_refused_at_the_call(office, place, value):
    class Sends(Workflow):
        def run(self) -> None:
            with pytest.raises(MisuseError, match=r"self\.send"):
                self.send("r", "t", value)

    office.start(ReceivesAll(["t"]), id="r")
    if place == "body":
        office.run(Sends(), id="s")
        assert history(office, "s") == []
    else:
        with pytest.raises(MisuseError, match=r"operon\.send"):
            office.send("r", "t", value)

    assert mail(office, "r") == []


def test_what_cannot_name_a_topic_is_refused_at_the_call(office):
    office.start(ReceivesAll(["t"]), id="r")

    for topic in ("", "a\nb", "x" * 256, None, 7):
        with pytest.raises(MisuseError, match="topic"):
            office.send("r", topic, 1)


# --- exactly one


@pytest.mark.parametrize("place", ["outside", "body"])
def test_an_idempotency_key_sends_once_to_each_run(office, place):
    class Sends(Workflow):
        def run(self) -> None:
            for n in range(3):
                self.send("r", "t", n, idempotency_key="k")
            self.send("other", "t", 9, idempotency_key="k")

    office.start(ReceivesAll(["t"]), id="r")
    office.start(ReceivesAll(["t"]), id="other")
    if place == "body":
        office.run(Sends())
    else:
        for n in range(3):
            office.send("r", "t", n, idempotency_key="k")
        office.send("other", "t", 9, idempotency_key="k")

    assert [json.loads(each.message) for each in mail(office, "r")] == [0]
    assert [json.loads(each.message) for each in mail(office, "other")] == [9]


def test_an_idempotency_key_holds_when_the_message_was_read(office):
    office.start(ReceivesAll(["t"]), id="r")
    office.send("r", "t", 1, idempotency_key="k")
    assert office.run(ReceivesAll(["t"]), id="r") == [1]

    office.send("r", "t", 1, idempotency_key="k")

    assert len(mail(office, "r")) == 1


def test_an_idempotency_key_sends_once_from_many_threads(office):
    office.start(ReceivesAll(["t"]), id="r")
    barrier = threading.Barrier(6)

    def work(n: int) -> None:
        barrier.wait(5)
        office.send("r", "t", n, idempotency_key="k")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))

    assert len(mail(office, "r")) == 1


def test_equal_messages_without_a_key_are_sent_each_time(office):
    office.start(ReceivesAll(["t"]), id="r")

    office.send("r", "t", 1)
    office.send("r", "t", 1)

    assert len(mail(office, "r")) == 2


@pytest.mark.parametrize("point", [Point.RECORDED, Point.COMMITTED])
def test_a_crash_around_a_send_neither_loses_nor_repeats_it(
    make_operon, database, point
):
    class Sends(Workflow):
        def run(self) -> None:
            self.send("r", "t", 1)
            self.send("r", "t", 2)

    operon = make_operon(database.url, probe=crash_once(point, "s"))
    operon.start(ReceivesAll(["t", "t"]), id="r")
    with pytest.raises(Crash):
        operon.run(Sends(), id="s")

    operon.run(Sends(), id="s")

    assert operon.run(ReceivesAll(["t", "t"]), id="r") == [1, 2]
    assert unread(operon, "r") == 0


def test_a_message_to_nobody_is_an_error_that_is_recorded_once(office):
    class Sends(Workflow):
        def run(self) -> str:
            try:
                self.send("nobody", "t", 1)
            except RunNotFoundError as error:
                self.sleep(HOUR)
                return error.run_id
            return "sent"

    office.launch()
    handle = office.start(Sends(), id="s")
    await_waiting(office, "s", 2)
    office.start(ReceivesAll(["t"]), id="nobody")  # too late
    office.shutdown()
    office._process.ready().services.clock.turn(hours=1)
    office.launch()

    assert office.handle(handle.id).result(SOON) == "nobody"
    assert history(office, "s") == [(1, "send", "t"), (2, "sleep", "sleep")]
    assert mail(office, "nobody") == []


@pytest.mark.parametrize("ask", ["send", "publish", "write"])
@pytest.mark.parametrize("joined", [False, True])
def test_an_unknown_run_is_an_error_that_poisons_no_session(office, ask, joined):
    with Session(office.engine) as session, session.begin():
        insert_order(session)
        if not joined:
            session.rollback()
        with pytest.raises(RunNotFoundError, match="nobody"):
            getattr(office, ask)("nobody", "t", 1, session=session if joined else None)

    assert count(office) == int(joined)


# --- in somebody's transaction


class TellsInStep(Workflow):
    """A step that tells another run everything there is, and may fail afterwards."""

    failures: int = 0

    @step(retry=Retry(attempts=3, delay=timedelta(0)))
    def tell(self, session: Session) -> None:
        insert_order(session)
        tell(session)
        attempts.append(1)
        if len(attempts) <= self.failures:
            raise LookupError

    def run(self) -> None:
        self.tell()


attempts: list[int] = []
tell: Any = None


def _told(operon) -> tuple[int, int, int, bool]:
    """Return how many messages, events and stream items there are, and of children."""
    return (
        len(mail(operon, "r")),
        len(operon.handle("r").events()),
        len(offsets(operon, "r")),
        operon.find_run("child") is not None,
    )


def _tell(operon, session: Session | None = None) -> None:
    operon.send("r", "t", 1, session=session)
    operon.publish("r", "k", 1, session=session)
    operon.write("r", "log", 1, session=session)
    operon.start(MarkerRun(), id="child", session=session)


NOTHING, ALL = (0, 0, 0, False), (1, 1, 1, True)


@pytest.mark.parametrize("failures", [0, 1, 3])
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
def test_what_a_step_tells_shares_its_commit(
    make_operon, database, monkeypatch, failures, isolation
):
    operon = stocked(make_operon(database.url, isolation=isolation))
    operon.start(ReceivesAll(["t"]), id="r")
    seen: list[Any] = []

    def telling(session: Session) -> None:
        _tell(operon)
        seen.append(_told(operon))

    monkeypatch.setitem(globals(), "tell", telling)
    monkeypatch.setitem(globals(), "attempts", [])
    if failures == 3:
        with pytest.raises(LookupError):
            operon.run(TellsInStep(failures))
    else:
        operon.run(TellsInStep(failures))

    assert seen == [NOTHING] * min(failures + 1, 3)
    assert _told(operon) == (NOTHING if failures == 3 else ALL)
    assert count(operon) == (0 if failures == 3 else 1)


def test_what_a_step_tells_in_a_savepoint_goes_with_it(office, monkeypatch):
    office.start(ReceivesAll(["t"]), id="r")

    def telling(session: Session) -> None:
        with session.begin_nested() as savepoint:
            _tell(office)
            savepoint.rollback()
        office.send("r", "t", "kept")

    monkeypatch.setitem(globals(), "tell", telling)
    monkeypatch.setitem(globals(), "attempts", [])
    office.run(TellsInStep())

    assert _told(office) == (1, 0, 0, False)
    assert count(office) == 1


@pytest.mark.parametrize("end", ["commit", "rollback", "savepoint"])
def test_what_is_told_in_a_callers_session_exists_when_that_commits(office, end):
    office.start(ReceivesAll(["t"]), id="r")
    with Session(office.engine) as session, session.begin():
        insert_order(session)
        if end == "savepoint":
            with session.begin_nested() as savepoint:
                _tell(office, session)
                savepoint.rollback()
        else:
            _tell(office, session)
        before = _told(office)
        if end == "rollback":
            session.rollback()

    assert before == NOTHING
    assert _told(office) == (ALL if end == "commit" else NOTHING)
    assert count(office) == (0 if end == "rollback" else 1)


def test_a_message_in_a_callers_session_wakes_its_receiver(office):
    office.launch()
    handle = office.start(ReceivesAll(["t"]), id="r")
    await_waiting(office, "r")

    with Session(office.engine) as session, session.begin():
        office.send("r", "t", 1, session=session)

    assert handle.result(SOON) == [1]


# --- places


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda operon: operon.send("r", "t", 1), "self.send"),
        (lambda operon: operon.handle("r").send("t", 1), "self.send"),
        (lambda operon: operon.publish("r", "k", 1), "self.publish"),
        (lambda operon: operon.write("r", "log", 1), "self.write"),
        (lambda operon: operon.start(MarkerRun(), id="child"), "self.start"),
        (lambda operon: operon.run(MarkerRun(), id="child"), "self.call"),
    ],
    ids=["send", "Handle.send", "publish", "write", "start", "run"],
)
def test_in_a_body_what_happens_again_on_replay_is_refused(office, call, instead):
    class Calls(Workflow):
        def run(self) -> str:
            with pytest.raises(MisuseError) as caught:
                call(office)
            return f"{caught.value} {caught.value.hint}"

    office.start(ReceivesAll(["t"]), id="r")

    assert instead in office.run(Calls(), id="s")
    assert _told(office) == NOTHING
    assert history(office, "s") == []


@pytest.mark.parametrize(
    "call",
    [
        lambda handle: handle.status(),
        lambda handle: handle.events(),
        lambda handle: handle.steps(),
        lambda handle: list(handle.stream("log")),
    ],
    ids=["status", "events", "steps", "stream"],
)
def test_in_a_body_what_may_differ_on_replay_is_refused(office, call):
    class Looks(Workflow):
        def run(self) -> None:
            with pytest.raises(MisuseError, match="replay"):
                call(office.handle("r"))

    office.run(MarkerRun(), id="r")
    office.run(Looks())


@pytest.mark.parametrize("end", ["error", "crash"])
def test_an_activity_sends_once_however_often_it_is_tried(make_operon, database, end):
    class Calls(Workflow):
        @activity(retry=Retry(attempts=3, delay=timedelta(0)))
        def tell(self) -> None:
            operon.send("r", "t", f"first of {current().attempt}")
            operon.handle("r").send("t", "second")
            operon.start(MarkerRun())
            calls.append(1)
            if end == "error" and len(calls) < 3:
                raise LookupError

        def run(self) -> None:
            self.tell()

    calls: list[int] = []
    probe = crash_once(Point.EFFECT_DONE, "s", nth=1 if end == "crash" else 99)
    operon = make_operon(database.url, probe=probe)
    operon.start(ReceivesAll(["t", "t"]), id="r")
    if end == "crash":
        with pytest.raises(Crash):
            operon.run(Calls(), id="s")

    operon.run(Calls(), id="s")

    assert len(calls) == (2 if end == "crash" else 3)
    sent = [json.loads(each.message) for each in mail(operon, "r")]
    assert sent == ["first of 1", "second"]
    assert len(operon.list_runs()) == 3


@pytest.mark.parametrize("place", ["step", "activity"])
def test_in_a_step_or_an_activity_nobody_waits(office, place):
    class Waits(Workflow):
        @step
        def in_step(self, session: Session) -> None:
            self.everything()

        @activity
        def in_activity(self) -> None:
            self.everything()

        def everything(self) -> None:
            for call in (
                lambda: office.handle("r").result(),
                lambda: office.handle("r").event("k"),
                lambda: office.run(MarkerRun()),
                lambda: self.receive("t"),
                lambda: self.send("r", "t", 1),
                lambda: self.event("r", "k"),
                lambda: self.publish("k", 1),
                lambda: self.write("log", 1),
                lambda: self.sleep(HOUR),
                lambda: self.start(MarkerRun()),
            ):
                with pytest.raises(MisuseError, match=f"in_{place}|self\\.call"):
                    call()
                refused.append(1)

        def run(self) -> None:
            getattr(self, f"in_{place}")()

    refused: list[int] = []
    office.start(ReceivesAll(["t"]), id="r")

    office.run(Waits(), id="s")

    assert len(refused) == 10
    assert _told(office) == NOTHING


# --- ends


def test_a_run_that_waits_for_a_message_is_woken_by_a_cancel_and_compensates(office):
    class Apologises(Workflow):
        @step
        def undo(self, session: Session) -> None:
            insert_order(session, "undone")

        def run(self) -> Any:
            try:
                return self.receive("t")
            except RunCancelled:
                self.receive("confirmed")
                self.undo()
                raise

    office.launch()
    handle = office.start(Apologises(), id="r")
    await_waiting(office, "r", 1)
    office.cancel("r")
    await_waiting(office, "r", 2)
    office.send("r", "t", "too late")
    office.send("r", "confirmed", 1)

    with pytest.raises(RunCancelledError):
        handle.result(SOON)
    assert history(office, "r") == [
        (1, "cancel", "cancel"),
        (2, "receive", "confirmed"),
        (3, "step", "undo"),
    ]
    assert count(office, run_id="undone") == 1


def test_a_run_that_waits_for_a_message_is_told_at_its_deadline(office, clock):
    office.launch()
    handle = office.start(ReceivesAll(["t"]), id="r", timeout=HOUR)
    await_waiting(office, "r")
    clock.turn(hours=1)

    with pytest.raises(RunTimeoutError):
        handle.result(SOON)


def test_a_message_to_an_ended_run_is_kept_and_changes_nothing(office):
    office.run(MarkerRun(), id="r")

    office.send("r", "t", 1)

    assert unread(office, "r") == 1
    assert status(office, "r") == "succeeded"


def test_messages_follow_the_chain(office):
    """Sent to whichever run of it, they are read by the one that goes on."""

    class Chain(Workflow):
        left: int
        read: list[int]

        def run(self) -> list[int]:
            read = [*self.read, self.receive("t", type=int) or 0]
            if self.left > 1:
                self.continue_as(Chain(self.left - 1, read))
            return read

    office.launch()
    handle = office.start(Chain(3, []), id="c")
    await_waiting(office, "c")
    office.send("c", "t", 1)
    await_waiting(office, "c~2")
    office.send("c", "t", 2)
    await_waiting(office, "c~3")
    office.send("c~2", "t", 3)

    assert handle.result(SOON) == [1, 2, 3]
    assert [each.received_by for each in mail(office, "c")] == ["c", "c~2", "c~3"]
