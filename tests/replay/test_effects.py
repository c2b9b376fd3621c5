"""A replay does nothing: nothing is executed, and no database is opened."""

import threading
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from operon import Operon
from operon.engine import record
from operon.errors import MisuseError
from operon.errors import NonDeterminismError
from operon.hooks import Hook
from operon.points import Point
from operon.replay import playing
from operon.replay import replay
from operon.store import events
from tests.replay import orders
from tests.replay.orders import HOUR
from tests.replay.orders import Body
from tests.replay.orders import again
from tests.replay.orders import exported
from tests.replay.orders import order
from tests.replay.test_same import ReplayedPart
from tests.replay.test_same import replayed_note

NEW: list[Body] = [
    lambda self: self.reserve(1),
    lambda self: self.charge(1),
    lambda self: self.ship(1),
    lambda self: self.spawn(self.charge, 1).result(),
    lambda self: self.gather(self.spawn(self.charge, 1), self.spawn(self.reserve)),
    lambda self: self.sleep(HOUR),
    lambda self: self.receive("topic"),
    lambda self: self.receive("topic", timeout=timedelta(0)),
    lambda self: self.send("r", "topic", 1),
    lambda self: self.send("nobody", "topic", 1),
    lambda self: self.publish("key", 1),
    lambda self: self.event("r", "key"),
    lambda self: self.write("log", 1),
    lambda self: self.start(ReplayedPart(1)),
    lambda self: self.call(replayed_note("x")),
    lambda self: self.patched("new"),
    lambda self: self.annotate(n=1),
    lambda self: self.continue_as(type(self)("pen")),
]


def contents(operon: Operon) -> list[Any]:
    """Return what a replay could have written, or claimed."""
    runs = operon.list_runs()
    return [
        [(each.id, each.status, each.epoch, each.attributes) for each in runs],
        [len(operon.list_steps(each.id)) for each in runs],
        operon.handle("r").events(),
    ]


@pytest.mark.parametrize("new", NEW)
def test_no_operation_beyond_the_history_is_executed(small_shop, new):
    """Of a run in flight: its code may go on as it likes, but not here."""
    bundle = exported(small_shop, lambda self: self.settle("x"))
    bundle.run.status = type(bundle.run.status).RUNNING
    before = contents(small_shop)

    def goes_on(self: Any) -> None:
        self.settle("x")
        new(self)

    order(goes_on)
    replayed = again(bundle, small_shop)

    assert replayed.ending.startswith(("stopped at ", "continued as r~2"))
    assert contents(small_shop) == before


def test_a_body_that_swallows_the_stop_is_stopped_at_its_next_operation(small_shop):
    bundle = exported(small_shop, lambda self: self.settle("x"))
    bundle.run.status = type(bundle.run.status).RUNNING
    passes: list[int] = []

    def swallows(self: Any) -> str:
        self.settle("x")
        for each in range(3):
            try:
                self.charge(each)
            except BaseException:  # noqa: BLE001 - a body may be that careless
                passes.append(each)
        return "nothing happened"

    order(swallows)

    assert (
        again(bundle, small_shop).ending == "stopped at activity 'charge', position 2"
    )
    assert passes == [0, 1, 2]


def test_without_the_stop_an_operation_would_meet_no_database(small_shop, monkeypatch):
    """The second wall: were the first one broken, there is nothing to write to."""
    bundle = exported(small_shop, lambda self: self.settle("x"))
    bundle.run.status = type(bundle.run.status).RUNNING
    services = playing._services

    def broken(*args: Any) -> Any:
        made = services(*args)
        made.executes = True
        return made

    monkeypatch.setattr(playing, "_services", broken)

    def goes_on(self: Any) -> None:
        self.settle("x")
        self.publish("key", 1)

    order(goes_on)
    with pytest.raises(MisuseError, match="a replay asked for the database"):
        replay(bundle, small_shop.settings)


def test_a_broken_stop_is_noticed_by_these_tests(small_shop, monkeypatch):
    """Planted: a replay that executes what is not recorded is seen to do so."""
    bundle = exported(small_shop, lambda self: self.settle("x"))
    bundle.run.status = type(bundle.run.status).RUNNING
    services = playing._services

    def broken(*args: Any) -> Any:
        made = services(*args)
        made.executes = True
        return made

    monkeypatch.setattr(playing, "_services", broken)

    def goes_on(self: Any) -> None:
        self.settle("x")
        self.charge(7)

    order(goes_on)
    with pytest.raises(MisuseError):
        replay(bundle, small_shop.settings)
    assert "charge 7" in orders.done


def test_hooks_and_probes_are_not_told_and_surroundings_are_entered(
    make_operon, tmp_path
):
    told: list[Any] = []
    entered: list[str] = []

    class Listens(Hook):
        def tell(self, record: Any) -> None:
            told.append(record)

    def probe(point: Point, run_id: str) -> None:
        told.append(point)

    def surroundings() -> Any:
        entered.append("here")
        return nullcontext()

    shop = orders.launched(
        make_operon,
        f"sqlite:///{tmp_path / 'own.db'}",
        hooks=[Listens()],
        probe=probe,
        surroundings=surroundings,
    )
    bundle = exported(shop, lambda self: self.settle("x"))
    shop.shutdown()
    told.clear()
    entered.clear()

    again(bundle, shop)

    assert told == []
    assert entered == ["here"]


def test_a_replay_leaves_no_thread_behind(small_shop):
    def gathers(self: Any) -> None:
        self.gather(*(self.spawn(self.charge, n) for n in range(4)))

    bundle = exported(small_shop, gathers)
    small_shop.shutdown()
    before = set(threading.enumerate())

    again(bundle, small_shop)

    assert set(threading.enumerate()) <= before


def test_what_a_handle_reads_from_outside_is_refused_as_in_any_body(small_shop):
    def reads(self: Any) -> str:
        child = self.start(ReplayedPart(1), delay=HOUR)
        for call in (child.status, child.cancel, lambda: child.send("t", 1)):
            with pytest.raises(MisuseError):
                call()
        return child.id

    assert again(exported(small_shop, reads), small_shop).ending == "succeeded"


def test_the_check_of_a_replay_is_that_of_the_engine(small_shop, monkeypatch):
    """Were `enter` of the engine to miss a change, the replay would, too."""
    seen: list[str] = []
    true = record.matching

    def watched(run: Any, operation: Any, recorded: Any) -> Any:
        seen.append(f"{recorded.position} {operation.name}")
        return true(run, operation, recorded)

    bundle = exported(small_shop, lambda self: self.settle(self.charge(1)))
    monkeypatch.setattr(record, "matching", watched)

    again(bundle, small_shop)

    assert seen == ["1 charge", "2 settle"]


def test_events_are_not_read_from_any_store(small_shop, monkeypatch):
    def publishes(self: Any) -> Any:
        self.publish("key", 1)
        return self.event("r", "key")

    bundle = exported(small_shop, publishes)

    def forbidden(*args: Any) -> Any:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(events, "find", forbidden)

    assert again(bundle, small_shop).ending == "succeeded"


def test_a_run_that_had_ended_is_refused_what_comes_after(small_shop):
    bundle = exported(small_shop, lambda self: self.settle("x"))

    def goes_on(self: Any) -> None:
        self.settle("x")
        self.send("r", "topic", 1)

    order(goes_on)
    with pytest.raises(NonDeterminismError, match="called was send 'topic'"):
        replay(bundle, small_shop.settings)
