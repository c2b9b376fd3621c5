"""What a database, an application and their executors are fit for, as findings.

Pure functions over what was read: they ask neither the database nor the time.
"""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from enum import StrEnum

from operon.cli.wording import count
from operon.cli.wording import span
from operon.status import RunStatus
from operon.store.doctor import Group
from operon.store.doctor import Load
from operon.store.doctor import Plan
from operon.store.explain import Seen

_OLDEST_POSTGRESQL = 130_000  # as server_version_num
_OLDEST_SQLITE = (3, 35, 0)
_FULL = 2  # of PRAGMA synchronous: OFF, NORMAL, FULL, EXTRA
_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    """The check's name; the same in every release."""
    level: Level
    fact: str
    cure: str | None = None
    """What to do; None if all is well."""


def ok(check: str, fact: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, fact)


def warning(check: str, fact: str, cure: str) -> Finding:
    """Return that something may go wrong, though no promise is broken."""
    return Finding(check, Level.WARNING, fact, cure)


def problem(check: str, fact: str, cure: str) -> Finding:
    """Return that Operon cannot work here, or cannot keep its promises."""
    return Finding(check, Level.PROBLEM, fact, cure)


def postgresql_version(settings: Mapping[str, str]) -> Finding:
    """Judge the server's version."""
    fact = f"PostgreSQL {settings['server_version']}"
    if int(settings["server_version_num"]) >= _OLDEST_POSTGRESQL:
        return ok("version", fact)
    return problem("version", f"{fact} is too old", "use PostgreSQL 13 or newer")


def writable(settings: Mapping[str, str]) -> Finding:
    """Judge whether the server takes writes from this role."""
    if settings["transaction_read_only"] == "off":
        return ok("writable", "transactions may write")
    return problem(
        "writable",
        "transactions are read-only",
        "connect to the primary, and leave default_transaction_read_only off",
    )


def isolation(settings: Mapping[str, str], steps: str | None) -> Finding:
    """Tell the isolation level of *steps*, or the server's if no app is known."""
    default = settings["default_transaction_isolation"].upper()
    if steps is None:
        return ok(
            "isolation", f"the server's default is {default}; steps set their own"
        )
    return ok("isolation", f"steps run at {steps}; the server's default is {default}")


def idle_timeout(settings: Mapping[str, str], role: str) -> Finding:
    """Judge whether the server frees what a frozen process has locked."""
    milliseconds = int(settings["idle_in_transaction_session_timeout"])
    name = "idle_in_transaction_session_timeout"
    if milliseconds > 0:
        return ok("idle-timeout", f"{name} is {milliseconds / 1000:g} s")
    return warning(
        "idle-timeout",
        f"{name} is 0, so rows that a frozen process has locked stay locked",
        f"""ALTER ROLE "{role}" SET {name} = '30s', or more if steps compute longer""",
    )


def synchronous_commit(settings: Mapping[str, str]) -> Finding:
    """Judge whether an acknowledged commit is durable."""
    value = settings["synchronous_commit"]
    if value != "off":
        return ok("synchronous-commit", f"synchronous_commit is {value}")
    return problem(
        "synchronous-commit",
        "synchronous_commit is off, so a crash of the server loses commits that were "
        "acknowledged",
        "set synchronous_commit = on; Operon itself relaxes it where that is safe",
    )


def fsync(settings: Mapping[str, str]) -> Finding:
    """Judge whether the server survives a power failure."""
    if settings["fsync"] == "on":
        return ok("fsync", "fsync is on")
    return warning(
        "fsync",
        "fsync is off, so a power failure can destroy the database",
        "set fsync = on, unless this database is for tests",
    )


def privileges(missing: Sequence[str]) -> Finding:
    """Judge what the role may do."""
    if not missing:
        return ok("privileges", "the role may use every table of Operon's")
    return problem(
        "privileges",
        f"the role lacks {', '.join(missing)}",
        "GRANT them to it; migrating needs the tables' owner, running only these",
    )


def sqlite_library(version: str) -> Finding:
    """Judge the version of SQLite."""
    if parsed(version) >= _OLDEST_SQLITE:
        return ok("version", f"SQLite {version}")
    return problem(
        "version", f"SQLite {version} is too old", "use SQLite 3.35 or newer"
    )


def journal(mode: str) -> Finding:
    """Judge how SQLite keeps readers and the writer apart."""
    if mode == "wal":
        return ok("journal", "journal_mode is WAL")
    return warning(
        "journal",
        f"journal_mode is {mode.upper()}, so readers and writers block each other",
        "set PRAGMA journal_mode = WAL, on a local disk, or let Operon manage the "
        "engine",
    )


def synchronous(level: int) -> Finding:
    """Judge whether SQLite's commits are durable."""
    name = _SYNCHRONOUS[level]
    if level >= _FULL:
        return ok("synchronous", f"synchronous is {name}")
    return problem(
        "synchronous",
        f"synchronous is {name}, so a power failure loses commits that were reported",
        "set PRAGMA synchronous = FULL on every connection, or let Operon manage the "
        "engine",
    )


def wal_reset(version: str, executors: int) -> Finding:
    """Judge whether the bug in resetting the WAL can strike.

    Source:
        SQLite 3.7.0 to 3.51.2, with fixes in 3.50.7 and 3.44.6: two connections that
        checkpoint and write at once can corrupt the file.
    """
    check = "wal-reset"
    if not has_wal_reset_bug(parsed(version)):
        return ok(check, f"SQLite {version} resets its WAL safely")
    fact = f"SQLite {version} has the WAL-reset bug"
    if executors <= 1:
        return ok(check, f"{fact}, which one executor alone does not meet")
    return warning(
        check,
        f"{fact}, and {executors} executors share the file",
        "use SQLite 3.51.3 or newer, 3.50.7 or 3.44.6, or PostgreSQL",
    )


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Tell whether *version* has it."""
    if not (3, 7, 0) <= version <= (3, 51, 2):
        return False
    mended = (3, 44, 6) <= version < (3, 45) or (3, 50, 7) <= version < (3, 51)
    return not mended


def parsed(version: str) -> tuple[int, ...]:
    """Return *version* as numbers that can be compared."""
    return tuple(int(part) for part in version.split(".")[:3])


def pool(capacity: int | None, threads: int) -> Finding:
    """Judge whether *threads* can all have a connection; None is no limit."""
    if capacity is None or capacity >= threads:
        limit = "no limit" if capacity is None else f"room for {capacity} connections"
        return ok("pool", f"the engine's pool has {limit}, for {threads} threads")
    return warning(
        "pool",
        f"the engine's pool has room for {capacity} connections, fewer than the "
        f"{threads} threads",
        f"create_engine(pool_size={threads + 4}), or give Operon fewer threads=",
    )


def heartbeats(executors: Sequence[Seen], now: datetime, lease: timedelta) -> Finding:
    """Judge whether every executor that has a row gives signs of life."""
    if not executors:
        return ok("executors", "no executor is registered")
    stale = [each for each in executors if now - each.heartbeat_at > lease]
    if not stale:
        return ok("executors", f"{count(len(executors), 'executor')}, none silent")
    names = ", ".join(
        f"{each.id} ({each.host} pid {each.pid}, {span(now - each.heartbeat_at)})"
        for each in stale
    )
    return warning(
        "executors",
        f"{count(len(stale), 'executor')} silent for longer than the lease: {names}",
        "find out why; a launched executor takes their runs over, so start one",
    )


def workflows(groups: Sequence[Group], live: Collection[Seen]) -> Finding:
    """Judge whether somebody can execute every run that has not ended."""
    unknown = [
        group
        for group in groups
        if group.status is not RunStatus.DEAD
        and not any(_can_run(each, group) for each in live)
    ]
    if not unknown:
        return ok(
            "workflows", "live executors know the workflow of every unfinished run"
        )
    totals: dict[str, int] = {}
    for group in unknown:
        name = f"{group.workflow!r} version {group.version}"
        totals[name] = totals.get(name, 0) + group.runs
    names = ", ".join(f"{name} ({count(runs, 'run')})" for name, runs in totals.items())
    return warning(
        "workflows",
        f"no live executor knows {names}",
        "start `operon executor` with the application that declares them",
    )


def _can_run(executor: Seen, group: Group) -> bool:
    """Tell whether *executor* may hold or claim these runs."""
    may_hold = bool(executor.queues) or group.status is RunStatus.RUNNING
    return may_hold and executor.knows(group.workflow, group.version)


def schedules(plans: Sequence[Plan], live: Collection[Seen]) -> Finding:
    """Judge whether somebody keeps every schedule that is not paused."""
    check = "schedules"
    lost = [
        plan
        for plan in plans
        if plan.paused_at is None
        and not any(
            each.queues and each.knows(plan.workflow, plan.version) for each in live
        )
    ]
    if not plans:
        return ok(check, "there is no schedule")
    if not lost:
        return ok(check, "live executors know the workflow of every schedule")
    names = ", ".join(
        f"{plan.name!r} ({plan.workflow!r} version {plan.version})" for plan in lost
    )
    return warning(
        check,
        f"no live executor knows what is to be started by {names}",
        "start `operon executor` with the application that declares it, or pause or "
        "remove it with `operon schedules`",
    )


def paused_queues(loads: Sequence[Load], now: datetime) -> Finding:
    """Judge whether runs wait where nothing is claimed."""
    check = "paused-queues"
    stuck = [load for load in loads if load.paused_at is not None and load.enqueued]
    if not stuck:
        return ok(check, "no run waits in a paused queue")
    names = ", ".join(
        f"{load.queue.name!r} ({count(load.enqueued, 'run')}, paused for "
        f"{span(now - (load.paused_at or now))})"
        for load in stuck
    )
    return warning(
        check,
        f"runs wait in paused queues: {names}",
        "`operon queues resume NAME` lets them go on",
    )


def dead_runs(groups: Sequence[Group]) -> Finding:
    """Judge whether Operon had to stop any run."""
    dead = sum(group.runs for group in groups if group.status is RunStatus.DEAD)
    if not dead:
        return ok("dead-runs", "no run is dead")
    verb = "is" if dead == 1 else "are"
    return warning(
        "dead-runs",
        f"{count(dead, 'run')} {verb} dead",
        "see `operon runs list --status dead` and `operon runs explain ID`; mend the "
        "cause, then `operon runs resume ID`",
    )
