"""What the sentences on a run have in common: their clauses.

Pure functions over what was read: they ask neither the database nor the time.
"""

import shlex
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta

from operon.cli.output import visible
from operon.cli.wording import count
from operon.cli.wording import moment
from operon.cli.wording import span
from operon.store.deadlines import by_deadline
from operon.store.explain import Facts
from operon.store.explain import Pending
from operon.store.explain import Recorded
from operon.store.explain import Seen


def is_live(executor: Seen, run: Facts, lease: timedelta) -> bool:
    """Tell whether *executor* gave a sign of life within *lease*."""
    return run.now - executor.heartbeat_at <= lease


def launched(run: Facts, lease: timedelta) -> list[Seen]:
    """Return the live executors that claim runs at all."""
    return [each for each in run.executors if each.queues and is_live(each, run, lease)]


def knowing(run: Facts, lease: timedelta) -> list[Seen]:
    """Return those of them that know the run's workflow and version."""
    key = run.workflow, run.version
    return [each for each in launched(run, lease) if each.knows(*key)]


def nobody(run: Facts, lease: timedelta) -> str:
    """Say that nobody can execute the run, if so."""
    there = launched(run, lease)
    if not there:
        none = "for none is launched: start one with `operon executor`"
        return f"no live executor knows {workflow(run)}, {none}{_unless(run, lease)}"
    if knowing(run, lease):
        return ""
    others = {
        int(version)
        for each in there
        for name, version in each.workflows
        if name == run.workflow
    }
    only = f", only version {' and '.join(map(str, sorted(others)))}" if others else ""
    return f"no live executor knows {workflow(run)}{only}{_unless(run, lease)}"


def _unless(run: Facts, lease: timedelta) -> str:
    """Say that somebody who is not launched may execute the run all the same."""
    key = run.workflow, run.version
    callers = (each for each in run.executors if not each.queues and each.knows(*key))
    if not any(is_live(each, run, lease) for each in callers):
        return ""
    return ", unless a caller waits for it in operon.run"


def attempts(run: Facts) -> str:
    """Say what failed at the position that is to be filled next, if anything."""
    pending = run.pending
    if pending is None:
        return ""
    failed = f"{operation(pending)} {failures(pending)}"
    return f"{failed}, {_next_attempt(run, pending)}"


def failures(pending: Pending) -> str:
    """Say how often an operation failed, and with what."""
    times = count(pending.failed, "time")
    return f"failed {times}, last with {clause(pending.error)}"


def _next_attempt(run: Facts, pending: Pending) -> str:
    if pending.next_at is None:
        return "an operator asked for the next attempt"
    if pending.next_at <= run.now:
        return "the next attempt is due"
    return f"next attempt at {then(run, pending.next_at)}"


def ending(run: Facts) -> str:
    """Say who wants a live run to end, and by when, if anybody does."""
    asked, deadline = run.cancel_requested_at, run.deadline_at
    if asked is not None and by_deadline(asked, deadline):
        return _told(run, f"its deadline passed at {ago(run, deadline or asked)}")
    if asked is not None:
        return _told(run, f"a cancel was requested at {ago(run, asked)}")
    if deadline is None:
        return ""
    if deadline > run.now:
        return f"deadline at {then(run, deadline)}"
    return f"its deadline passed at {ago(run, deadline)}, any executor tells it to end"


def _told(run: Facts, fact: str) -> str:
    told = delivered(run)
    if told is None:
        return f"{fact}, its body learns of it at the next operation"
    return f"{fact} and delivered at position {told.position}"


def delivered(run: Facts) -> Recorded | None:
    """Return where the body was told to end, if it was."""
    return next((each for each in run.history if each.kind == "cancel"), None)


def then(run: Facts, at: datetime) -> str:
    """Say when something will be, and in how long."""
    return f"{on(run, at)} (in {span(at - run.now)})"


def ago(run: Facts, at: datetime) -> str:
    """Say when something was, and how long ago."""
    return f"{on(run, at)} ({span(run.now - at)} ago)"


def on(run: Facts, at: datetime) -> str:
    """Say when something is."""
    return moment(at, now=run.now)


def command(run: Facts, verb: str) -> str:
    """Return what to type to do something to the run."""
    return f"operon runs {verb} {shlex.quote(run.id)}"


def workflow(run: Facts) -> str:
    """Say what the run is a run of."""
    return f"workflow {run.workflow!r} version {run.version}"


def operation(named: Recorded | Pending) -> str:
    """Say which operation is meant."""
    return f"{named.kind} {named.name!r}"


def named(executor: Seen) -> str:
    """Say which process is meant."""
    return f"{executor.id} ({executor.host} pid {executor.pid})"


def quoted(text: str | None) -> str:
    """Return a topic or key as its sender wrote it, in quotes."""
    return f'"{visible(text or "")}"'


def joined(*parts: str) -> str:
    """Return the *parts* that say something as one."""
    return "; ".join(part for part in parts if part)


def listed(names: Sequence[str]) -> str:
    """Return *names* one after the other."""
    return ", ".join(map(repr, names))


def clause(text: str) -> str:
    """Return *text* so that a sentence can go on after it."""
    return " ".join(text.split()).rstrip(".")
