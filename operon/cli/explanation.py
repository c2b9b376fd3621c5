"""One sentence on why a run has, or has not, come to its end.

Pure functions over what was read: they ask neither the database nor the time.
"""

from collections.abc import Callable
from collections.abc import Mapping
from datetime import timedelta

from operon.cli import clauses
from operon.cli import delays
from operon.cli.clauses import clause
from operon.cli.clauses import command
from operon.cli.clauses import on
from operon.cli.wording import count
from operon.cli.wording import span
from operon.status import RunStatus
from operon.store.deadlines import by_deadline
from operon.store.explain import Facts
from operon.store.explain import Recorded


def explain(run: Facts, lease: timedelta) -> str:
    """Return the sentence on *run*; an executor silent for *lease* is not live."""
    return f"{run.id} {_SENTENCES[run.status](run, lease)}"


def _running(run: Facts, lease: timedelta) -> str:
    holder = next((each for each in run.executors if each.id == run.executor), None)
    if holder is None:
        lost = f"is running on executor {run.executor}, which has no heartbeat any more"
        return f"{lost}: {_takeover(run, lease)}"
    where = f"is running on executor {clauses.named(holder)}"
    if not clauses.is_live(holder, run, lease):
        age = span(run.now - holder.heartbeat_at)
        return f"{where} whose heartbeat is {age} old: {_takeover(run, lease)}"
    since = on(run, run.started_at or run.created_at)
    position = len(run.history) + 1
    at = f"{where} since {since}, at position {position}, {_progress(run)}"
    return clauses.joined(at, clauses.attempts(run), clauses.ending(run))


def _takeover(run: Facts, lease: timedelta) -> str:
    fate = "it will be taken over by any launched executor"
    if clauses.knowing(run, lease):
        return fate
    return f"{fate} that knows {clauses.workflow(run)}, but none is live"


def _progress(run: Facts) -> str:
    if not run.history:
        return "no checkpoint yet"
    last = run.history[-1]
    return f"last checkpoint {last.name!r} {span(run.now - last.finished_at)} ago"


def _succeeded(run: Facts, lease: timedelta) -> str:
    del lease
    after = f"{_ended(run)} after {count(len(run.history), 'operation')}"
    if run.continued_as is None:
        return f"succeeded {after}"
    goes_on = f"continued as {run.continued_as} {after}"
    if run.newest in {run.id, run.continued_as}:
        return goes_on
    return f"{goes_on}; the last of its chain is {run.newest}"


def _failed(run: Facts, lease: timedelta) -> str:
    del lease
    if by_deadline(run.cancel_requested_at, run.deadline_at):
        return _timed_out(run)
    raised = clause(run.error or "an error that was not recorded")
    failed = [each for each in run.history if each.error is not None]
    if not failed:
        how = f"`{command(run, 'retry')}` runs it again from its history"
        return f"failed {_ended(run)}: its body raised {raised}; {how}"
    last = failed[-1]
    what = f"{clauses.operation(last)} raised {clause(last.error or '')}"
    if last.error != run.error:
        what = f"{what}, then its body raised {raised}"
    ended = on(run, run.finished_at or run.now)
    fact = f"failed at position {last.position} ({ended}): {what}"
    return f"{fact}; {_redo(run, last)}"


def _timed_out(run: Facts) -> str:
    """Say when the deadline of a run passed, and what became of it then."""
    passed = f"its deadline passed at {on(run, run.deadline_at or run.now)}"
    told = clauses.delivered(run)
    if told is not None:
        how = f"{passed}, which its body was told at position {told.position}"
    elif run.started_at is None:
        how = f"{passed}, before it began"
    else:
        how = passed
    cure = "start the work under another id, with a longer timeout"
    return f"failed {_ended(run)}: {how}; {cure}"


def _redo(run: Facts, last: Recorded) -> str:
    """Say how a run whose *last* failed operation is known can go on."""
    later = [each for each in run.history if each.position > last.position]
    if not later:
        return f"`{command(run, 'retry')}` redoes it"
    names = clauses.listed([each.name for each in later])
    fork = f"{command(run, 'fork')} --from-position {last.position}"
    return f"it went on with {names} after that, so only `{fork}` redoes it"


def _cancelled(run: Facts, lease: timedelta) -> str:
    del lease
    told = clauses.delivered(run)
    if told is not None:
        how = f"the cancel was delivered at position {told.position}"
        return f"was cancelled {_ended(run)}: {how}, and its body ended"
    how = "by force" if run.cancel_requested_at is None else "as requested"
    if run.started_at is None:
        how = "before it began"
    return f"was cancelled {how} {_ended(run)}; {_resume(run)}"


def _dead(run: Facts, lease: timedelta) -> str:
    del lease
    reason = clause(run.error or "no reason was recorded")
    ended = _ended(run, "since")
    return f"is dead {ended}: {reason}; mend the cause, then {_resume(run)}"


def _resume(run: Facts) -> str:
    return f"`{command(run, 'resume')}` continues it"


def _ended(run: Facts, word: str = "at") -> str:
    return f"{word} {on(run, run.finished_at or run.now)}"


_SENTENCES: Mapping[RunStatus, Callable[[Facts, timedelta], str]] = {
    RunStatus.ENQUEUED: delays.enqueued,
    RunStatus.RUNNING: _running,
    RunStatus.WAITING: delays.waiting,
    RunStatus.SUCCEEDED: _succeeded,
    RunStatus.FAILED: _failed,
    RunStatus.CANCELLED: _cancelled,
    RunStatus.DEAD: _dead,
}
