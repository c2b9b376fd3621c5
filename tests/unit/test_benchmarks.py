"""The pure parts of the benchmarks: what is made of times, not the times."""

import json
import socket
import threading
import time
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from typing import Self

import pytest
from click.testing import CliRunner
from rich.console import Console
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tests.benchmarks import __main__ as program
from tests.benchmarks.bench import Scale
from tests.benchmarks.chart import write_chart
from tests.benchmarks.disk import is_in_memory
from tests.benchmarks.figures import Spread
from tests.benchmarks.figures import Wanted
from tests.benchmarks.figures import shown
from tests.benchmarks.latency import LatencyProxy
from tests.benchmarks.pairing import Batch
from tests.benchmarks.pairing import in_turn
from tests.benchmarks.pairing import ratios
from tests.benchmarks.pairing import throughputs
from tests.benchmarks.report import table
from tests.benchmarks.results import Result
from tests.benchmarks.rows.row import Row
from tests.benchmarks.subjects.counting import counting
from tests.benchmarks.subjects.rows import create_tables
from tests.benchmarks.subjects.rows import place
from tests.benchmarks.subjects.timing import timed

DELAY = 0.05  # seconds


def make_row(name: str = "a row", value: Any = 1.0, **options: Any) -> Row:
    def measure(_: object) -> list[float]:
        if isinstance(value, Exception):
            raise value
        return [value]

    return Row(name=name, a="A", b="B", measure=measure, **options)


def printed(*results: Result) -> str:
    paper = StringIO()
    Console(width=160, file=paper).print(table(results))
    return paper.getvalue()


class TestFigures:
    def test_a_spread_is_the_median_and_the_quartiles(self):
        assert Spread.of([5, 1, 4, 2, 3]) == Spread(3, 2, 4)

    def test_the_spread_of_few_values_is_their_extremes(self):
        assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)
        assert str(Spread.of([7])) == "7"

    def test_a_figure_wants_at_most_or_at_least(self):
        assert Wanted("at most", 2.0).is_reached_by(2.0)
        assert not Wanted("at most", 2.0).is_reached_by(2.1)
        assert Wanted("at least", 2.0).is_reached_by(2.0)
        assert not Wanted("at least", 2.0).is_reached_by(1.9)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (1.23456, "1.23"),
            (12.345, "12.3"),
            (0.012345, "0.0123"),
            (1234567, "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"),
            (2.0, "2"),
            (0, "0"),
        ],
    )
    def test_numbers_are_shown_with_three_digits(self, value, text):
        assert shown(value) == text


class Clockwork:
    """Takes a known time, and notes that it was its turn."""

    def __init__(self, name: str, turns: list[str], *times: float) -> None:
        self._name = name
        self._turns = turns
        self._times = iter(times)

    def prepare(self, target: float) -> None:
        pass

    def measure(self) -> float:
        self._turns.append(self._name)
        return next(self._times)


class TestPairing:
    def test_every_other_round_is_measured_in_reverse(self):
        turns: list[str] = []
        pair = Clockwork("A", turns, 2, 4, 6), Clockwork("B", turns, 1, 1, 2)

        times = in_turn(pair, range(3))

        assert "".join(turns) == "ABBAAB"
        assert times == [(2, 1), (4, 1), (6, 2)]
        assert ratios(times) == [2, 4, 3]
        assert throughputs(times) == [0.5, 0.25, pytest.approx(1 / 3)]

    def test_a_batch_becomes_as_long_as_it_has_to(self):
        subject = SimpleNamespace(
            ask=lambda _, count, threads: {"seconds": count / 1e4}
        )
        batch = Batch(subject, threads=4)

        batch.prepare(0.5)

        assert 5_000 <= batch.count <= 6_000
        assert batch.count % 4 == 0
        assert batch.measure() == pytest.approx(1e-4)


class TestSubjects:
    @pytest.mark.parametrize("threads", [1, 3])
    def test_all_calls_are_made_with_keys_of_their_own(self, threads):
        keys: list[str] = []

        assert timed(keys.append, 10, threads)["seconds"] > 0
        assert len(set(keys)) == len(keys) == 10

    @pytest.mark.parametrize("threads", [1, 3])
    def test_an_error_in_a_thread_is_not_lost(self, threads):
        with pytest.raises(ZeroDivisionError):
            timed(lambda _: 1 // 0, 3, threads)

    def test_statements_and_waited_for_commits_are_counted(self):
        engine = create_engine("sqlite://")
        create_tables(engine)

        with counting() as counts, Session(engine) as session:
            place(session, "one")
            place(session, "two")
            session.commit()
            place(session, "never")

        assert counts["business statements"] == counts["statements"] == 3
        assert counts["other statements"] == 0
        assert counts["synchronous commits"] == 1
        engine.dispose()


@pytest.fixture
def echo():
    """The port of a server that says back what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while chunk := connection.recv(1024):
                    connection.sendall(chunk)

        server = threading.Thread(target=serve)
        server.start()
        yield listener.getsockname()[1]
        server.join()


class TestLatencyProxy:
    def test_it_keeps_everything_back_in_both_directions(self, echo):
        with (
            LatencyProxy("127.0.0.1", echo, DELAY) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port)) as client,
        ):
            began = time.monotonic()
            client.sendall(b"hello")

            assert client.recv(1024) == b"hello"
            assert time.monotonic() - began >= 2 * DELAY

    def test_what_comes_meanwhile_keeps_its_order_and_waits_no_longer(self, echo):
        numbers = [f"{number};".encode() for number in range(100)]
        with (
            LatencyProxy("127.0.0.1", echo, DELAY) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port)) as client,
        ):
            began = time.monotonic()
            for each in numbers:
                client.sendall(each)
                time.sleep(0.001)
            client.shutdown(socket.SHUT_WR)
            heard = b""
            while chunk := client.recv(1024):
                heard += chunk

            assert heard == b"".join(numbers)
            # one after another they would take ten seconds
            assert 2 * DELAY <= time.monotonic() - began < 2 * DELAY * len(numbers) / 2


class TestDisk:
    @pytest.mark.parametrize(
        ("folder", "in_memory"),
        [("/", False), ("/fast/folder", True), ("/faster", False)],
    )
    def test_a_folder_lies_where_the_closest_mount_says(
        self, tmp_path, folder, in_memory
    ):
        mounts = tmp_path / "mounts"
        mounts.write_text("/dev/a / ext4 rw 0 0\nnone /fast tmpfs rw 0 0\n")

        assert is_in_memory(Path(folder), mounts) is in_memory
        assert not is_in_memory(Path(folder), tmp_path / "not Linux")


class TestReport:
    def test_a_missed_figure_is_marked_as_missed(self):
        wanted = Wanted("at most", 2.0)

        said = printed(
            Result(make_row("slow", wanted=wanted), values=[3.0, 2.1, 1.0]),
            Result(make_row("quick", wanted=wanted), values=[2.5, 1.9, 1.0]),
        )

        slow, quick = (line for line in said.splitlines() if "≤ 2 x" in line)
        assert "slow" in slow
        assert "2.1 [1 … 3] x" in slow
        assert "missed" in slow
        assert "missed" not in quick
        assert "reached" in quick

    def test_a_failed_row_says_why(self):
        failed = Result(make_row("broken"), error="SubjectError: at line 1\nno disk\n")

        line = next(each for each in printed(failed).splitlines() if "broken" in each)
        assert "no disk" in line
        assert "failed" in line

    def test_too_little_is_not_judged(self):
        result = Result(make_row(wanted=Wanted("at most", 1)), [5.0], judged=False)

        assert result.verdict == ""
        assert "not judged" in printed(result)

    def test_the_chart_has_a_bar_for_each_figure_that_is_wanted(self, tmp_path):
        results = [
            Result(make_row("told only"), [1.0]),
            Result(make_row("reached twice", wanted=Wanted("at most", 2.0)), [1.0]),
            Result(make_row("missed by half", wanted=Wanted("at least", 4.0)), [2.0]),
            Result(make_row("broken", wanted=Wanted("at least", 4.0)), error="why"),
        ]

        write_chart(tmp_path / "chart.svg", results)

        drawn = (tmp_path / "chart.svg").read_text(encoding="utf-8")
        assert drawn.startswith("<?xml")
        assert "reached twice" in drawn
        assert "missed by half" in drawn
        assert "told only" not in drawn
        assert "broken" not in drawn
        assert [each.share for each in results] == [None, 2.0, 0.5, None]


class NoServer:
    """A bench on which only rows that need nothing can be measured."""

    def __init__(self, scale: Scale, *_: object) -> None:
        self.scale = scale
        self.versions: dict[str, dict[str, str]] = {}
        self.clear = nullcontext

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the program with some rows; return its end, and what it has written."""

    def call(rows: list[Row], *options: str) -> tuple[Any, dict[str, Any]]:
        monkeypatch.setattr(program, "ROWS", rows)
        monkeypatch.setattr(program, "Bench", NoServer)
        output = ["--output", str(tmp_path), "--environments", str(tmp_path)]
        ended = CliRunner().invoke(program.main, [*options, *output])
        written = tmp_path / "benchmarks.json"
        return ended, json.loads(written.read_text()) if written.exists() else {}

    return call


class TestProgram:
    def test_a_row_that_fails_does_not_stop_the_others(self, run, tmp_path):
        wanted = Wanted("at most", 2.0)
        rows = [make_row("broken", OSError("no disk")), make_row("fine", wanted=wanted)]

        ended, written = run(rows)

        assert ended.exit_code == 1
        assert [each["verdict"] for each in written["results"]] == ["failed", "reached"]
        assert "no disk" in ended.output
        assert (tmp_path / "benchmarks.svg").exists()

    def test_it_succeeds_if_every_figure_is_reached(self, run):
        assert (
            run([make_row(), make_row(wanted=Wanted("at most", 1.0))])[0].exit_code == 0
        )

    def test_a_missed_figure_is_a_failure(self, run):
        assert run([make_row(wanted=Wanted("at most", 0.9))])[0].exit_code == 1

    def test_a_quick_look_misses_nothing(self, run):
        missed = make_row(wanted=Wanted("at most", 0.9))

        assert run([missed], "--quick")[0].exit_code == 0

    def test_rows_are_chosen_by_pattern_and_by_library(self, run):
        rows = [make_row("one"), make_row("two"), make_row("twofold", library="dbos")]

        _, some = run(rows, "--rows", "^TWO", "--against", "")
        _, most = run(rows, "--rows", "^two", "--against", "dbos")

        assert [each["row"] for each in some["results"]] == ["two"]
        assert [each["row"] for each in most["results"]] == ["two", "twofold"]

    @pytest.mark.parametrize("option", [("--rows", "("), ("--against", "nobody")])
    def test_what_makes_no_sense_is_refused(self, run, option):
        assert run([make_row()], *option)[0].exit_code == 2
