"""Cron lines and time zones: ticks before, after and between moments."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from operon.cron import Cron
from operon.errors import ConfigurationError

PARIS = "Europe/Paris"


def _at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


def _ticks(cron, after, until):
    return [f"{tick:%d %H:%M}" for tick in cron.between(_at(after), _at(until))]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "0 0 30 2 *",
        "every day at nine",
        "-1 * * * *",
        "*/0 * * * *",
        "5-3 * * * *",
        None,
        5,
    ],
)
def test_what_is_no_cron_line_is_refused(line):
    with pytest.raises(ConfigurationError, match=r"cron line .* cannot be read"):
        Cron(line)


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "", "../../etc/passwd", "Paris", None, 1, "Europe"]
)
def test_what_is_no_time_zone_is_refused(zone):
    with pytest.raises(ConfigurationError, match=r"time zone .* is not known"):
        Cron("0 9 * * *", zone)


def test_the_next_tick_is_after_the_moment_never_at_it():
    cron = Cron("0 9 * * *")

    assert cron.next_after(_at("2026-01-01T09:00Z")) == _at("2026-01-02T09:00Z")
    assert cron.next_after(_at("2026-01-01T08:59:59.999999Z")) == _at(
        "2026-01-01T09:00Z"
    )


def test_the_last_tick_may_be_at_the_moment():
    cron = Cron("0 9 * * *")

    assert cron.last_until(_at("2026-01-02T09:00Z")) == _at("2026-01-02T09:00Z")
    assert cron.last_until(_at("2026-01-02T08:59:59Z")) == _at("2026-01-01T09:00Z")


def test_ticks_between_leave_out_the_first_moment_and_keep_the_last():
    cron = Cron("0 * * * *")

    assert _ticks(cron, "2026-01-01T09:00Z", "2026-01-01T11:00Z") == [
        "01 10:00",
        "01 11:00",
    ]


def test_times_are_aware_and_in_utc():
    cron = Cron("0 9 * * *", PARIS)
    moment = _at("2026-07-01T00:00Z")
    ticks = [cron.next_after(moment), cron.last_until(moment)]

    assert {tick.tzinfo for tick in ticks} == {UTC}
    assert {f"{tick:%H:%M}" for tick in ticks} == {"07:00"}


def test_a_moment_may_be_in_any_zone():
    cron = Cron("0 9 * * *", PARIS)

    assert cron.next_after(datetime.fromisoformat("2026-01-01T03:30-05:00")) == _at(
        "2026-01-02T08:00Z"
    )


def test_day_of_month_and_of_week_are_either_as_in_any_cron():
    cron = Cron("0 0 13 * 5")  # the 13th, and every Friday

    assert _ticks(cron, "2026-01-01T12:00Z", "2026-01-17T00:00Z") == [
        "02 00:00",
        "09 00:00",
        "13 00:00",
        "16 00:00",
    ]


def test_a_leap_day_is_found_years_ahead_and_before():
    cron = Cron("0 0 29 2 *")

    assert cron.next_after(_at("2026-01-01T00:00Z")) == _at("2028-02-29T00:00Z")
    assert cron.last_until(_at("2026-01-01T00:00Z")) == _at("2024-02-29T00:00Z")


# Europe/Paris, 2026: on 29 March 02:00 becomes 03:00, on 25 October 03:00 becomes 02:00


def test_nine_in_paris_is_nine_there_all_the_year():
    cron = Cron("0 9 * * *", PARIS)

    assert _ticks(cron, "2026-03-27T12:00Z", "2026-03-30T12:00Z") == [
        "28 08:00",
        "29 07:00",
        "30 07:00",
    ]
    assert _ticks(cron, "2026-10-23T12:00Z", "2026-10-26T12:00Z") == [
        "24 07:00",
        "25 08:00",
        "26 08:00",
    ]


def test_a_tick_in_the_hour_that_spring_skips_comes_right_after_it():
    cron = Cron("30 2 * * *", PARIS)

    assert _ticks(cron, "2026-03-27T12:00Z", "2026-03-30T12:00Z") == [
        "28 01:30",
        "29 01:00",
        "30 00:30",
    ]


def test_a_tick_in_the_hour_that_autumn_repeats_comes_once():
    cron = Cron("30 2 * * *", PARIS)

    assert _ticks(cron, "2026-10-24T12:00Z", "2026-10-26T12:00Z") == [
        "25 00:30",
        "26 01:30",
    ]


def test_an_hourly_tick_comes_every_hour_whatever_the_clock_does():
    """A wildcard hour counts time that passed, as Debian's cron does."""
    cron = Cron("0 * * * *", PARIS)

    assert _ticks(cron, "2026-03-28T23:30Z", "2026-03-29T03:00Z") == [
        "29 00:00",
        "29 01:00",
        "29 02:00",
        "29 03:00",
    ]
    assert _ticks(cron, "2026-10-24T23:30Z", "2026-10-25T03:00Z") == [
        "25 00:00",
        "25 01:00",
        "25 02:00",
        "25 03:00",
    ]


def test_the_last_tick_in_the_repeated_hour_is_found_from_both_passes():
    cron = Cron("30 2 * * *", PARIS)
    first = _at("2026-10-25T00:30Z")

    assert cron.last_until(_at("2026-10-25T00:45Z")) == first  # 02:45, the first time
    assert cron.last_until(_at("2026-10-25T01:45Z")) == first  # 02:45, again


def test_the_last_tick_right_after_the_skipped_hour_is_found():
    cron = Cron("30 2 * * *", PARIS)

    assert cron.last_until(_at("2026-03-29T01:00Z")) == _at("2026-03-29T01:00Z")
    assert cron.last_until(_at("2026-03-29T00:59Z")) == _at("2026-03-28T01:30Z")


LINES = [
    "30 2 * * *",
    "0 3 * * *",
    "*/20 * * * *",
    "15,45 1-3 * * *",
    "0 2 * * 0",
    "0 0 25 10 *",
    "59 1 * * *",
    "0 */2 * * *",
    "30 23 * * 6",
]
ZONES = ["UTC", PARIS, "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"]
CHANGES = [_at("2026-03-29T01:00Z"), _at("2026-10-25T01:00Z"), _at("2026-04-04T15:00Z")]


@settings(deadline=None, max_examples=50)  # a look back may take its time
@given(
    line=st.sampled_from(LINES),
    zone=st.sampled_from(ZONES),
    change=st.sampled_from(CHANGES),
    minutes=st.integers(-2 * 1440, 2 * 1440),
)
def test_looking_back_finds_what_looking_ahead_passes(line, zone, change, minutes):
    cron = Cron(line, zone)
    moment = change + timedelta(minutes=minutes)
    ahead = list(cron.between(moment - timedelta(days=8), moment))

    assert all(a < b for a, b in pairwise(ahead))
    if ahead:
        assert cron.last_until(moment) == ahead[-1]


@settings(deadline=None, max_examples=50)  # a look back may take its time
@given(
    line=st.sampled_from(LINES),
    zone=st.sampled_from(ZONES),
    change=st.sampled_from(CHANGES),
    minutes=st.integers(-1440, 1440),
)
def test_ticks_one_by_one_are_the_ticks_between(line, zone, change, minutes):
    cron = Cron(line, zone)
    after = change + timedelta(minutes=minutes)
    until = after + timedelta(days=2)
    one_by_one, tick = [], cron.next_after(after)
    while tick <= until:
        one_by_one.append(tick)
        tick = cron.next_after(tick)

    assert list(cron.between(after, until)) == one_by_one
