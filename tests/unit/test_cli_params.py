"""How arguments are written on the command line."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

import click
import pytest

from operon.cli.params import Duration
from operon.cli.params import Limit
from operon.cli.params import Moment
from operon.cli.params import RateLimit
from operon.cli.params import rate_words
from operon.queue import Rate


def read(kind, text):
    return kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("15min", timedelta(minutes=15)),
        ("12h", timedelta(hours=12)),
        ("30D", timedelta(days=30)),
        ("2 w", timedelta(weeks=2)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_a_number_and_its_unit(text, expected):
    assert read(Duration(), text) == expected


@pytest.mark.parametrize(
    "text", ["", "30", "d", "1.5d", "-1d", "30y", "37000d", "9" * 99 + "d"]
)
def test_a_duration_without_number_or_unit_or_sense_is_refused(text):
    with pytest.raises(click.BadParameter):
        read(Duration(), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-05-06", datetime(2030, 5, 6, tzinfo=UTC)),
        ("2030-05-06 12:30", datetime(2030, 5, 6, 12, 30, tzinfo=UTC)),
        ("2030-05-06T12:30:00Z", datetime(2030, 5, 6, 12, 30, tzinfo=UTC)),
        ("2030-05-06T12:30:00+02:00", datetime(2030, 5, 6, 10, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_without_an_offset_is_in_utc(text, expected):
    assert read(Moment(), text) == expected


@pytest.mark.parametrize("text", ["", "noon", "2030-13-01", "0001-01-01T00:00+05:00"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(click.BadParameter):
        read(Moment(), text)


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("50", 50), ("None", None)])
def test_a_limit_is_a_whole_number_or_none(text, expected):
    assert read(Limit(), text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many"])
def test_what_nothing_can_keep_is_no_limit(text):
    with pytest.raises(click.BadParameter):
        read(Limit(), text)


@pytest.mark.parametrize("text", ["100/60", "5/0.5", "none"])
def test_a_rate_is_read_as_it_is_written(text):
    assert rate_words(read(RateLimit(), text)) == (None if text == "none" else text)
    assert read(RateLimit(), "100 / 60") == Rate(100, timedelta(minutes=1))


@pytest.mark.parametrize(
    "text", ["", "100", "0/60", "100/0", "100/60s", "1/" + "9" * 99]
)
def test_what_nothing_can_keep_is_no_rate(text):
    with pytest.raises(click.BadParameter):
        read(RateLimit(), text)
