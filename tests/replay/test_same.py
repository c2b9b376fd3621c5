"""Whatever a run went through, today's unchanged code replays it to the same end."""

from contextlib import suppress
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import RunCancelled
from operon import Workflow
from operon import step
from operon import transaction
from operon.errors import MisuseError
from operon.errors import RunDeadError
from operon.replay import export
from operon.testing import TurnedClock
from tests.engine.waits import await_waiting
from tests.processes import eventually
from tests.replay import orders
from tests.replay.orders import HOUR
from tests.replay.orders import SOON
from tests.replay.orders import DeclinedError
from tests.replay.orders import again
from tests.replay.orders import exported
from tests.replay.orders import noted
from tests.replay.orders import order


def buys(self: Any) -> str:
    order_id = self.reserve(2)
    try:
        payment = self.charge(order_id, card=self.card)
    except (DeclinedError, RunCancelled):
        self.release(order_id)
        raise
    self.settle(payment)
    return payment


def test_a_run_that_succeeded(shop):
    replayed = again(exported(shop, buys), shop)

    assert (replayed.operations, replayed.ending) == (3, "succeeded")
    assert replayed.arguments


def test_a_run_that_failed_after_it_had_compensated(small_shop):
    bundle = exported(small_shop, buys, sku="declined")

    assert bundle.run.status == "failed"
    assert again(bundle, small_shop).ending == "failed"


def test_a_step_that_was_tried_several_times(shop):
    def ships(self: Any) -> str:
        return self.ship(self.reserve())

    bundle = exported(shop, ships)

    assert bundle.checkpoints[1].attempts == 3
    assert len(bundle.attempts) == 2
    assert again(bundle, shop).ending == "succeeded"


def test_a_run_that_was_cancelled_and_compensated(shop):
    def waits(self: Any) -> None:
        order_id = self.reserve()
        try:
            self.sleep(HOUR)
        except RunCancelled:
            self.release(order_id)
            raise

    operon_run = shop.start(order(waits)(), id="r")
    await_waiting(shop, "r", 2)
    operon_run.cancel()
    eventually(lambda: operon_run.status() == "cancelled")
    bundle = noted(shop, "r")

    assert [each.kind for each in bundle.checkpoints] == ["step", "cancel", "step"]
    assert again(bundle, shop).ending == "cancelled"


def test_a_run_that_was_told_to_end_by_its_deadline(make_operon, database):
    clock = TurnedClock()
    shop = orders.launched(make_operon, database.url, clock=clock)

    def waits(self: Any) -> None:
        self.reserve()
        self.sleep(HOUR)

    handle = shop.start(order(waits)(), id="r", timeout=timedelta(minutes=5))
    await_waiting(shop, "r", 2)
    clock.turn(minutes=6)
    eventually(lambda: handle.status() == "failed")

    assert again(noted(shop, "r"), shop).ending == "failed"


@pytest.mark.parametrize("timeout", [None, timedelta(days=1)])
def test_a_body_that_asks_for_time_chance_and_its_deadline(small_shop, timeout):
    def asks(self: Any) -> list[str]:
        told = [str(self.now()), str(self.uuid()), str(self.random().random())]
        self.reserve()
        return [*told, str(self.now()), str(self.uuid())]

    small_shop.start(order(asks)(), id="r", timeout=timeout).result(SOON)

    assert again(noted(small_shop, "r"), small_shop).ending == "succeeded"


def test_timers_messages_events_streams_and_annotations(shop):
    def talks(self: Any) -> list[Any]:
        self.sleep(timedelta(milliseconds=1))
        self.sleep_until(datetime(2001, 1, 1, tzinfo=UTC))
        self.publish("stage", {"at": 1})
        self.write("log", "line")
        self.annotate(stage="one")
        self.send("r", "self", {"n": 1}, idempotency_key="k")
        mine = self.receive("self")
        late = self.receive("nobody", timeout=timedelta(milliseconds=1))
        return [mine, late, self.event("r", "stage")]

    bundle = exported(shop, talks)

    assert [each.kind for each in bundle.checkpoints] == [
        *("sleep", "sleep", "publish", "write", "annotate"),
        *("send", "receive", "receive", "event"),
    ]
    assert again(bundle, shop).ending == "succeeded"


class ReplayedPart(Workflow):
    """A child of the orders here."""

    number: int

    @step
    def make(self, session: Session) -> int:
        orders.done.append(f"make {self.number}")
        return self.number * 2

    def run(self) -> int:
        if self.number > 9:
            raise DeclinedError(self.number)
        return self.make()


@transaction
def replayed_note(session: Session, text: str) -> str:
    orders.done.append(f"note {text}")
    return text.upper()


def test_children_are_answered_and_not_started(shop):
    def assembles(self: Any) -> int:
        first = self.start(ReplayedPart(1), priority=3, attributes={"a": 1})
        total = self.call(ReplayedPart(2)) + first.result()
        try:
            self.call(ReplayedPart(10))
        except DeclinedError:
            total += len(self.call(replayed_note("x")))
        return total

    bundle = exported(shop, assembles)
    runs = len(shop.list_runs())

    assert again(bundle, shop).ending == "succeeded"
    assert len(shop.list_runs()) == runs
    assert again(noted(shop, "r/1"), shop).ending == "succeeded"
    assert again(noted(shop, "r/5"), shop).ending == "failed"


def test_spawned_operations_that_ran_at_once(shop):
    def gathers(self: Any) -> list[Any]:
        futures = [self.spawn(self.charge, n) for n in range(4)]
        last = self.spawn(self.reserve, 7)
        return [*self.gather(*futures), last.result()]

    assert again(exported(shop, gathers), shop).operations == 5


def test_spawned_operations_of_which_one_still_waits_for_its_next_attempt(shop):
    def gathers(self: Any) -> tuple[Any, ...]:
        futures = [
            self.spawn(self.charge, 1),
            self.spawn(self.never, "a"),
            self.spawn(self.charge, 2),
        ]
        return self.gather(*futures)

    shop.start(order(gathers)(), id="r")
    eventually(lambda: shop.get_run("r").status == "waiting")
    bundle = noted(shop, "r")

    assert [each.position for each in bundle.checkpoints] == [1, 3]
    assert again(bundle, shop).ending == "stopped at activity 'never', position 2"


def test_a_body_that_ended_before_what_it_had_spawned(small_shop):
    def leaves(self: Any) -> str:
        self.spawn(self.never, "a")
        return "left"

    small_shop.start(order(leaves)(), id="r")
    eventually(lambda: small_shop.get_run("r").status == "waiting")

    replayed = again(noted(small_shop, "r"), small_shop)

    assert replayed.ending == "stopped at activity 'never', position 1"


def test_each_run_of_a_chain(shop):
    def goes_on(self: Any) -> str:
        self.reserve(int(self.sku))
        if self.sku == "3":
            return "enough"
        return self.continue_as(type(self)(str(int(self.sku) + 1)))

    exported(shop, goes_on, sku="1")
    chain = [noted(shop, each) for each in ("r", "r~2", "r~3")]

    endings = [again(each, shop).ending for each in chain]
    assert endings == ["continued as r~2", "continued as r~3", "succeeded"]
    assert chain[0].pending[-1].kind == "continue_as"


def test_a_patch_that_the_run_had_and_one_that_it_had_passed(small_shop):
    def patched(self: Any) -> list[Any]:
        taken = self.reserve() if self.patched("old") else None
        return [taken, self.charge(1)]

    bundle = exported(small_shop, patched)

    assert [each.kind for each in bundle.checkpoints] == ["patch", "step", "activity"]
    assert again(bundle, small_shop).ending == "succeeded"

    def patched_later(self: Any) -> list[Any]:
        taken = self.reserve() if self.patched("old") else None
        if self.patched("new"):
            self.settle("more")
        return [taken, self.charge(1)]

    order(patched_later)
    assert again(bundle, small_shop).ending == "succeeded"


def receives(self: Any) -> Any:
    self.reserve()
    return self.receive("approved", timeout=HOUR)


def sleeps(self: Any) -> None:
    self.reserve()
    self.sleep(HOUR)


def awaits_event(self: Any) -> Any:
    self.reserve()
    return self.event("r", "stage")


def awaits_child(self: Any) -> Any:
    return self.call(order(sleeps, name="ReplayedChild")())


def retries(self: Any) -> str:
    self.reserve()
    return self.never("a")


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        (receives, "stopped at receive 'approved', position 2"),
        (sleeps, "stopped at sleep 'sleep', position 2"),
        (awaits_event, "stopped at event 'stage', position 2"),
        (awaits_child, "stopped at result 'r/1', position 2"),
        (retries, "stopped at activity 'never', position 2"),
    ],
)
def test_a_run_that_waits_stops_at_its_wait(small_shop, body, ending):
    small_shop.start(order(body)(), id="r")
    await_waiting(small_shop, "r", 2)

    assert again(noted(small_shop, "r"), small_shop).ending == ending


def test_a_wait_for_a_child_that_has_gone_on_as_another(small_shop):
    def child(self: Any) -> None:
        if self.sku == "book":
            self.continue_as(type(self)("pen"))
        self.sleep(HOUR)

    first = order(child, name="ReplayedChild")

    def awaits(self: Any) -> None:
        self.call(first())

    small_shop.start(order(awaits)(), id="r")
    eventually(lambda: small_shop.get_run("r").wait_on == "r/1~2")
    await_waiting(small_shop, "r", 2)

    assert (
        again(noted(small_shop, "r"), small_shop).ending
        == "stopped at result 'r/1', position 2"
    )


def test_a_run_that_nobody_has_begun(make_operon, database):
    operon = make_operon(database.url)
    operon.start(order(buys)(), id="r")

    replayed = again(noted(operon, "r"), operon)

    assert replayed.ending == "stopped at step 'reserve', position 1"


def test_a_run_that_was_ended_by_force_or_before_it_began(small_shop):
    handle = small_shop.start(order(sleeps)(), id="r")
    await_waiting(small_shop, "r", 2)
    handle.cancel(force=True)
    small_shop.start(order(sleeps)(), id="early", delay=HOUR).cancel()

    assert again(noted(small_shop, "r"), small_shop).ending.startswith(
        "stopped at sleep"
    )
    assert small_shop.get_run("early").status == "cancelled"
    assert again(noted(small_shop, "early"), small_shop).ending.startswith(
        "stopped at step"
    )


def test_a_fork_with_what_it_took_over(small_shop):
    exported(small_shop, buys)
    forked = small_shop.fork("r", from_position=3, id="forked")
    forked.result(SOON)

    bundle = noted(small_shop, "forked")

    assert bundle.run.forked_from == "r"
    assert again(bundle, small_shop).operations == 3


def test_a_transaction_whose_result_is_in_its_checkpoint(shop):
    assert shop.run(replayed_note("hello"), id="r") == "HELLO"

    assert again(noted(shop, "r"), shop).ending == "succeeded"


def test_a_dead_run_whose_code_was_mended(small_shop):
    def swaps(self: Any) -> None:
        self.charge(1)
        self.reserve()

    def right(self: Any) -> None:
        self.reserve()
        self.receive("go")
        self.charge(1)

    handle = small_shop.start(order(right)(), id="r")
    await_waiting(small_shop, "r", 2)
    order(swaps)
    handle.send("go", 1)
    with pytest.raises(RunDeadError):
        handle.result(SOON)

    problem = export(small_shop, "r").noted.reason
    order(right)

    assert "recorded was step 'reserve', called was activity 'charge'" in str(problem)
    assert again(noted(small_shop, "r"), small_shop).ending.startswith(
        "stopped at receive"
    )


def test_a_result_whose_json_has_no_order(small_shop):
    def collects(self: Any) -> set[str]:
        self.reserve()
        return {f"item {n}" for n in range(20)}

    bundle = exported(small_shop, collects)
    items = bytes(bundle.run.output).decode().strip("[]").split(",")
    bundle.run.output = type(bundle.run.output)(f"[{','.join(sorted(items))}]".encode())

    assert again(bundle, small_shop).ending == "succeeded"


def test_a_call_that_was_refused_took_no_position(small_shop):
    def insists(self: Any) -> str:
        for message in (object(), {"n": 1}):
            with suppress(MisuseError):
                self.send("r", "topic", message)
        return self.charge(1)

    bundle = exported(small_shop, insists)

    assert [each.kind for each in bundle.checkpoints] == ["send", "activity"]
    assert again(bundle, small_shop).ending == "succeeded"


def test_a_body_that_wants_to_end_the_process(small_shop):
    def ends(self: Any) -> None:
        self.reserve()
        raise SystemExit(3)

    small_shop.start(order(ends)(), id="r")
    eventually(lambda: small_shop.get_run("r").status == "dead")

    reason = export(small_shop, "r").noted.reason

    assert "its body raised SystemExit" in str(reason)
