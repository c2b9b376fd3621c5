"""What `operon doctor` makes of what it reads."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest

from operon.cli import diagnosis
from operon.cli.diagnosis import Level
from operon.cli.diagnosis import has_wal_reset_bug
from operon.cli.diagnosis import parsed
from operon.queue import Queue
from operon.status import RunStatus
from operon.store.doctor import Group
from operon.store.doctor import Load
from operon.store.doctor import Plan
from operon.store.explain import Seen

NOW = datetime(2030, 5, 6, 12, 5, 1, tzinfo=UTC)
LEASE = timedelta(seconds=10)


def executor(*, silent=1, workflows=("Checkout",), queues=("default",)):
    return Seen(
        id="e1",
        host="web-1",
        pid=42,
        workflows=[[name, 1] for name in workflows],
        queues=queues,
        heartbeat_at=NOW - timedelta(seconds=silent),
    )


def group(status, *, runs=1):
    return Group(workflow="Checkout", version=1, status=status, runs=runs)


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ("3.6.23", False),
        ("3.7.0", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.0", True),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.52.0", False),
    ],
)
def test_knows_the_versions_that_have_the_wal_reset_bug(version, has_it):
    assert has_wal_reset_bug(parsed(version)) is has_it


def test_the_wal_reset_bug_needs_several_executors():
    assert diagnosis.wal_reset("3.40.1", 1).level is Level.OK
    assert diagnosis.wal_reset("3.40.1", 2).level is Level.WARNING
    assert diagnosis.wal_reset("3.51.3", 2).level is Level.OK


@pytest.mark.parametrize(
    ("number", "level"), [("120015", Level.PROBLEM), ("130000", Level.OK)]
)
def test_an_old_postgresql_is_a_problem(number, level):
    settings = {"server_version": "x", "server_version_num": number}

    assert diagnosis.postgresql_version(settings).level is level


@pytest.mark.parametrize(
    ("version", "level"), [("3.34.1", Level.PROBLEM), ("3.35.0", Level.OK)]
)
def test_an_old_sqlite_is_a_problem(version, level):
    assert diagnosis.sqlite_library(version).level is level


@pytest.mark.parametrize(
    ("judge", "name", "value", "level"),
    [
        (diagnosis.fsync, "fsync", "on", Level.OK),
        (diagnosis.fsync, "fsync", "off", Level.WARNING),
        (diagnosis.synchronous_commit, "synchronous_commit", "on", Level.OK),
        (diagnosis.synchronous_commit, "synchronous_commit", "remote_apply", Level.OK),
        (diagnosis.synchronous_commit, "synchronous_commit", "off", Level.PROBLEM),
        (diagnosis.writable, "transaction_read_only", "off", Level.OK),
        (diagnosis.writable, "transaction_read_only", "on", Level.PROBLEM),
    ],
)
def test_judges_a_setting_of_the_server(judge, name, value, level):
    assert judge({name: value}).level is level


def test_a_missing_idle_timeout_is_a_warning_with_the_statement_that_sets_it():
    finding = diagnosis.idle_timeout({"idle_in_transaction_session_timeout": "0"}, "me")

    assert finding.level is Level.WARNING
    assert finding.cure.startswith(
        """ALTER ROLE "me" SET idle_in_transaction_session_timeout = '30s'"""
    )


def test_an_idle_timeout_is_told_in_seconds():
    settings = {"idle_in_transaction_session_timeout": "2500"}

    assert diagnosis.idle_timeout(settings, "me").fact.endswith("is 2.5 s")


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0, Level.PROBLEM), (1, Level.PROBLEM), (2, Level.OK), (3, Level.OK)],
)
def test_sqlite_must_sync_every_commit(level, expected):
    assert diagnosis.synchronous(level).level is expected


def test_a_journal_other_than_wal_is_a_warning():
    assert diagnosis.journal("delete").level is Level.WARNING
    assert diagnosis.journal("wal").level is Level.OK


@pytest.mark.parametrize(
    ("capacity", "level"), [(15, Level.WARNING), (16, Level.OK), (None, Level.OK)]
)
def test_a_pool_smaller_than_the_threads_is_a_warning(capacity, level):
    assert diagnosis.pool(capacity, 16).level is level


def test_lacking_privileges_are_named():
    finding = diagnosis.privileges(["INSERT on operon_runs"])

    assert finding.level is Level.PROBLEM
    assert finding.fact == "the role lacks INSERT on operon_runs"


def test_a_silent_executor_is_a_warning_that_names_it():
    finding = diagnosis.heartbeats([executor(), executor(silent=45)], NOW, LEASE)

    assert finding.level is Level.WARNING
    assert "1 executor silent" in finding.fact
    assert "e1 (web-1 pid 42, 45 s)" in finding.fact


@pytest.mark.parametrize("executors", [[], [executor()]])
def test_no_silent_executor_is_fine(executors):
    assert diagnosis.heartbeats(executors, NOW, LEASE).level is Level.OK


def test_runs_of_a_workflow_that_nobody_knows_are_a_warning():
    groups = [group(RunStatus.ENQUEUED, runs=2), group(RunStatus.RUNNING, runs=3)]

    finding = diagnosis.workflows(groups, [executor(workflows=["Other"])])

    assert finding.level is Level.WARNING
    assert finding.fact == "no live executor knows 'Checkout' version 1 (5 runs)"


def test_a_process_that_only_runs_its_own_claims_nothing():
    only_own = executor(queues=())

    enqueued = diagnosis.workflows([group(RunStatus.ENQUEUED)], [only_own])
    running = diagnosis.workflows([group(RunStatus.RUNNING)], [only_own])

    assert (enqueued.level, running.level) == (Level.WARNING, Level.OK)


def test_dead_runs_are_a_warning_of_their_own():
    groups = [group(RunStatus.DEAD, runs=2)]

    assert diagnosis.workflows(groups, []).level is Level.OK
    assert diagnosis.dead_runs(groups).level is Level.WARNING
    assert diagnosis.dead_runs(groups).fact == "2 runs are dead"
    assert diagnosis.dead_runs([]).level is Level.OK


def plan(name, *, workflow="Checkout", version=1, paused_at=None):
    return Plan(name=name, workflow=workflow, version=version, paused_at=paused_at)


def test_a_schedule_needs_a_launched_executor_that_knows_its_workflow():
    morning = plan("morning")

    assert diagnosis.schedules([morning], [executor()]).level is Level.OK
    for live in ([], [executor(queues=())], [executor(workflows=("Report",))]):
        found = diagnosis.schedules([morning, plan("off", paused_at=NOW)], live)

        assert found.level is Level.WARNING
        assert found.fact == (
            "no live executor knows what is to be started by 'morning' ('Checkout' "
            "version 1)"
        )
    assert diagnosis.schedules([], []).fact == "there is no schedule"
    assert diagnosis.schedules([plan("off", paused_at=NOW)], []).level is Level.OK


def load(name, *, enqueued=0, paused_at=None):
    return Load(
        queue=Queue(name), paused_at=paused_at, enqueued=enqueued, running=0, waiting=0
    )


def test_runs_in_a_paused_queue_are_a_warning_and_an_empty_one_is_not():
    since = NOW - timedelta(hours=2)
    loads = [
        load("busy", enqueued=9),
        load("empty", paused_at=since),
        load("stuck", enqueued=3, paused_at=since),
    ]

    assert diagnosis.paused_queues(loads[:2], NOW).level is Level.OK
    found = diagnosis.paused_queues(loads, NOW)
    assert found.level is Level.WARNING
    assert found.fact == (
        "runs wait in paused queues: 'stuck' (3 runs, paused for 2 h)"
    )
