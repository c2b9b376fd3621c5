"""Streams: values in order, at offsets without gaps, until the run ends."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from operon import Retry
from operon import Workflow
from operon import step
from operon.errors import DecodeError
from operon.errors import MisuseError
from operon.errors import RunNotFoundError
from operon.points import Point
from operon.store import streams
from tests.engine.facts import count
from tests.engine.facts import history
from tests.engine.facts import insert_order
from tests.engine.waits import AT_ONCE
from tests.engine.waits import SOON
from tests.engine.waits import Crash
from tests.engine.waits import MarkerRun
from tests.engine.waits import await_waiting
from tests.engine.waits import crash_once
from tests.engine.waits import offsets
from tests.engine.waits import stocked


class WritesLog(Workflow):
    """WritesLog values, then waits for a message, then writes one more."""

    values: list[Any]

    def run(self) -> None:
        for value in self.values:
            self.write("log", value)
        self.receive("go")
        self.write("log", "last")


class WaitsToEnd(Workflow):
    def run(self) -> Any:
        return self.receive("go")


@pytest.fixture
def river(make_operon, database):
    """An Operon that suspends at once; not launched; there is an enqueued run `r`."""
    operon = stocked(make_operon(database.url, **AT_ONCE))
    operon.start(WaitsToEnd(), id="r")
    return operon


def _end(operon, run_id: str = "r") -> None:
    operon.send(run_id, "go", 1)
    operon.run(WaitsToEnd(), id=run_id)


def test_values_come_in_the_order_in_which_they_were_written(river):
    values = [1, "two", {"three": [3]}, None, 2.5]
    for value in values:
        river.write("r", "log", value)
    _end(river)

    assert list(river.handle("r").stream("log")) == values
    assert offsets(river, "r") == [0, 1, 2, 3, 4]


def test_a_reader_follows_the_run_to_its_end(make_operon, database):
    operon = make_operon(database.url, **AT_ONCE)
    operon.launch()
    handle = operon.start(WritesLog([1, 2]), id="w")
    stream = handle.stream("log")
    first = [next(stream), next(stream)]
    await_waiting(operon, "w", 3)
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, stream)
        before = rest.done()
        handle.send("go", 1)

        assert rest.result(20) == ["last"]
    assert (first, before) == ([1, 2], False)


def test_a_reader_resumes_where_it_stopped(river):
    for n in range(7):
        river.write("r", "log", n)
    _end(river)
    handle = river.handle("r")

    for offset in range(8):
        assert list(handle.stream("log", offset=offset)) == list(range(offset, 7))
    assert list(handle.stream("log", offset=99)) == []


def test_a_stream_longer_than_a_page_has_no_seam(river):
    services = river._process.made().services
    with services.database.transaction() as connection:
        for n in range(1201):
            streams.append(
                connection,
                services.database.backend,
                "r",
                "log",
                streams.Stored(value=str(n), codec=None),
                clock=services.clock,
            )
    _end(river)

    assert list(river.handle("r").stream("log", type=int)) == list(range(1201))
    assert list(river.handle("r").stream("log", offset=499))[:3] == [499, 500, 501]


def test_a_stream_that_nobody_writes_ends_with_the_run(river):
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(list, river.handle("r").stream("log"))
        _end(river)

        assert read.result(20) == []


def test_the_streams_of_runs_and_of_names_are_apart(river):
    river.start(WaitsToEnd(), id="q")
    for n in range(3):
        river.write("r", "log", f"r{n}")
        river.write("r", "audit", f"a{n}")
        river.write("q", "log", f"q{n}")
    _end(river)
    _end(river, "q")

    assert list(river.handle("r").stream("log")) == ["r0", "r1", "r2"]
    assert list(river.handle("r").stream("audit")) == ["a0", "a1", "a2"]
    assert list(river.handle("q").stream("log")) == ["q0", "q1", "q2"]


def test_concurrent_writers_leave_no_gap_and_keep_their_order(river):
    writers, each = 6, 8
    barrier = threading.Barrier(writers)

    def work(writer: int) -> None:
        barrier.wait(10)
        for n in range(each):
            river.write("r", "log", [writer, n])

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(work, range(writers)))
    _end(river)
    read = list(river.handle("r").stream("log"))

    assert offsets(river, "r") == list(range(writers * each))
    for writer in range(writers):
        assert [n for who, n in read if who == writer] == list(range(each))


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
def test_steps_that_write_at_the_same_time_leave_no_gap(
    make_operon, database, isolation
):
    class Logs(Workflow):
        number: int

        @step
        def log(self, session: Session) -> None:
            operon.write("r", "log", self.number)
            insert_order(session)

        def run(self) -> None:
            self.log()

    operon = stocked(make_operon(database.url, isolation=isolation))
    operon.start(WaitsToEnd(), id="r")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: operon.run(Logs(n)), range(8)))

    assert offsets(operon, "r") == list(range(8))
    assert count(operon) == 8


def test_a_reader_stops_at_a_gap(river):
    """A writer has not committed yet: what follows it is not read before it."""
    for n in range(4):
        river.write("r", "log", n)
    with river.engine.begin() as connection:
        connection.execute(delete(streams.STREAMS).where(streams.STREAMS.c.offset == 2))
    _end(river)

    assert list(river.handle("r").stream("log")) == [0, 1]


def test_a_writer_that_ignored_the_others_would_lose_values(
    make_operon, postgres_database, monkeypatch
):
    """Planted bug: whoever meets another's value at his offset gives up."""

    def careless(*args: Any, **options: Any) -> int:
        barrier.wait(10)
        try:
            return append(*args, **options)
        except IntegrityError:
            args[0].rollback()
            return -1

    append, barrier = streams.append, threading.Barrier(4)
    operon = make_operon(postgres_database.url)
    operon.start(WaitsToEnd(), id="r")
    monkeypatch.setattr(streams, "append", careless)
    lost = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):  # they need not meet each time
            list(pool.map(lambda n: operon.write("r", "log", n), range(4)))
            lost.append(len(offsets(operon, "r")))

    assert lost[-1] < 80


@pytest.mark.parametrize("point", [Point.RECORDED, Point.COMMITTED])
def test_a_crash_around_a_write_of_a_body_neither_loses_nor_repeats_it(
    make_operon, database, point
):
    class Twice(Workflow):
        def run(self) -> None:
            self.write("log", 1)
            self.write("log", 2)

    operon = make_operon(database.url, probe=crash_once(point, "w"))
    with pytest.raises(Crash):
        operon.run(Twice(), id="w")

    operon.run(Twice(), id="w")

    assert list(operon.handle("w").stream("log")) == [1, 2]
    assert history(operon, "w") == [(1, "write", "log"), (2, "write", "log")]


def test_a_step_that_is_tried_again_writes_once_and_leaves_no_gap(river):
    class Logs(Workflow):
        @step(retry=Retry(attempts=3, delay=timedelta(0)))
        def log(self, session: Session) -> None:
            for n in range(2):
                river.write("r", "log", n)
            tries.append(1)
            if len(tries) < 3:
                raise LookupError

        def run(self) -> None:
            self.log()

    tries: list[int] = []
    river.run(Logs())

    assert offsets(river, "r") == [0, 1]


def test_a_rolled_back_write_leaves_no_gap(river):
    with Session(river.engine) as session, session.begin():
        river.write("r", "log", "kept", session=session)
        with session.begin_nested() as savepoint:
            river.write("r", "log", "undone", session=session)
            savepoint.rollback()
        river.write("r", "log", "kept too", session=session)
    with Session(river.engine) as session:
        river.write("r", "log", "undone as well", session=session)
        session.rollback()
    river.write("r", "log", "last")
    _end(river)

    read = list(river.handle("r").stream("log"))
    assert read == ["kept", "kept too", "last"]


@dataclasses.dataclass(frozen=True)
class Line:
    number: int
    text: str


def test_values_come_as_what_they_were_written_as(river):
    lines = [Line(1, "a"), Line(2, "b")]
    for each in lines:
        river.write("r", "log", each)
    _end(river)

    assert list(river.handle("r").stream("log", type=Line)) == lines


def test_a_value_of_another_type_is_an_error_and_the_next_one_is_read_from_there(
    river,
):
    for value in (1, "two", 3):
        river.write("r", "log", value)
    _end(river)
    stream = river.handle("r").stream("log", type=int)

    assert next(stream) == 1
    with pytest.raises(DecodeError, match="'log'"):
        next(stream)
    assert list(river.handle("r").stream("log", type=int, offset=2)) == [3]


def test_what_a_caller_asks_for_is_checked(river):
    handle = river.handle("r")
    for ask in (
        lambda: handle.stream("log", offset=-1),
        lambda: handle.stream(""),
        lambda: river.write("r", "", 1),
        lambda: river.write("r", "log", object()),
    ):
        with pytest.raises(MisuseError):
            ask()
    with pytest.raises(RunNotFoundError):
        river.write("nobody", "log", 1)
    assert offsets(river, "r") == []


def test_a_reader_follows_the_chain_to_its_end(make_operon, database):
    """Whichever run of the chain it asks; offsets go on across its runs."""

    class Chain(Workflow):
        number: int

        def run(self) -> None:
            self.write("log", self.number)
            self.receive("go")
            if self.number < 3:
                self.continue_as(Chain(self.number + 1))

    operon = make_operon(database.url, **AT_ONCE)
    operon.launch()
    operon.start(Chain(1), id="c")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(list, operon.handle("c").stream("log"))
        for run_id in ("c", "c~2", "c~3"):
            await_waiting(operon, run_id, 2)
            assert not read.done()
            operon.send("c", "go", 1)

        assert read.result(SOON.total_seconds()) == [1, 2, 3]
    operon.handle("c").result(SOON)
    assert list(operon.handle("c~2").stream("log", offset=1)) == [2, 3]
    assert offsets(operon, "c") == [0, 1, 2]


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_a_stream_ends_with_a_run_that_did_not_succeed(make_operon, database, how):
    class Ends(Workflow):
        def run(self) -> None:
            self.write("log", 1)
            self.receive("go")
            raise LookupError

    operon = make_operon(database.url, **AT_ONCE)
    operon.launch()
    handle = operon.start(Ends(), id="w")
    await_waiting(operon, "w", 2)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(list, handle.stream("log"))
        if how == "cancelled":
            operon.cancel("w")
        else:
            operon.send("w", "go", 1)

        assert read.result(20) == [1]
    assert operon.get_run("w").status == how


def test_a_reader_in_another_process_reads_the_same(make_operon, database, river):
    there = make_operon(database.url)
    river.write("r", "log", 1)
    there.write("r", "log", 2)
    _end(river)

    assert list(there.handle("r").stream("log")) == [1, 2]
    assert list(there.handle("r").stream("log", offset=1)) == [2]


def test_a_run_that_ended_without_writing_has_an_empty_stream(river):
    river.run(MarkerRun(), id="m")

    assert list(river.handle("m").stream("log")) == []
