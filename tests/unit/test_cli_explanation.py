"""The one sentence of `operon runs explain`, for every way a run can stand."""

from dataclasses import replace
from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest

from operon.cli.explanation import explain
from operon.status import RunStatus
from operon.store.explain import Facts
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
    executor=None,
    error=None,
    cancel_requested_at=None,
    due_at=ago(minutes=2),
    created_at=ago(minutes=2),
    started_at=None,
    finished_at=None,
    now=NOW,
    history=(),
    pending=None,
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
        "order-42 waits in queue 'default' until 15:05:01 UTC (in 3 h); "
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
            "knows workflow 'Checkout' version 1, for none is launched",
        ),
        (
            (replace(EXECUTOR, workflows=[["Checkout", 2]]),),
            "no live executor knows workflow 'Checkout' version 1",
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


def test_a_waiting_run_holds_no_thread():
    sentence = said(RUNNING, status=RunStatus.WAITING, due_at=NOW + timedelta(days=30))

    assert sentence == (
        "order-42 waits at position 1, holding no thread, until 2030-06-05 12:05:01 "
        "UTC (in 30 d)"
    )


def test_a_succeeded_run_says_when():
    assert said(ENDED, status=RunStatus.SUCCEEDED) == (
        "order-42 succeeded at 12:04:59 UTC after 1 operation"
    )


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
    assert said(ENDED, status=status).startswith("order-42 ")
