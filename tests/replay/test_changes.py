"""What a change of the body breaks is found by a replay, as recovery would find it."""

from datetime import timedelta
from typing import Any

import pytest

from operon.codec import decode_error
from operon.engine import record
from operon.errors import DecodeError
from operon.errors import NonDeterminismError
from operon.errors import RunDeadError
from operon.replay import Bundle
from operon.replay import replay
from tests.engine.waits import await_waiting
from tests.replay.orders import HOUR
from tests.replay.orders import SOON
from tests.replay.orders import Body
from tests.replay.orders import DeclinedError
from tests.replay.orders import again
from tests.replay.orders import exported
from tests.replay.orders import noted
from tests.replay.orders import order
from tests.replay.orders import refused


def body(self: Any) -> str:
    order_id = self.reserve(2)
    payment = self.charge(order_id)
    self.settle(payment)
    return payment


@pytest.fixture
def bundle(small_shop) -> Bundle:
    """What production recorded of the body above."""
    return exported(small_shop, body)


def test_a_step_that_was_renamed(small_shop, bundle):
    def renamed(self: Any) -> None:
        self.release(2)

    error = refused(bundle, renamed, small_shop)

    assert error.position == 1
    assert (error.recorded, error.called) == ("step 'reserve'", "step 'release'")
    line = renamed.__code__.co_firstlineno + 1
    assert error.source == f"{__file__}:{line}"


def test_an_order_that_was_swapped(small_shop, bundle):
    def swapped(self: Any) -> None:
        self.charge(42)
        self.reserve(2)

    error = refused(bundle, swapped, small_shop)

    assert error.position == 1
    assert (error.recorded, error.called) == ("step 'reserve'", "activity 'charge'")


@pytest.mark.parametrize("quantity", [3, None, "2"])
def test_an_argument_that_was_changed(small_shop, bundle, quantity):
    def changed(self: Any) -> None:
        self.reserve(quantity)

    error = refused(bundle, changed, small_shop)

    assert error.position == 1
    assert error.recorded == "step 'reserve'(quantity=2)"
    assert error.called.startswith("step 'reserve'(quantity=")
    assert error.source.startswith(__file__)


def test_an_argument_spelled_otherwise_or_left_to_its_default_is_the_same(
    small_shop, bundle
):
    def spelled(self: Any) -> str:
        payment = self.charge(order_id=self.reserve(quantity=2), card="none")
        self.settle(payment)
        return payment

    order(spelled)

    assert again(bundle, small_shop).ending == "succeeded"


def test_a_step_that_was_inserted(small_shop, bundle):
    def inserted(self: Any) -> None:
        order_id = self.reserve(2)
        self.release(order_id)
        self.charge(order_id)

    error = refused(bundle, inserted, small_shop)

    assert error.position == 2
    assert (error.recorded, error.called) == ("activity 'charge'", "step 'release'")


def test_a_step_that_was_added_at_the_end_of_a_run_that_had_ended(small_shop, bundle):
    def added(self: Any) -> str:
        payment = body(self)
        self.release(1)
        return payment

    error = refused(bundle, added, small_shop)

    assert error.position == 4
    assert error.recorded == 'the end of the body (succeeded with "paid-42")'
    assert error.called == "step 'release'"
    assert error.source.startswith(__file__)


def test_an_operation_spawned_at_the_end_and_never_waited_for(small_shop, bundle):
    def added(self: Any) -> str:
        payment = body(self)
        self.spawn(self.release, 1)
        return payment

    assert refused(bundle, added, small_shop).called == "step 'release'"


def test_a_step_that_was_removed(small_shop, bundle):
    def removed(self: Any) -> str:
        return self.charge(self.reserve(2))

    error = refused(bundle, removed, small_shop)

    assert error.position == 3
    assert (error.recorded, error.called) == ("step 'settle'", "the end of the body")
    assert error.source == f"{__file__}:{removed.__code__.co_firstlineno}"


def test_a_sleep_that_was_changed(small_shop):
    def sleeping(milliseconds: int) -> Body:
        def sleeps(self: Any) -> None:
            self.sleep(timedelta(milliseconds=milliseconds))

        return sleeps

    bundle = exported(small_shop, sleeping(1))

    error = refused(bundle, sleeping(2), small_shop)

    assert error.recorded == "sleep 'sleep'(seconds=0.001)"
    assert error.called == "sleep 'sleep'(seconds=0.002)"


def test_a_sleep_that_was_changed_while_the_run_sleeps(small_shop):
    def sleeping(hours: int) -> Body:
        def sleeps(self: Any) -> None:
            self.sleep(hours * HOUR)

        return sleeps

    small_shop.start(order(sleeping(1))(), id="r")
    await_waiting(small_shop, "r")
    bundle = noted(small_shop, "r")

    error = refused(bundle, sleeping(2), small_shop)

    assert error.called == "sleep 'sleep'(seconds=7200.0)"


def child(**fields: Any) -> Any:
    return order(body, name="ReplayedChild", **fields)


def later(self: Any, child: Any, by: timedelta = HOUR) -> None:
    self.start(child, delay=by)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda s: s.send("r", "t", {"n": 1}), lambda s: s.send("r", "t", {"n": 2})),
        (lambda s: s.publish("key", [1]), lambda s: s.publish("key", [1, 2])),
        (lambda s: s.write("log", "a"), lambda s: s.write("log", "b")),
        (lambda s: s.annotate(n=1), lambda s: s.annotate(n=1, m=1)),
        (
            lambda s: s.receive("t", timeout=timedelta(0)),
            lambda s: s.receive("t", timeout=timedelta(1)),
        ),
        (lambda s: later(s, child()()), lambda s: later(s, child()("pen"))),
        (lambda s: later(s, child()()), lambda s: later(s, child(version=2)())),
        (lambda s: later(s, child()()), lambda s: later(s, child()(), by=2 * HOUR)),
        (lambda s: s.continue_as(child()()), lambda s: s.continue_as(child()("pen"))),
        (lambda s: s.spawn(s.reserve, 1), lambda s: s.spawn(s.reserve, 2)),
    ],
)
def test_what_any_operation_is_given(small_shop, before, after):
    def only(act: Body) -> Body:
        def acts(self: Any) -> None:
            act(self)

        return acts

    bundle = exported(small_shop, only(before))
    again(bundle, small_shop)

    error = refused(bundle, only(after), small_shop)

    assert error.position == 1
    assert error.recorded != error.called
    assert error.source.startswith(__file__)


def waits(self: Any) -> None:
    order_id = self.reserve(2)
    self.charge(order_id)
    self.receive("go")


def renamed(self: Any) -> None:
    self.release(2)
    self.charge(42)


def swapped(self: Any) -> None:
    self.charge(42)
    self.reserve(2)


def inserted(self: Any) -> None:
    self.reserve(2)
    self.publish("stage", 1)
    self.charge(42)


def cut_short(self: Any) -> None:
    self.reserve(2)


def gone_on(self: Any) -> None:
    self.continue_as(type(self)("pen"))


def caught(self: Any) -> None:
    try:
        self.charge(42)
    except BaseException:  # noqa: BLE001 - a body may be that careless
        self.reserve(2)


@pytest.mark.parametrize(
    "change", [renamed, swapped, inserted, cut_short, gone_on, caught]
)
def test_a_replay_tells_what_recovery_makes_of_the_change(shop, change):
    handle = shop.start(order(waits)(), id="r")
    await_waiting(shop, "r", 3)
    told = refused(noted(shop, "r"), change, shop)

    handle.send("go", 1)
    with pytest.raises(RunDeadError):
        handle.result(SOON)

    died_of = decode_error(str(shop.get_run("r").error))
    assert isinstance(died_of, NonDeterminismError)
    facts = ["run_id", "step", "position", "recorded", "called"]
    if change is not cut_short:  # the end of a body has no calling line
        facts.append("source")
    assert {name: getattr(told, name) for name in facts} == {
        name: getattr(died_of, name) for name in facts
    }


def test_a_replay_finds_nothing_where_recovery_would_compare_nothing(
    small_shop, monkeypatch
):
    def publishes(key: str) -> Body:
        return lambda self: self.publish(key, 1)

    bundle = exported(small_shop, publishes("a"))
    refused(bundle, publishes("b"), small_shop)

    monkeypatch.setattr(record, "matching", lambda run, operation, recorded: recorded)

    assert again(bundle, small_shop).ending == "succeeded"


def fails(error: type[Exception], *args: Any) -> Body:
    def body(self: Any) -> None:
        self.reserve()
        raise error(*args)

    return body


def returns(value: Any) -> Body:
    def body(self: Any) -> Any:
        self.reserve()
        return value

    return body


def goes_on(sku: str) -> Body:
    def body(self: Any) -> Any:
        self.reserve()
        return self.continue_as(type(self)(sku)) if self.sku == "book" else None

    return body


@pytest.mark.parametrize(
    ("before", "after", "recorded", "called"),
    [
        (returns(1), returns(2), "succeeded with 1", "succeeded with 2"),
        (returns(1), returns(None), "succeeded with 1", "succeeded)"),
        (returns(None), returns([1]), "succeeded)", "succeeded with [1]"),
        (returns(1), fails(ValueError, 1), "succeeded with 1", "failed with ValueErr"),
        (fails(ValueError, 1), returns(1), "failed with ValueError: 1", "succeeded wi"),
        (fails(ValueError, 1), fails(ValueError, 2), "ValueError: 1", "ValueError: 2"),
        (fails(ValueError, 1), fails(KeyError, 1), "ValueError: 1", "KeyError: 1"),
        (goes_on("pen"), returns(1), "continue_as run 'r~2'", "succeeded with 1"),
        (returns(1), goes_on("pen"), "succeeded with 1", "continue_as run 'r~2'"),
    ],
)
def test_an_end_that_was_changed(small_shop, before, after, recorded, called):
    bundle = exported(small_shop, before)

    error = refused(bundle, after, small_shop)

    assert recorded in error.recorded
    assert called in error.called
    assert error.position >= 1


def test_a_wait_that_was_changed(small_shop):
    def receiving(topic: str) -> Body:
        def receives(self: Any) -> Any:
            self.reserve()
            return self.receive(topic)

        return receives

    small_shop.start(order(receiving("approved"))(), id="r")
    await_waiting(small_shop, "r", 2)
    bundle = noted(small_shop, "r")

    other = refused(bundle, receiving("refused"), small_shop)
    none = refused(bundle, returns(1), small_shop)

    assert (other.recorded, other.called) == (
        "receive 'approved'",
        "receive 'refused'",
    )
    assert other.position == none.position == 2
    assert none.called == "the end of the body (succeeded with 1)"


def test_a_patch_before_the_wait_is_no_change_that_breaks(small_shop):
    def receives(self: Any) -> Any:
        self.reserve()
        return self.receive("approved")

    def patched(self: Any) -> Any:
        self.reserve()
        if self.patched("no-approval"):
            return self.settle("unasked")
        return self.receive("approved")

    small_shop.start(order(receives)(), id="r")
    await_waiting(small_shop, "r", 2)
    bundle = noted(small_shop, "r")
    order(patched)

    replayed = again(bundle, small_shop)

    assert replayed.ending == "stopped at patch 'no-approval', position 2"


def test_an_operation_under_way_that_was_changed(small_shop):
    def trying(what: str) -> Body:
        def tries(self: Any) -> str:
            return self.never("a") if what == "never" else self.charge(1)

        return tries

    small_shop.start(order(trying("never"))(), id="r")
    await_waiting(small_shop, "r", 1)
    bundle = noted(small_shop, "r")

    error = refused(bundle, trying("charge"), small_shop)

    assert error.called == "activity 'charge'"


def test_what_comes_after_the_history_of_a_run_in_flight_may_change(shop):
    def before(self: Any) -> None:
        self.reserve()
        self.receive("go")
        self.charge(1)

    def after(self: Any) -> None:
        self.reserve()
        self.receive("go")
        self.release(1)

    shop.start(order(before)(), id="r")
    await_waiting(shop, "r", 2)
    bundle = noted(shop, "r")
    order(after)

    assert again(bundle, shop).ending == "stopped at receive 'go', position 2"


def test_a_result_that_does_not_fit_todays_type(small_shop, bundle):
    bundle.checkpoints[0].output = type(bundle.run.input)(b'"forty-two"')

    with pytest.raises(DecodeError, match="step 'reserve' of run 'r'"):
        replay(bundle, small_shop.settings)


def test_an_error_of_an_operation_whose_class_is_gone(small_shop):
    def tries(self: Any) -> str:
        try:
            return self.charge(1)
        except DeclinedError:
            return "declined"

    bundle = exported(small_shop, tries, sku="declined")
    again(bundle, small_shop)
    error = bundle.checkpoints[0].error
    bundle.checkpoints[0].error = type(bundle.run.input)(
        bytes(error).replace(b"DeclinedError", b"RejectedError")
    )

    told = refused(bundle, tries, small_shop)

    assert "failed with RecordedError" in told.called


def test_an_input_that_does_not_decode_today(small_shop, bundle):
    bundle.run.input = type(bundle.run.input)(b'{"sku": 1}')

    with pytest.raises(DecodeError, match="the input of run 'r'"):
        replay(bundle, small_shop.settings)


def test_a_history_with_a_hole(small_shop, bundle):
    del bundle.checkpoints[1]

    with pytest.raises(RunDeadError, match="its history has a hole"):
        replay(bundle, small_shop.settings)


def test_without_noted_arguments_all_but_these_are_compared(small_shop, bundle):
    for each in bundle.checkpoints:
        each.arguments = type(bundle.run.output)(b"{}")

    def changed(self: Any) -> str:
        payment = self.charge(self.reserve(3) - 0)
        self.settle(payment)
        return payment

    refused(bundle, changed, small_shop)
