"""One sentence on why a run has, or has not, come to its end.

Pure functions over what was read: they ask neither the database nor the time.
"""

import shlex
from collections.abc import Callable
from collections.abc import Mapping
from datetime import timedelta

from operon.cli.wording import count
from operon.cli.wording import moment
from operon.cli.wording import span
from operon.status import RunStatus
from operon.store.explain import Facts
from operon.store.explain import Pending
from operon.store.explain import Recorded
from operon.store.explain import Seen


def explain(run: Facts, lease: timedelta) -> str:
    """Return the sentence on *run*; an executor silent for *lease* is not live."""
    return f"{run.id} {_SENTENCES[run.status](run, lease)}"


def is_live(executor: Seen, run: Facts, lease: timedelta) -> bool:
    """Tell whether *executor* gave a sign of life within *lease*."""
    return run.now - executor.heartbeat_at <= lease


def _enqueued(run: Facts, lease: timedelta) -> str:
    return _joined(_queued(run), _claimable(run, lease), _attempts(run), _cancel(run))


def _queued(run: Facts) -> str:
    at = moment(run.due_at, now=run.now)
    if run.due_at > run.now:
        return (
            f"waits in queue {run.queue!r} until {at} (in {span(run.due_at - run.now)})"
        )
    return f"waits in queue {run.queue!r} since {at} ({span(run.now - run.due_at)})"


def _claimable(run: Facts, lease: timedelta) -> str:
    """Say who could claim an enqueued run, or why nobody can."""
    knowing = _knowing(run, lease)
    serving = [each for each in knowing if run.queue in each.queues]
    if not _launched(run, lease):
        none = "for none is launched: start one with `operon executor`"
        return f"no live executor knows {_workflow(run)}, {none}"
    if not knowing:
        return f"no live executor knows {_workflow(run)}"
    if not serving:
        return f"no live executor that knows {_workflow(run)} serves that queue"
    when = "then" if run.due_at > run.now else "once a thread is free"
    return f"{count(len(serving), 'live executor')} can claim it {when}"


def _launched(run: Facts, lease: timedelta) -> list[Seen]:
    """Return the live executors that claim runs at all."""
    return [each for each in run.executors if each.queues and is_live(each, run, lease)]


def _knowing(run: Facts, lease: timedelta) -> list[Seen]:
    """Return those of them that know the run's workflow and version."""
    key = run.workflow, run.version
    return [each for each in _launched(run, lease) if each.knows(*key)]


def _running(run: Facts, lease: timedelta) -> str:
    holder = next((each for each in run.executors if each.id == run.executor), None)
    if holder is None:
        lost = f"is running on executor {run.executor}, which has no heartbeat any more"
        return f"{lost}: {_takeover(run, lease)}"
    if not is_live(holder, run, lease):
        age = span(run.now - holder.heartbeat_at)
        lost = f"is running on executor {_name(holder)} whose heartbeat is {age} old"
        return f"{lost}: {_takeover(run, lease)}"
    since = moment(run.started_at or run.created_at, now=run.now)
    where = f"is running on executor {_name(holder)} since {since}, at position "
    at = f"{where}{len(run.history) + 1}, {_progress(run)}"
    return _joined(at, _attempts(run), _cancel(run))


def _takeover(run: Facts, lease: timedelta) -> str:
    fate = "it will be taken over by any launched executor"
    if _knowing(run, lease):
        return fate
    return f"{fate} that knows {_workflow(run)}, but none is live"


def _progress(run: Facts) -> str:
    if not run.history:
        return "no checkpoint yet"
    last = run.history[-1]
    return f"last checkpoint {last.name!r} {span(run.now - last.finished_at)} ago"


def _attempts(run: Facts) -> str:
    """Say what failed at the position that is to be filled next, if anything."""
    pending = run.pending
    if pending is None:
        return ""
    failed = f"{_operation(pending)} failed {count(pending.failed, 'time')}"
    return (
        f"{failed}, last with {_clause(pending.error)}, {_next_attempt(run, pending)}"
    )


def _next_attempt(run: Facts, pending: Pending) -> str:
    if pending.next_at is None:
        return "an operator asked for the next attempt"
    if pending.next_at <= run.now:
        return "the next attempt is due"
    left = span(pending.next_at - run.now)
    return f"next attempt at {moment(pending.next_at, now=run.now)} (in {left})"


def _cancel(run: Facts) -> str:
    """Say that a cancel is under way, if one is."""
    asked = run.cancel_requested_at
    if asked is None:
        return ""
    age = span(run.now - asked)
    requested = f"a cancel was requested at {moment(asked, now=run.now)} ({age} ago)"
    delivered = next((each for each in run.history if each.kind == "cancel"), None)
    if delivered is None:
        return f"{requested}, its body learns of it at the next operation"
    return f"{requested} and delivered at position {delivered.position}"


def _waiting(run: Facts, lease: timedelta) -> str:
    del lease
    until = moment(run.due_at, now=run.now)
    waits = f"waits at position {len(run.history) + 1}, holding no thread"
    if run.due_at > run.now:
        waits = f"{waits}, until {until} (in {span(run.due_at - run.now)})"
    return _joined(waits, _cancel(run))


def _succeeded(run: Facts, lease: timedelta) -> str:
    del lease
    return f"succeeded {_ended(run)} after {count(len(run.history), 'operation')}"


def _failed(run: Facts, lease: timedelta) -> str:
    del lease
    raised = _clause(run.error or "an error that was not recorded")
    failed = [each for each in run.history if each.error is not None]
    if not failed:
        how = f"`{_command(run, 'retry')}` runs it again from its history"
        return f"failed {_ended(run)}: its body raised {raised}; {how}"
    last = failed[-1]
    what = f"{_operation(last)} raised {_clause(last.error or '')}"
    if last.error != run.error:
        what = f"{what}, then its body raised {raised}"
    ended = moment(run.finished_at or run.now, now=run.now)
    fact = f"failed at position {last.position} ({ended}): {what}"
    return f"{fact}; {_redo(run, last)}"


def _redo(run: Facts, last: Recorded) -> str:
    """Say how a run whose *last* failed operation is known can go on."""
    later = [each for each in run.history if each.position > last.position]
    if not later:
        return f"`{_command(run, 'retry')}` redoes it"
    names = ", ".join(repr(each.name) for each in later)
    command = f"{_command(run, 'fork')} --from-position {last.position}"
    return f"it went on with {names} after that, so only `{command}` redoes it"


def _cancelled(run: Facts, lease: timedelta) -> str:
    del lease
    delivered = next((each for each in run.history if each.kind == "cancel"), None)
    if delivered is not None:
        how = f"the cancel was delivered at position {delivered.position}"
        return f"was cancelled {_ended(run)}: {how}, and its body ended"
    how = "by force" if run.cancel_requested_at is None else "as requested"
    if run.started_at is None:
        how = "before it began"
    return f"was cancelled {how} {_ended(run)}; {_resume(run)}"


def _dead(run: Facts, lease: timedelta) -> str:
    del lease
    reason = _clause(run.error or "no reason was recorded")
    return (
        f"is dead {_ended(run, 'since')}: {reason}; mend the cause, then {_resume(run)}"
    )


def _resume(run: Facts) -> str:
    return f"`{_command(run, 'resume')}` continues it"


def _command(run: Facts, verb: str) -> str:
    return f"operon runs {verb} {shlex.quote(run.id)}"


def _ended(run: Facts, word: str = "at") -> str:
    return f"{word} {moment(run.finished_at or run.now, now=run.now)}"


def _workflow(run: Facts) -> str:
    return f"workflow {run.workflow!r} version {run.version}"


def _operation(operation: Recorded | Pending) -> str:
    return f"{operation.kind} {operation.name!r}"


def _name(executor: Seen) -> str:
    return f"{executor.id} ({executor.host} pid {executor.pid})"


def _joined(*parts: str) -> str:
    """Return the *parts* that say something as one."""
    return "; ".join(part for part in parts if part)


def _clause(text: str) -> str:
    """Return *text* so that a sentence can go on after it."""
    return " ".join(text.split()).rstrip(".")


_SENTENCES: Mapping[RunStatus, Callable[[Facts, timedelta], str]] = {
    RunStatus.ENQUEUED: _enqueued,
    RunStatus.RUNNING: _running,
    RunStatus.WAITING: _waiting,
    RunStatus.SUCCEEDED: _succeeded,
    RunStatus.FAILED: _failed,
    RunStatus.CANCELLED: _cancelled,
    RunStatus.DEAD: _dead,
}
