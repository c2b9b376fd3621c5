"""Queues and rates as a program declares them."""

from datetime import timedelta

import pytest

from operon.errors import ConfigurationError
from operon.queue import Queue
from operon.queue import Rate
from operon.queue import as_queue
from operon.store.limited import _condensed

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("limit", [0, -1, 1.0, "3", None, True])
def test_a_rate_of_less_than_one_run_is_refused(limit):
    with pytest.raises(ConfigurationError, match="whole number from 1"):
        Rate(limit, HOUR)


@pytest.mark.parametrize("period", [timedelta(0), -HOUR, 3600, None])
def test_a_rate_needs_a_positive_period(period):
    with pytest.raises(ConfigurationError, match="positive"):
        Rate(1, period)


@pytest.mark.parametrize("name", ["concurrency", "per_executor"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "2", True])
def test_a_concurrency_of_less_than_one_run_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=rf"Queue\('q', {name}="):
        Queue("q", **{name: value})


def test_a_rate_must_be_one():
    with pytest.raises(ConfigurationError, match=r"Queue\('q', rate=5\)"):
        Queue("q", rate=5)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", None, 7])
def test_a_queue_needs_a_printable_name(name):
    with pytest.raises(ConfigurationError, match="printable"):
        Queue(name)


@pytest.mark.parametrize(
    "limits",
    [
        {"concurrency": 1},
        {"per_executor": 1},
        {"rate": Rate(1, HOUR)},
        {"partitioned": True},
    ],
    ids=str,
)
def test_the_default_queue_has_no_limits(limits):
    with pytest.raises(ConfigurationError, match="another name"):
        Queue("default", **limits)


def test_a_name_alone_is_a_queue_without_limits():
    assert as_queue("q") == Queue("q")
    assert not as_queue("q").is_limited


def test_a_queue_stays_what_it_is():
    queue = Queue("q", concurrency=3)

    assert as_queue(queue) is queue


@pytest.mark.parametrize(
    "queue",
    [
        Queue("q", concurrency=1),
        Queue("q", per_executor=1),
        Queue("q", rate=Rate(1, HOUR)),
    ],
    ids=["concurrency", "per_executor", "rate"],
)
def test_any_limit_makes_a_queue_limited(queue):
    assert queue.is_limited


def test_partitions_alone_are_no_limit():
    assert not Queue("q", partitioned=True).is_limited


def test_what_is_declared_is_plain_json():
    queue = Queue("q", 3, 2, Rate(5, HOUR), partitioned=True)

    assert queue.as_declared == {
        "concurrency": 3,
        "per_executor": 2,
        "rate": [5, 3600.0],
        "partitioned": True,
    }


@pytest.mark.parametrize("entries", [0, 1, 200, 201, 202, 999])
def test_a_rates_memory_shrinks_without_forgetting_or_predating_a_claim(entries):
    recent = [(10 * number, number % 3 + 1) for number in range(entries)]
    condensed = _condensed(recent)

    def within(claims, since):
        return sum(count for at, count in claims if at > since)

    assert len(condensed) <= max(200, (entries + 1) // 2)
    assert within(condensed, -1) == within(recent, -1)
    assert all(
        within(condensed, since) >= within(recent, since)
        for since in range(-1, 10 * entries, 7)
    )
