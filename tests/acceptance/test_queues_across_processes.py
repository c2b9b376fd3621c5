"""Limits and ticks with several executor processes, one of them killed."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from datetime import datetime
from datetime import timedelta
from typing import Self

from sqlalchemy import event
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon.models import ScheduleRecord
from operon.models import WorkflowRun
from operon.queue import Queue
from operon.queue import Rate
from tests.acceptance.queueing import Spell
from tests.acceptance.queueing import Worked
from tests.acceptance.queueing import limited
from tests.acceptance.queueing import worked
from tests.processes import Child
from tests.processes import eventually
from tests.shop import happened

PROGRAM = "tests.acceptance.queueing"
PATIENCE = 60.0  # seconds for everything to end, on a busy machine
WATCHED = 6.0  # seconds in which an idle executor's statements are counted


@contextmanager
def _executors(database, *limits: object) -> Iterator[list[Child]]:
    """Start three executors, and return when they are launched."""
    with ExitStack() as stack:
        children = [
            stack.enter_context(Child(PROGRAM, [database.url, *limits]))
            for _ in range(3)
        ]
        for child in children:
            eventually(lambda: "launched" in child.output(), timeout=PATIENCE)  # noqa: B023 - called at once
        yield children


def _start(make_operon, database, runs: int, *limits: str) -> list[str]:
    operon = make_operon(database.url, queues=[limited(limits)])
    ids = [f"run-{number:02}" for number in range(runs)]
    for run_id in ids:
        operon.start(Spell(), id=run_id, queue="q")
    return ids


def _number(engine, **having: object) -> int:
    with Session(engine) as session:
        query = select(func.count()).select_from(WorkflowRun).filter_by(**having)
        return session.scalar(query) or 0


class Watcher:
    """Asks all the time how many runs are running, from `with` to its end."""

    def __init__(self, engine) -> None:
        self.most = self.looks = 0
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._stop.wait(0.005):
            running = _number(self._engine, status="running", queue="q")
            self.most = max(self.most, running)
            self.looks += 1


def _most_at_once(spells: list[Worked], killed: float) -> int:
    """Return how many were at work at once, if whoever never ended was *killed*."""
    changes = [(each.begun, 1) for each in spells]
    changes += [(killed if each.ended is None else each.ended, -1) for each in spells]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def test_a_concurrency_holds_with_three_executors_and_one_of_them_killed(
    make_operon, database, ledger
):
    engine = database.engine()
    limits = ["concurrency", "3"]
    with Watcher(engine) as watcher, _executors(database, *limits) as executors:
        ids = _start(make_operon, database, 24, *limits)
        victim = eventually(lambda: _victim(ledger, executors), timeout=PATIENCE)
        killed = time.monotonic()
        victim.kill()
        eventually(
            lambda: _number(engine, status="succeeded") == len(ids), timeout=PATIENCE
        )
    spells = worked(ledger)
    lost = [each for each in spells if each.ended is None]
    print(f"{database.dialect}: {watcher.looks} looks, {len(lost)} cut short")

    assert watcher.most == 3
    assert _most_at_once(spells, killed) == 3
    assert {each.run_id for each in spells if each.ended is not None} == set(ids)
    assert {each.pid for each in lost} <= {victim.pid}
    assert len({each.pid for each in spells}) >= 2


def _victim(ledger, executors):
    """Return an executor that is at work in the middle of it all, or None."""
    spells = worked(ledger)
    if len(spells) < 8:
        return None
    busy = {each.pid for each in spells if each.ended is None}
    return next((child for child in executors if child.pid in busy), None)


def test_a_rate_holds_across_three_executors(make_operon, database, ledger):
    engine, period = database.engine(), timedelta(seconds=1.5)
    limits = ["rate", "4", "1.5"]
    with _executors(database, *limits):
        ids = _start(make_operon, database, 14, *limits)
        eventually(
            lambda: _number(engine, status="succeeded") == len(ids), timeout=PATIENCE
        )
    with Session(engine) as session:
        query = select(WorkflowRun.started_at).order_by(WorkflowRun.started_at)
        begun = list(session.scalars(query))
    spans = [later - at for at, later in zip(begun, begun[4:], strict=False)]
    print(f"{database.dialect}: {len(ids)} began in {begun[-1] - begun[0]}")

    assert min(spans) >= period


def test_each_tick_fires_once_across_three_executors_one_of_them_killed(
    database, ledger
):
    """The schedule is set back by one hour: 60 ticks are due at once."""
    engine = database.engine()
    with _executors(database, "ticks") as executors:
        with Session(engine) as session, session.begin():
            record = session.scalars(select(ScheduleRecord)).one()
            began = record.next_at - timedelta(hours=1)
            session.execute(
                update(ScheduleRecord).values(
                    last_tick_at=began - timedelta(seconds=30), next_at=began
                )
            )
        eventually(lambda: happened(ledger), timeout=PATIENCE)
        executors[0].kill()
        eventually(lambda: _number(engine, status="succeeded") >= 60, timeout=PATIENCE)
        eventually(lambda: _number(engine, status="running") == 0, timeout=PATIENCE)
    with Session(engine) as session:
        ids = list(session.scalars(select(WorkflowRun.id)))
        recovered = session.scalar(
            select(func.count()).where(WorkflowRun.recoveries > 0)
        )
    ticks = sorted(datetime.fromisoformat(each.rpartition("/")[2]) for each in ids)
    told = happened(ledger)

    assert ticks == [began + timedelta(minutes=n) for n in range(len(ticks))]
    assert {datetime.fromisoformat(each) for each in told} == set(ticks)
    # an activity that was cut short may happen again; nothing else may
    assert len(told) <= len(ticks) + recovered


TWENTY = [
    *(f"free-{number}" for number in range(10)),
    *(Queue(f"slow-{number}", concurrency=2) for number in range(5)),
    *(Queue(f"rated-{n}", rate=Rate(5, timedelta(minutes=1))) for n in range(5)),
]


def _pass(seconds: float) -> None:
    """Let real time pass, in which somebody else is watched."""
    threading.Event().wait(seconds)


def _control(sent: list[str]) -> int:
    """Return how many of what was *sent* only begin or end a transaction."""
    return sum(each.split()[0] in {"BEGIN", "COMMIT", "ROLLBACK"} for each in sent)


def test_an_idle_executor_with_twenty_queues_sends_few_statements(
    make_operon, database
):
    operon = make_operon(database.url, queues=TWENTY)
    operon.launch()
    _pass(3)  # until it has found that there is nothing to do
    sent: list[str] = []
    event.listen(
        operon.engine, "before_cursor_execute", lambda *about: sent.append(about[2])
    )
    _pass(WATCHED)
    rate, control = len(sent) / WATCHED, _control(sent) / WATCHED
    print(f"{database.dialect}: {rate:.2f} statements a second, {control:.2f} of BEGIN")

    assert 0 < rate - control <= 4


def test_an_idle_executor_with_twenty_queues_sends_little_over_the_wire(
    make_operon, postgres_database, wire
):
    """Whatever the server is told counts here, BEGIN and COMMIT included."""
    operon = make_operon(wire.url(postgres_database.url), queues=TWENTY)
    operon.launch()
    _pass(3)
    wire.reset()
    _pass(WATCHED)
    sent = list(wire.statements)
    kinds = {each.split()[0] for each in sent if each}
    rate, control = len(sent) / WATCHED, _control(sent) / WATCHED
    print(
        f"{rate:.2f} commands a second, {control:.2f} of them transaction "
        f"control: {sorted(kinds)}; {wire.round_trips / WATCHED:.2f} round trips"
    )

    assert 0 < rate - control <= 4
