"""Why a run that is enqueued, or waits, does not go on: in words.

Pure functions over what was read: they ask neither the database nor the time.
"""

import shlex
from collections.abc import Callable
from collections.abc import Mapping
from datetime import timedelta

from operon.cli import clauses
from operon.cli.clauses import on
from operon.cli.clauses import then
from operon.cli.wording import count
from operon.cli.wording import span
from operon.queue import Rate
from operon.store.explain import Awaited
from operon.store.explain import Facts
from operon.store.explain import Line
from operon.store.explain import Seen


def enqueued(run: Facts, lease: timedelta) -> str:
    """Say where an enqueued run stands, and what holds it back."""
    return clauses.joined(
        _queued(run),
        _paused(run),
        _claimable(run, lease),
        clauses.attempts(run),
        clauses.ending(run),
    )


def waiting(run: Facts, lease: timedelta) -> str:
    """Say what a waiting run waits for."""
    awaited = run.awaited
    if awaited is None or awaited.kind not in _WAITS:  # of a later release
        return clauses.joined("waits, holding no thread", clauses.ending(run))
    return clauses.joined(
        _WAITS[awaited.kind](run, awaited),
        _over(run, awaited, lease),
        clauses.ending(run),
    )


def _queued(run: Facts) -> str:
    where, partition = f"in queue {run.queue!r}", ""
    if run.partition is not None:
        partition = f", partition {run.partition!r},"
    if run.due_at > run.now:
        where = f"{where}{partition.rstrip(',')}"
        return f"waits {where}, deferred until {then(run, run.due_at)}"
    since = f"since {on(run, run.due_at)} ({span(run.now - run.due_at)})"
    return f"waits {where}{partition} {since}"


def _paused(run: Facts) -> str:
    if run.line is None or run.line.paused_at is None:
        return ""
    since = on(run, run.line.paused_at)
    resume = f"`operon queues resume {shlex.quote(run.queue)}` lets it go on"
    return f"that queue is paused since {since}: {resume}"


def _claimable(run: Facts, lease: timedelta) -> str:
    """Say who could claim an enqueued run, or why nobody can."""
    knowing = clauses.knowing(run, lease)
    serving = [each for each in knowing if run.queue in each.queues]
    if not knowing:
        return clauses.nobody(run, lease)
    if not serving:
        workflow = clauses.workflow(run)
        return f"no live executor that knows {workflow} serves that queue"
    if run.line is not None and run.line.paused_at is not None:
        return ""
    limit = "" if run.line is None else _limit(run, run.line, serving)
    if limit:
        return limit
    when = "then" if run.due_at > run.now else "once a thread is free"
    return f"{count(len(serving), 'live executor')} can claim it {when}"


def _limit(run: Facts, line: Line, serving: list[Seen]) -> str:
    """Say which limit of its queue holds the run back, if one does."""
    queue, running = line.queue, sum(line.running.values())
    which = "that partition" if run.partition is not None else "that queue"
    if queue.concurrency is not None and running >= queue.concurrency:
        return f"{which} is at its concurrency limit ({running} running)"
    each_at_most = queue.per_executor
    if each_at_most is not None and all(
        line.running.get(each.id, 0) >= each_at_most for each in serving
    ):
        limit = f"its limit for each executor ({each_at_most} running)"
        return f"{which} is at {limit} on {count(len(serving), 'live executor')}"
    if queue.rate is None or run.started_at is not None:
        return ""
    return _rate(run, line, queue.rate, which)


def _rate(run: Facts, line: Line, rate: Rate, which: str) -> str:
    recent = [each for each in line.begun if each[0] > run.now - rate.period]
    if sum(number for _, number in recent) < rate.limit:
        return ""
    left = rate.limit
    for at, number in reversed(recent):  # the claim that has to be forgotten first
        left -= number
        if left <= 0:
            free = then(run, at + rate.period)
            limit = f"{rate.limit} in {span(rate.period)}"
            return f"{which} is at its rate limit ({limit}), free again at {free}"
    return ""


def _receive(run: Facts, awaited: Awaited) -> str:
    return f"waits for message {clauses.quoted(awaited.key)} {_since(run, awaited)}"


def _event(run: Facts, awaited: Awaited) -> str:
    which = f"event {clauses.quoted(awaited.key)} of run {awaited.on}"
    return f"waits for {which} {_since(run, awaited)}"


def _result(run: Facts, awaited: Awaited) -> str:
    stands = "does not exist any more"
    if awaited.status is not None:
        stands = f"is {awaited.status}"
    which = f"the result of run {awaited.on}, which {stands},"
    return f"waits for {which} {_since(run, awaited)}"


def _sleep(run: Facts, awaited: Awaited) -> str:
    if awaited.until is None:
        return "sleeps"
    if awaited.until > run.now:
        return f"sleeps until {then(run, awaited.until)}"
    return f"sleeps until {on(run, awaited.until)}"


def _retry(run: Facts, awaited: Awaited) -> str:
    pending = run.pending
    at = None if pending is None else pending.next_at
    at = at or awaited.until or run.now
    when = then(run, at) if at > run.now else on(run, at)
    if pending is None:
        return f"waits for the next attempt of an operation at {when}"
    what = f"the next attempt of {clauses.operation(pending)} at {when}"
    return f"waits for {what}, {clauses.failures(pending)}"


def _since(run: Facts, awaited: Awaited) -> str:
    """Say since when a run waits, and when it gives up.

    It waits since its last operation ended, or else since it began.
    """
    ended = [each.finished_at for each in run.history]
    began = max(ended, default=run.started_at or run.created_at)
    how_long = span(run.now - began)
    if awaited.until is not None:
        how_long = f"timeout at {on(run, awaited.until)}"
    return f"since {on(run, began)} ({how_long})"


def _over(run: Facts, awaited: Awaited, lease: timedelta) -> str:
    """Say what keeps a run asleep whose wait is over, or that nobody can go on."""
    if not awaited.is_over:
        return clauses.nobody(run, lease)
    over = "its wait is over"
    if not clauses.launched(run, lease):
        return f"{over}, but {clauses.nobody(run, lease)}"
    fate = f"{over}, any launched executor puts it back into its queue"
    return clauses.joined(fate, clauses.nobody(run, lease))


_WAITS: Mapping[str, Callable[[Facts, Awaited], str]] = {
    "receive": _receive,
    "event": _event,
    "result": _result,
    "sleep": _sleep,
    "retry": _retry,
}
