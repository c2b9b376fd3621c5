"""Tables for people, JSON for programs, and times in words."""

import json
from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest

from operon.cli.output import Unreadable
from operon.cli.output import cell
from operon.cli.output import echo_facts
from operon.cli.output import echo_json
from operon.cli.output import echo_table
from operon.cli.wording import span

NOON = datetime(2030, 5, 6, 12, tzinfo=UTC)


def test_a_table_is_aligned_and_has_no_trailing_blanks(capsys):
    echo_table(["id", "name"], [["1", "reserve"], ["22", None]])

    assert capsys.readouterr().out == "ID  NAME\n1   reserve\n22  -\n"


def test_a_table_without_rows_is_its_headers(capsys):
    echo_table(["id", "name"], [])

    assert capsys.readouterr().out == "ID  NAME\n"


def test_a_long_cell_is_shortened(capsys):
    echo_table(["id"], [["x" * 100]])

    assert capsys.readouterr().out.splitlines()[1] == "x" * 57 + "..."


def test_facts_that_are_none_are_left_out(capsys):
    echo_facts({"id": "a", "epoch": 0, "error": None})

    assert capsys.readouterr().out == "id     a\nepoch  0\n"


def test_stored_text_cannot_move_the_cursor():
    assert cell("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert cell({"k": "é"}) == '{"k": "é"}'


def test_json_spells_times_durations_and_what_is_unreadable(capsys):
    echo_json({"at": NOON, "took": timedelta(milliseconds=5), "in": Unreadable("x")})

    assert json.loads(capsys.readouterr().out) == {
        "at": "2030-05-06T12:00:00+00:00",
        "took": 0.005,
        "in": None,
    }


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(seconds=-3), "0 s"),
        (timedelta(milliseconds=20), "20 ms"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(seconds=130), "2 min"),
        (timedelta(hours=25), "1 d"),
    ],
)
def test_a_span_is_told_in_its_largest_unit(duration, words):
    assert span(duration) == words
