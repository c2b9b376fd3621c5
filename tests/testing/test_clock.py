"""A turned clock goes on by itself, and further when it is turned."""

import threading
from datetime import UTC
from datetime import datetime
from datetime import timedelta

from operon.testing import TurnedClock

DAY = timedelta(days=1)


def test_it_begins_now():
    before = datetime.now(UTC)

    assert before <= TurnedClock().now() <= datetime.now(UTC)


def test_it_may_begin_at_another_time():
    begun = datetime(2001, 2, 3, tzinfo=UTC)

    assert begun <= TurnedClock(begun).now() < begun + DAY


def test_it_is_turned_by_a_duration_and_by_units():
    clock = TurnedClock()
    before = clock.now()

    clock.turn(DAY, hours=1)

    assert timedelta(hours=25) <= clock.now() - before < timedelta(hours=26)


def test_the_database_has_the_same_time():
    clock = TurnedClock()
    clock.turn(days=1)

    assert clock.now() <= clock.database_time() <= clock.now()


def test_counted_seconds_are_turned_only_where_that_is_asked_for():
    clock = TurnedClock()
    before = clock.monotonic()

    clock.turn(days=1)
    assert clock.monotonic() - before < DAY.total_seconds()

    clock.turn(days=1, leases=True)
    assert clock.monotonic() - before >= DAY.total_seconds()


def test_whoever_waits_wakes_when_it_is_turned():
    clock = TurnedClock()
    never, woken = threading.Event(), threading.Event()

    def wait():
        clock.wait(never, DAY.total_seconds())
        woken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not woken.wait(0.01):
        clock.turn(seconds=1)
    waiting.join()

    assert not never.is_set()


def test_waiting_ends_when_the_event_is_set_or_time_is_up():
    clock, event = TurnedClock(), threading.Event()

    assert not clock.wait(event, 0)
    event.set()
    assert clock.wait(event, DAY.total_seconds())
