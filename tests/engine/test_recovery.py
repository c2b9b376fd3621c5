"""Who is gone: judged by this process's own turned clock, or by the kernel.

The clock is turned by hand here; what real processes do is in `tests/acceptance`.
"""

import os
import subprocess
import sys
import threading
from dataclasses import asdict
from dataclasses import replace
from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest

from operon.executor.heartbeat import Heartbeat
from operon.executor.peers import Peers
from operon.executor.process import Process
from operon.executor.process import is_gone
from operon.executor.process import started
from operon.executor.process import this_process
from operon.points import Point
from operon.status import RunStatus
from operon.store import claims
from operon.store import finishes
from operon.store.commits import CommitWatch
from operon.store.dialect import PostgreSQL
from operon.store.dialect import driver_of
from operon.store.executors import Peer
from operon.store.executors import Presence
from operon.store.fair_lock import FairLock
from operon.store.finishes import Finish
from tests import shop
from tests.processes import eventually

LEASE = timedelta(seconds=10)
ELSEWHERE = Process(
    host="elsewhere", boot_id="b", pid_namespace="n", pid=1, process_started="1"
)


@pytest.fixture
def peers():
    return Peers(this_process(), LEASE)


def _peer(beat: int, process: Process = ELSEWHERE, name: str = "peer") -> Peer:
    """Return an executor whose heartbeat stands at *beat*."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=beat)
    return Peer(id=name, **asdict(process), heartbeat_at=at)


def test_a_peer_whose_heartbeat_stands_still_for_a_lease_is_gone(peers):
    for at in range(0, 12, 2):
        peers.observe([_peer(0)], [], at=at)

    assert peers.gone() == {"peer"}


def test_a_peer_is_not_gone_before_its_lease_is_over(peers):
    for at in (0, 3, 6, 9, 9.9):
        peers.observe([_peer(0)], [], at=at)

    assert peers.gone() == set()


def test_a_heartbeat_that_moves_keeps_a_peer_alive(peers):
    for at in range(0, 60, 2):
        peers.observe([_peer(at)], [], at=at)

    assert peers.gone() == set()


@pytest.mark.parametrize("step", [-86_400, 86_400, 1])
def test_a_heartbeat_that_moves_counts_whatever_time_it_says(peers, step):
    for at in range(0, 60, 2):
        peers.observe([_peer(at * step)], [], at=at)

    assert peers.gone() == set()


def test_a_peer_is_judged_by_observations_not_by_the_time_since_the_last_one(peers):
    """This process was frozen, or the database away: nobody else looked gone."""
    peers.observe([_peer(0)], [], at=0)
    peers.observe([_peer(0)], [], at=9)

    assert peers.gone() == set()  # whenever it is that somebody asks


def test_a_gap_of_ones_own_heartbeats_gives_every_peer_a_new_lease(peers):
    peers.observe([_peer(0)], [], at=0)
    peers.forget()
    for at in range(20, 30, 2):
        peers.observe([_peer(0)], [], at=at)
    before = peers.gone()
    peers.observe([_peer(0)], [], at=30)

    assert (before, peers.gone()) == (set(), {"peer"})


def test_a_holder_without_a_row_is_gone_after_a_lease_as_well(peers):
    for at in range(0, 12, 2):
        peers.observe([], ["stranger"], at=at)

    assert peers.gone() == {"stranger"}


def test_an_executor_that_left_is_not_remembered(peers):
    for at in range(0, 12, 2):
        peers.observe([_peer(0)], [], at=at)
    peers.observe([], [], at=12)

    assert peers.gone() == set()


def test_a_peer_that_lost_its_row_and_came_back_begins_anew(peers):
    for at in range(0, 10, 2):
        peers.observe([_peer(0)], [], at=at)
    peers.observe([], [], at=9)
    peers.observe([_peer(0)], [], at=10)

    assert peers.gone() == set()


def test_a_dead_process_of_this_machine_is_gone_at_once(peers):
    peers.observe([_peer(0, _dead(this_process()))], [], at=0)

    assert peers.gone() == {"peer"}


def test_a_living_process_of_this_machine_is_gone_only_after_its_lease(peers):
    seen = []
    for at in (0, 5, 10):
        peers.observe([_peer(0, this_process())], [], at=at)
        seen.append(peers.gone())

    assert seen == [set(), set(), {"peer"}]


@pytest.mark.parametrize("field", ["host", "boot_id", "pid_namespace"])
@pytest.mark.parametrize("other", ["another", None])
def test_a_pid_says_nothing_outside_its_kernel_and_namespace(field, other):
    here = this_process()
    there = replace(_dead(here), **{field: other})

    assert not is_gone(there, here=here)


@pytest.mark.parametrize("field", ["boot_id", "pid_namespace"])
def test_where_the_kernel_does_not_tell_nobody_is_gone(field):
    here = replace(this_process(), **{field: None})

    assert not is_gone(replace(_dead(here), **{field: None}), here=here)


def test_this_process_is_not_gone():
    assert not is_gone(this_process(), here=this_process())


def test_a_reused_pid_is_another_process():
    reused = replace(this_process(), process_started="1")

    assert is_gone(reused, here=this_process())


def test_a_process_that_died_and_was_not_reaped_is_gone():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        there = replace(
            this_process(), pid=child.pid, process_started=started(child.pid)
        )
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert is_gone(there, here=this_process())


def test_a_process_is_known_by_its_start_whatever_its_name(tmp_path):
    """The command in /proc/PID/stat may hold blanks and brackets."""
    odd = tmp_path / "a) Z (b"
    odd.symlink_to(sys.executable)
    program = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [odd, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        there = started(child.pid)
        child.communicate()

    assert there is not None
    assert there.isdigit()


def _dead(here: Process) -> Process:
    """Return a process of *here*'s kernel that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    return replace(here, pid=child.pid, process_started="1")


class TurnedClock:
    """A monotonic clock turned by hand; nobody waits for it."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def database_time(self) -> None:
        return None

    def monotonic(self) -> float:
        return self.at

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


@pytest.fixture
def heart(make_operon, database):
    """A heartbeat beaten by hand, on a turned clock."""
    clock = TurnedClock()
    operon = make_operon(database.url, clock=clock, lease=LEASE)
    services = operon._process.ready().services
    presence = Presence(
        id=services.executor,
        **asdict(ELSEWHERE),
        code_version=None,
        workflows=[],
        queues=[],
    )
    peers = Peers(this_process(), LEASE)
    heart = Heartbeat(services, peers, lambda: presence, timedelta(seconds=2))
    yield heart
    heart.stop(leave=False)


@pytest.fixture
def other(make_operon, database):
    """A second executor, which beats once and never again."""
    operon = make_operon(database.url, heartbeat=timedelta(days=1))
    services = operon._process.ready().services
    presence = Presence(
        id=services.executor,
        **asdict(ELSEWHERE),
        code_version=None,
        workflows=[],
        queues=[],
    )
    peers = Peers(this_process(), LEASE)
    heart = Heartbeat(services, peers, lambda: presence, timedelta(days=1))
    heart.beat()
    yield services.executor
    heart.stop(leave=False)


def test_a_silent_executor_is_gone_when_ones_own_beats_lasted_a_lease(heart, other):
    seen = []
    for _ in range(6):
        heart.beat()
        seen.append(heart.peers.gone())
        heart.services.clock.at += 2

    assert seen == [set()] * 5 + [{other}]


def test_an_outage_of_ones_own_beats_gives_the_others_a_new_lease(heart, other):
    heart.beat()
    heart.services.clock.at += 3600
    in_the_gap = heart.peers.gone()
    heart.beat()

    assert (in_the_gap, heart.peers.gone()) == (set(), set())


def test_work_is_begun_only_while_the_beat_is_younger_than_half_a_lease(heart):
    heart.beat()
    heart.services.clock.at += 4.9
    young = heart.is_fresh()
    heart.services.clock.at += 0.2

    assert (young, heart.is_fresh()) == (True, False)


def test_a_commit_that_hangs_is_cut_though_its_connection_was_lost_meanwhile(
    make_operon, postgres_database
):
    """Cutting happens in the heartbeat's thread, which must survive it."""
    operon = make_operon(postgres_database.url)
    clock = TurnedClock()
    watch = CommitWatch(clock, LEASE)
    dialect = operon.engine.dialect
    with (
        operon.engine.connect() as connection,
        watch.watched(driver_of(connection)),
    ):
        driver_of(connection).close()
        clock.at += 60
        watch.cut_overdue(PostgreSQL(dialect))
        connection.invalidate()
        watch.cut_overdue(PostgreSQL(dialect))


def test_an_interrupted_wait_for_the_writers_lock_leaves_it_to_the_others(monkeypatch):
    lock = FairLock()
    entered = threading.Event()

    def write() -> None:
        with lock:
            entered.set()

    with lock:
        waiting = threading.Event.wait

        def interrupted(event, timeout=None):
            monkeypatch.setattr(threading.Event, "wait", waiting)
            raise KeyboardInterrupt

        monkeypatch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt), lock:
            pass
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        eventually(lambda: len(lock._waiting) > 1)

    assert entered.wait(5)


def test_a_run_that_changed_hands_begins_no_activity_once_the_heart_has_told(
    make_operon, database, ledger
):
    """The fence would refuse the record, but not the effect."""

    def steal(point: Point, run_id: str) -> None:
        if point is Point.COMMITTED:
            _end_elsewhere(thief, run_id)
            for run in operon._process.ready().services.active.each():
                run.interrupt()  # as the heartbeat does

    operon = make_operon(database.url, probe=steal)
    thief = make_operon(database.url)
    shop.create_shop(operon.engine, "book")

    assert operon.run(shop.Checkout("book"), id="r") == -1
    assert shop.happened(ledger) == []


def _end_elsewhere(thief, run_id: str) -> None:
    """Let *thief* claim *run_id* from its holder and end it with -1."""
    services = thief._process.ready().services
    backend, clock = services.database.backend, services.clock
    holder = str(thief.get_run(run_id).executor)
    with services.database.transaction() as connection:
        claimed = claims.claim_one(
            connection, backend, services.executor, run_id, gone=[holder], clock=clock
        )
        how = Finish(lease=claimed.lease, status=RunStatus.SUCCEEDED, output="-1")
        finishes.finish(connection, backend, [how], clock=clock)
