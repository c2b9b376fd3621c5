"""The one sentence of `operon runs explain`, for every way a run can stand."""

from dataclasses import replace
from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest

from operon.cli.explanation import explain
from operon.queue import Queue
from operon.queue import Rate
from operon.status import RunStatus
from operon.store.explain import Awaited
from operon.store.explain import Facts
from operon.store.explain import Line
from operon.store.explain import Pending
from operon.store.explain import Recorded
from operon.store.explain import Seen

NOW = datetime(2030, 5, 6, 12, 5, 1, tzinfo=UTC)
LEASE = timedelta(seconds=10)


def ago(**duration):
    return NOW - timedelta(**duration)


EXECUTOR = Seen(
    id="e1",
    host="web-1",
    pid=42,
    workflows=[["Checkout", 1]],
    queues=["default"],
    heartbeat_at=ago(seconds=1),
)
RUN = Facts(
    id="order-42",
    workflow="Checkout",
    version=1,
    status=RunStatus.ENQUEUED,
    queue="default",
    partition=None,
    executor=None,
    error=None,
    cancel_requested_at=None,
    due_at=ago(minutes=2),
    deadline_at=None,
    created_at=ago(minutes=2),
    started_at=None,
    finished_at=None,
    continued_as=None,
    newest="order-42",
    now=NOW,
    history=(),
    pending=None,
    awaited=None,
    line=None,
    executors=(EXECUTOR,),
)
RESERVED = Recorded(
    position=1, kind="step", name="reserve", error=None, finished_at=ago(seconds=4)
)
DECLINED = Recorded(
    position=2,
    kind="activity",
    name="charge",
    error="PaymentDeclined: no money",
    finished_at=ago(seconds=3),
)
RELEASED = replace(RESERVED, position=3, name="release")
CANCELLED = replace(RESERVED, position=2, kind="cancel", name="cancel")
RUNNING = replace(
    RUN, status=RunStatus.RUNNING, executor="e1", started_at=ago(minutes=1)
)
ENDED = replace(RUNNING, finished_at=ago(seconds=2), history=[RESERVED])
TRIED = Pending(
    position=1,
    kind="step",
    name="reserve",
    failed=2,
    error="OSError: away.",
    next_at=NOW + timedelta(seconds=5),
)


def said(run, **changes):
    return explain(replace(run, **changes), LEASE)


def test_an_enqueued_run_says_who_can_claim_it():
    assert said(RUN) == (
        "order-42 waits in queue 'default' since 12:03:01 UTC (2 min); "
        "1 live executor can claim it once a thread is free"
    )


def test_a_run_that_is_not_due_says_when():
    assert said(RUN, due_at=NOW + timedelta(hours=3)) == (
        "order-42 waits in queue 'default', deferred until 15:05:01 UTC (in 3 h); "
        "1 live executor can claim it then"
    )


def test_a_moment_of_another_day_says_its_day():
    assert "since 2030-05-03 12:05:01 UTC (3 d)" in said(RUN, due_at=ago(days=3))


@pytest.mark.parametrize(
    ("executors", "expected"),
    [
        ((), "knows workflow 'Checkout' version 1, for none is launched"),
        (
            (replace(EXECUTOR, heartbeat_at=ago(seconds=45)),),
            "knows workflow 'Checkout' version 1, for none is launched",
        ),
        (
            (replace(EXECUTOR, queues=[]),),
            "`operon executor`, unless a caller waits for it in operon.run",
        ),
        (
            (replace(EXECUTOR, workflows=[["Checkout", 2]]),),
            "no live executor knows workflow 'Checkout' version 1, only version 2",
        ),
        (
            (replace(EXECUTOR, queues=["mail"]),),
            "that knows workflow 'Checkout' version 1 serves that queue",
        ),
    ],
    ids=["none", "silent", "not launched", "other version", "other queue"],
)
def test_an_enqueued_run_says_why_nobody_can_claim_it(executors, expected):
    assert expected in said(RUN, executors=executors)


def test_an_operators_retry_is_told_apart_from_a_planned_attempt():
    sentence = said(RUN, pending=replace(TRIED, failed=1, next_at=None))

    assert sentence.endswith(
        "step 'reserve' failed 1 time, last with OSError: away, "
        "an operator asked for the next attempt"
    )


def test_a_running_run_says_where_and_how_far():
    assert said(RUNNING, history=[RESERVED, replace(DECLINED, error=None)]) == (
        "order-42 is running on executor e1 (web-1 pid 42) since 12:04:01 UTC, "
        "at position 3, last checkpoint 'charge' 3 s ago"
    )


def test_a_running_run_without_history_says_so():
    assert said(RUNNING).endswith("at position 1, no checkpoint yet")


def test_a_running_run_says_what_failed_and_when_it_is_tried_again():
    assert said(RUNNING, pending=TRIED).endswith(
        "; step 'reserve' failed 2 times, last with OSError: away, "
        "next attempt at 12:05:06 UTC (in 5 s)"
    )


def test_an_attempt_under_way_is_due():
    sentence = said(RUNNING, pending=replace(TRIED, next_at=ago(seconds=1)))

    assert sentence.endswith("the next attempt is due")


def test_a_silent_executor_loses_its_run_to_a_launched_one():
    silent = replace(EXECUTOR, heartbeat_at=ago(seconds=45))
    other = replace(EXECUTOR, id="e2")

    assert said(RUNNING, executors=[silent, other]) == (
        "order-42 is running on executor e1 (web-1 pid 42) whose heartbeat is 45 s "
        "old: it will be taken over by any launched executor"
    )
    assert said(RUNNING, executors=[silent]).endswith(
        "any launched executor that knows workflow 'Checkout' version 1, but none is "
        "live"
    )


def test_an_executor_that_has_left_loses_its_run():
    other = replace(EXECUTOR, id="e2")

    assert said(RUNNING, executors=[other]) == (
        "order-42 is running on executor e1, which has no heartbeat any more: "
        "it will be taken over by any launched executor"
    )


def test_a_requested_cancel_is_told():
    assert said(RUNNING, cancel_requested_at=ago(seconds=3)).endswith(
        "; a cancel was requested at 12:04:58 UTC (3 s ago), its body learns of it at "
        "the next operation"
    )


def test_a_delivered_cancel_is_told():
    sentence = said(
        RUNNING, cancel_requested_at=ago(seconds=3), history=[RESERVED, CANCELLED]
    )

    assert sentence.endswith("(3 s ago) and delivered at position 2")


LINE = Line(queue=Queue("emails"), paused_at=None, running={}, begun=())
QUEUED = replace(
    RUN, queue="emails", line=LINE, executors=[replace(EXECUTOR, queues=["emails"])]
)


def lined(run=QUEUED, *, executors=QUEUED.executors, paused_at=None, **line):
    """Return what is said after where the run waits."""
    line = replace(LINE, paused_at=paused_at, **line)
    return said(run, line=line, executors=executors).partition("; ")[2]


def test_a_run_in_a_paused_queue_says_how_it_goes_on():
    paused = ago(minutes=1)

    assert lined(paused_at=paused) == (
        "that queue is paused since 12:04:01 UTC: `operon queues resume emails` lets "
        "it go on"
    )
    assert lined(paused_at=paused, executors=()).endswith(
        "; no live executor knows workflow 'Checkout' version 1, for none is launched: "
        "start one with `operon executor`"
    )


def test_a_run_behind_a_concurrency_limit_says_how_many_run():
    queue = Queue("emails", concurrency=3)

    assert lined(queue=queue, running={"e1": 2, "e2": 1}) == (
        "that queue is at its concurrency limit (3 running)"
    )
    assert lined(queue=queue, running={"e1": 2}).startswith("1 live executor can claim")


def test_a_run_in_a_partition_says_which():
    run = replace(QUEUED, partition="tenant-1")
    queue = Queue("emails", concurrency=1, partitioned=True)

    assert lined(run, queue=queue, running={"e1": 1}) == (
        "that partition is at its concurrency limit (1 running)"
    )
    assert said(run).startswith(
        "order-42 waits in queue 'emails', partition 'tenant-1', since 12:03:01 UTC"
    )
    assert said(run, due_at=NOW + timedelta(hours=3)).startswith(
        "order-42 waits in queue 'emails', partition 'tenant-1', deferred until 15:05"
    )


def test_a_limit_of_executors_holds_a_run_only_if_every_one_has_reached_it():
    queue = Queue("emails", per_executor=2)
    one = QUEUED.executors[0]

    assert lined(queue=queue, running={"e1": 2}) == (
        "that queue is at its limit for each executor (2 running) on 1 live executor"
    )
    assert lined(
        queue=queue, running={"e1": 2}, executors=[one, replace(one, id="e2")]
    ).startswith("2 live executors can claim")


def test_a_run_behind_a_rate_says_when_the_next_may_begin():
    queue = Queue("emails", rate=Rate(3, timedelta(minutes=1)))
    begun = [(ago(minutes=2), 5), (ago(seconds=40), 2), (ago(seconds=10), 1)]

    assert lined(queue=queue, begun=begun) == (
        "that queue is at its rate limit (3 in 1 min), free again at 12:05:21 UTC "
        "(in 20 s)"
    )
    assert "can claim it" in lined(queue=queue, begun=begun[:2])
    again = replace(QUEUED, started_at=ago(minutes=1))
    assert "can claim it" in lined(again, queue=queue, begun=begun)


WAITING = replace(
    RUNNING, status=RunStatus.WAITING, executor=None, history=[RESERVED, RELEASED]
)
AWAITED = Awaited(
    kind="receive",
    on="order-42",
    key="approved",
    position=3,
    until=None,
    is_over=False,
    status=None,
)
TOMORROW = NOW + timedelta(days=1)


def awaiting(run=WAITING, **awaited):
    pending = awaited.pop("pending", None)
    return said(run, awaited=replace(AWAITED, **awaited), pending=pending)


def test_a_run_that_waits_for_a_message_says_since_its_last_operation():
    assert awaiting() == (
        'order-42 waits for message "approved" since 12:04:57 UTC (4 s)'
    )
    assert awaiting(until=TOMORROW) == (
        'order-42 waits for message "approved" since 12:04:57 UTC '
        "(timeout at 2030-05-07 12:05:01 UTC)"
    )
    assert "since 12:04:01 UTC (1 min)" in awaiting(replace(WAITING, history=()))


def test_a_wait_of_a_later_release_is_told_without_its_kind():
    assert awaiting(kind="tide") == "order-42 waits, holding no thread"


def test_a_topic_cannot_move_the_cursor():
    assert 'message "a\\x1b[2J"' in awaiting(key="a\x1b[2J")


def test_a_run_that_waits_for_an_event_says_whose():
    assert awaiting(kind="event", on="order-7", key="k").startswith(
        'order-42 waits for event "k" of run order-7 since '
    )


def test_a_run_that_waits_for_a_result_says_where_the_other_run_stands():
    assert awaiting(kind="result", on="child", status=RunStatus.RUNNING).startswith(
        "order-42 waits for the result of run child, which is running, since "
    )
    assert ", which does not exist any more, since " in awaiting(kind="result")


def test_a_sleeping_run_says_until_when():
    assert awaiting(kind="sleep", until=TOMORROW) == (
        "order-42 sleeps until 2030-05-07 12:05:01 UTC (in 1 d)"
    )


def test_a_run_that_waits_for_an_attempt_says_which_and_what_failed():
    charge = replace(
        TRIED, kind="activity", name="charge", next_at=NOW + timedelta(minutes=5)
    )

    assert awaiting(kind="retry", pending=charge) == (
        "order-42 waits for the next attempt of activity 'charge' at 12:10:01 UTC "
        "(in 5 min), failed 2 times, last with OSError: away"
    )
    assert awaiting(kind="retry", until=TOMORROW) == (
        "order-42 waits for the next attempt of an operation at "
        "2030-05-07 12:05:01 UTC (in 1 d)"
    )


def test_a_run_whose_wait_is_over_says_who_wakes_it():
    woken = replace(WAITING, executors=[replace(EXECUTOR, workflows=[])])
    asleep = replace(WAITING, executors=())

    assert awaiting(is_over=True).endswith(
        "; its wait is over, any launched executor puts it back into its queue"
    )
    assert awaiting(woken, is_over=True).endswith(
        "back into its queue; no live executor knows workflow 'Checkout' version 1"
    )
    assert awaiting(asleep, is_over=True).endswith(
        "; its wait is over, but no live executor knows workflow 'Checkout' version 1, "
        "for none is launched: start one with `operon executor`"
    )


def test_a_waiting_run_that_nobody_knows_says_so_before_its_wait_is_over():
    assert awaiting(replace(WAITING, executors=())).count("; no live executor") == 1


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.ENQUEUED])
def test_a_live_run_says_its_deadline(status):
    run = replace(RUNNING, status=status)

    assert said(run, deadline_at=NOW + timedelta(hours=1)).endswith(
        "; deadline at 13:05:01 UTC (in 1 h)"
    )
    assert said(run, deadline_at=ago(seconds=3)).endswith(
        "; its deadline passed at 12:04:58 UTC (3 s ago), any executor tells it to end"
    )


def test_a_deadline_that_was_told_is_no_cancel():
    late = replace(RUNNING, deadline_at=ago(seconds=4))

    assert said(late, cancel_requested_at=ago(seconds=3)).endswith(
        "; its deadline passed at 12:04:57 UTC (4 s ago), its body learns of it at the "
        "next operation"
    )
    assert "a cancel was requested" in said(late, cancel_requested_at=ago(seconds=9))


def test_a_succeeded_run_says_when():
    assert said(ENDED, status=RunStatus.SUCCEEDED) == (
        "order-42 succeeded at 12:04:59 UTC after 1 operation"
    )


def test_a_run_that_continued_says_as_which():
    continued = replace(ENDED, status=RunStatus.SUCCEEDED, continued_as="order-42~2")

    assert said(continued, newest="order-42~2") == (
        "order-42 continued as order-42~2 at 12:04:59 UTC after 1 operation"
    )
    assert said(continued, newest="order-42~9").endswith(
        "; the last of its chain is order-42~9"
    )


def test_a_run_that_missed_its_deadline_says_how():
    late = replace(
        ENDED,
        status=RunStatus.FAILED,
        deadline_at=ago(seconds=4),
        cancel_requested_at=ago(seconds=3),
    )
    cure = "; start the work under another id, with a longer timeout"

    assert said(late, history=[RESERVED, CANCELLED]) == (
        "order-42 failed at 12:04:59 UTC: its deadline passed at 12:04:57 UTC, which "
        f"its body was told at position 2{cure}"
    )
    assert said(late, started_at=None).endswith(f", before it began{cure}")


FAILED = replace(
    ENDED,
    status=RunStatus.FAILED,
    error=DECLINED.error,
    history=[RESERVED, DECLINED],
)


def test_a_run_that_failed_with_its_last_operation_can_be_retried():
    assert said(FAILED) == (
        "order-42 failed at position 2 (12:04:59 UTC): activity 'charge' raised "
        "PaymentDeclined: no money; `operon runs retry order-42` redoes it"
    )


def test_a_run_that_compensated_can_only_be_forked():
    assert said(FAILED, history=[RESERVED, DECLINED, RELEASED]).endswith(
        "; it went on with 'release' after that, so only "
        "`operon runs fork order-42 --from-position 2` redoes it"
    )


def test_an_error_of_the_body_after_a_failed_operation_is_told_too():
    assert "no money, then its body raised Refused: sorry; " in said(
        FAILED, error="Refused: sorry."
    )


def test_a_body_that_raised_by_itself_runs_again_from_its_history():
    assert said(FAILED, history=[RESERVED], error="KeyError: 'x'") == (
        "order-42 failed at 12:04:59 UTC: its body raised KeyError: 'x'; "
        "`operon runs retry order-42` runs it again from its history"
    )


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({"started_at": None, "history": []}, "before it began"),
        ({}, "by force"),
        ({"cancel_requested_at": ago(seconds=3)}, "as requested"),
    ],
)
def test_a_cancelled_run_says_how_it_can_go_on(changes, how):
    assert said(ENDED, status=RunStatus.CANCELLED, **changes) == (
        f"order-42 was cancelled {how} at 12:04:59 UTC; "
        "`operon runs resume order-42` continues it"
    )


def test_a_run_whose_body_learned_of_the_cancel_cannot_go_on():
    sentence = said(
        ENDED, status=RunStatus.CANCELLED, history=[RESERVED, CANCELLED, RELEASED]
    )

    assert sentence == (
        "order-42 was cancelled at 12:04:59 UTC: the cancel was delivered at position "
        "2, and its body ended"
    )


def test_a_dead_run_says_why_and_what_to_do():
    assert said(ENDED, status=RunStatus.DEAD, error="its history has a hole.") == (
        "order-42 is dead since 12:04:59 UTC: its history has a hole; mend the cause, "
        "then `operon runs resume order-42` continues it"
    )


def test_an_id_is_quoted_where_it_is_to_be_pasted():
    assert "`operon runs retry 'order 42'` redoes it" in said(FAILED, id="order 42")


@pytest.mark.parametrize("status", list(RunStatus))
def test_every_status_has_a_sentence(status):
    sentence = said(ENDED, status=status, awaited=AWAITED)

    assert sentence.startswith("order-42 ")
