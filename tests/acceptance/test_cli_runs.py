"""`operon runs` on real databases, through click."""

import json
from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import insert
from sqlalchemy import update

from operon.cli import operon as command
from operon.codec import encode_error
from operon.errors import RunDeadError
from operon.models import Attempt
from operon.models import ExecutorRecord
from operon.models import WorkflowRun
from tests import shop


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No application and no database is named by this test's surroundings."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def invoke(*args, env=None):
    return CliRunner().invoke(command, list(map(str, args)), env=env)


@pytest.fixture
def runs(database):
    """`operon runs …` on the database of `operon`, which must succeed."""

    def invoke_runs(*args):
        finished = invoke("runs", *args, env={"OPERON_DATABASE_URL": database.url})
        assert finished.exit_code == 0, finished.output
        return finished.stdout

    return invoke_runs


def asked(runs, *args):
    return json.loads(runs(*args, "--json"))


def decline(operon, run_id):
    with pytest.raises(shop.PaymentDeclinedError):
        operon.run(shop.Checkout("book", card="declined"), id=run_id)


def change(operon, table, *where, **values):
    with operon.engine.begin() as connection:
        connection.execute(update(table).where(*where).values(values))


def ids(facts):
    return [fact["id"] for fact in facts]


def test_list_shows_the_newest_run_first(operon, runs):
    operon.run(shop.Checkout("book"), id="first")
    operon.start(shop.Checkout("pen"), id="second")

    header, *rows = runs("list").splitlines()

    assert header.split()[:4] == ["ID", "WORKFLOW", "VERSION", "STATUS"]
    assert [row.split()[0] for row in rows] == ["second", "first"]
    assert ids(asked(runs, "list")) == ["second", "first"]


def test_list_filters_by_status_workflow_attribute_and_limit(operon, runs):
    operon.run(shop.Checkout("book"), id="done", attributes={"tenant": "a", "n": 5})
    operon.start(shop.Checkout("book"), id="open", attributes={"tenant": "a", "n": "5"})
    operon.run(shop.ThreeSteps("book"), id="other")

    assert ids(asked(runs, "list", "--status", "succeeded")) == ["other", "done"]
    both = ("--status", "succeeded", "--status", "enqueued")
    assert ids(asked(runs, "list", *both)) == ["other", "open", "done"]
    assert ids(asked(runs, "list", "--workflow", "ThreeSteps")) == ["other"]
    assert ids(asked(runs, "list", "--attribute", "tenant=a")) == ["open", "done"]
    assert ids(asked(runs, "list", "--attribute", "n=5")) == ["done"]
    assert ids(asked(runs, "list", "--attribute", 'n="5"')) == ["open"]
    assert ids(asked(runs, "list", "--limit", "1")) == ["other"]


def test_list_filters_by_queue_and_time(operon, runs):
    operon.start(shop.Checkout("book"), id="early")
    operon.start(shop.Checkout("book"), id="late")
    noon = datetime(2030, 5, 6, 12, tzinfo=UTC)
    change(operon, WorkflowRun, WorkflowRun.id == "late", created_at=noon)
    change(operon, WorkflowRun, WorkflowRun.id == "early", queue="mail")

    assert ids(asked(runs, "list", "--queue", "mail")) == ["early"]
    assert ids(asked(runs, "list", "--created-after", "2030-05-06T12:00Z")) == ["late"]
    assert ids(
        asked(runs, "list", "--created-before", "2030-05-06T14:00:00+02:00")
    ) == ["early"]
    assert ids(asked(runs, "list", "--created-after", "2030-05-07")) == []


def test_list_shows_what_few_runs_have_where_one_has_it(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")
    plain = runs("list").splitlines()[0]
    change(
        operon,
        WorkflowRun,
        WorkflowRun.id == "order-42",
        status="waiting",
        partition="a",
        wait_kind="receive",
        wait_on="order-42",
        wait_key="approved",
        deadline_at=datetime(2030, 5, 6, tzinfo=UTC),
        continued_as="order-42~2",
    )

    header, row = runs("list").splitlines()

    rare = ("PARTITION", "WAITS FOR", "DEADLINE", "CONTINUED AS")
    assert not any(name in plain for name in rare)
    assert all(name in header for name in rare)
    assert "receive approved" in row
    assert asked(runs, "list")[0]["wait_key"] == "approved"


def test_a_run_that_does_not_wait_any_more_waits_for_nothing(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")
    change(operon, WorkflowRun, WorkflowRun.id == "order-42", wait_kind="sleep")

    assert asked(runs, "show", "order-42")["wait_kind"] is None


def test_list_is_an_empty_array_when_nothing_matches(runs):
    assert asked(runs, "list") == []


def test_show_tells_all_facts_with_input_and_output(operon, runs):
    operon.run(shop.Checkout("book"), id="order-42", attributes={"tenant": "a"})

    facts = asked(runs, "show", "order-42")

    assert facts["status"] == "succeeded"
    assert facts["input"] == {"sku": "book", "quantity": 1, "card": "good"}
    assert facts["output"] == 1
    assert facts["error"] is None
    assert facts["attributes"] == {"tenant": "a"}
    columns = {column.key for column in WorkflowRun.__table__.columns}
    assert columns <= facts.keys()
    lines = dict(
        line.split(maxsplit=1) for line in runs("show", "order-42").splitlines()
    )
    assert lines["workflow"] == "Checkout"
    assert lines["output"] == "1"
    assert "error" not in lines


def test_show_tells_the_error_of_a_failed_run(operon, runs):
    decline(operon, "order-42")

    assert asked(runs, "show", "order-42")["error"] == "PaymentDeclinedError: 1"


def test_show_tells_the_output_of_a_transaction(operon, runs):
    operon.run(shop.place("book"), id="placed")

    assert asked(runs, "show", "placed")["output"] == 1


def test_steps_tell_the_history_in_order(operon, runs):
    decline(operon, "order-42")

    facts = asked(runs, "steps", "order-42")

    assert [(fact["position"], fact["kind"], fact["name"]) for fact in facts] == [
        (1, "step", "reserve"),
        (2, "activity", "charge"),
        (3, "step", "release"),
    ]
    assert [fact["outcome"] for fact in facts] == ["succeeded", "failed", "succeeded"]
    assert facts[0]["output"] == 1
    assert facts[0]["duration"] >= 0
    assert "failed: PaymentDeclinedError: 1" in runs("steps", "order-42")


def fail_attempt(operon, run_id, *, position, next_at):
    row = {
        "run_id": run_id,
        "position": position,
        "attempt": 1,
        "kind": "activity",
        "name": "charge",
        "epoch": 1,
        "error": encode_error(OSError("bank is away")),
        "executor": "e1",
        "started_at": datetime.now(UTC),
        "failed_at": datetime.now(UTC),
        "next_at": next_at,
    }
    with operon.engine.begin() as connection:
        connection.execute(insert(Attempt).values(row))


def test_steps_tell_failed_attempts_when_asked(operon, runs):
    operon.run(shop.ThreeSteps("book"), id="order-42")
    fail_attempt(operon, "order-42", position=2, next_at=None)
    fail_attempt(operon, "order-42", position=4, next_at=datetime.now(UTC))

    facts = asked(runs, "steps", "order-42", "--attempts")

    assert [fact["outcome"] for fact in facts] == [*["succeeded"] * 3, "pending"]
    assert [len(fact["failed_attempts"]) for fact in facts] == [0, 1, 0, 1]
    assert facts[1]["failed_attempts"][0]["error"] == "OSError: bank is away"
    assert facts[0].keys() == facts[3].keys()
    assert runs("steps", "order-42", "--attempts").count("OSError: bank is away") == 2
    assert "failed_attempts" not in asked(runs, "steps", "order-42")[0]


def test_explain_says_why_an_enqueued_run_waits(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")

    sentence = runs("explain", "order-42")

    assert sentence.startswith("order-42 waits in queue 'default' since ")
    assert "; no live executor knows workflow 'Checkout' version 1" in sentence
    assert asked(runs, "explain", "order-42")["status"] == "enqueued"


def hold(operon, run_id):
    """Let this process hold *run_id*, as its row says, and be alive."""
    operon.run(shop.Checkout("pen"), id="another")
    executor = operon.list_executors()[0].id
    change(
        operon,
        WorkflowRun,
        WorkflowRun.id == run_id,
        status="running",
        executor=executor,
    )


def test_explain_says_when_the_next_attempt_is_due(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")
    hold(operon, "order-42")
    next_at = datetime.now(UTC) + timedelta(hours=1)
    fail_attempt(operon, "order-42", position=1, next_at=next_at)

    sentence = runs("explain", "order-42")

    assert "order-42 is running on executor " in sentence
    assert (
        "activity 'charge' failed 1 time, last with OSError: bank is away" in sentence
    )
    assert f"next attempt at {next_at:%H:%M:%S} UTC (in 59 min)" in sentence.replace(
        f"{next_at:%Y-%m-%d} ", ""
    )


def test_explain_says_that_a_silent_executor_loses_its_run(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")
    row = {
        "id": "e1",
        "host": "web-1",
        "pid": 42,
        "workflows": [["Checkout", 1]],
        "queues": ["default"],
        "started_at": datetime.now(UTC) - timedelta(hours=1),
        "heartbeat_at": datetime.now(UTC) - timedelta(minutes=3, seconds=5),
    }
    with operon.engine.begin() as connection:
        connection.execute(insert(ExecutorRecord).values(row))
    change(
        operon,
        WorkflowRun,
        WorkflowRun.id == "order-42",
        status="running",
        executor="e1",
    )

    assert runs("explain", "order-42").startswith(
        "order-42 is running on executor e1 (web-1 pid 42) whose heartbeat is 3 min "
        "old: it will be taken over by any launched executor"
    )


def test_explain_says_why_a_run_is_dead(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")
    change(
        operon,
        WorkflowRun,
        WorkflowRun.id == "order-42",
        status="dead",
        error=encode_error(RunDeadError("order-42", "its history has a hole")),
        finished_at=datetime.now(UTC),
    )

    sentence = runs("explain", "order-42")

    assert (
        ": its history has a hole; mend the cause, then `operon runs resume" in sentence
    )


def test_explain_says_how_a_failed_run_can_be_redone(operon, runs):
    decline(operon, "order-42")

    assert "so only `operon runs fork order-42 --from-position 2` redoes it" in runs(
        "explain", "order-42"
    )


def test_cancel_ends_a_run_that_never_began(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")

    assert "order-42 was cancelled before it began" in runs("cancel", "order-42")
    assert operon.get_run("order-42").status == "cancelled"


def test_cancel_asks_a_running_run_and_force_ends_it(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")
    hold(operon, "order-42")

    assert "a cancel was requested at" in runs("cancel", "order-42")
    assert asked(runs, "cancel", "order-42", "--force")["status"] == "cancelled"


def test_resume_continues_a_run_cancelled_by_force(operon, runs):
    operon.start(shop.Checkout("book"), id="order-42")
    runs("cancel", "order-42", "--force")

    assert "order-42 waits in queue" in runs("resume", "order-42")
    assert operon.get_run("order-42").status == "enqueued"


def test_retry_redoes_what_failed(operon, runs):
    with pytest.raises(shop.OutOfStockError):
        operon.run(shop.Checkout("book", quantity=1000), id="order-42")

    sentence = runs("retry", "order-42")

    assert "step 'reserve' failed 1 time, last with OutOfStockError: book" in sentence
    assert operon.get_run("order-42").status == "enqueued"


def test_fork_writes_the_new_id(operon, runs):
    operon.run(shop.Checkout("book"), id="order-42")

    forked = runs("fork", "order-42", "--from-position", "2").strip()
    named = runs("fork", "order-42", "--from-position", "2", "--id", "order-43")

    assert operon.get_run(forked).forked_from == "order-42"
    assert named == "order-43\n"
    facts = asked(runs, "fork", "order-42", "--from-position", "1", "--id", "order-44")
    assert facts["id"] == "order-44"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("show", "nope"), "Error: run 'nope' does not exist; "),
        (("steps", "nope"), "Error: run 'nope' does not exist; "),
        (("explain", "nope"), "Error: run 'nope' does not exist; "),
        (("retry", "done"), "Error: run 'done' is succeeded, not failed, "),
        (("resume", "done"), "Error: run 'done' is succeeded; "),
        (("fork", "done", "--from-position", "9"), "Error: from_position=9 is outside"),
        (
            ("fork", "done", "--from-position", "1", "--id", "done"),
            "Error: run 'done' exists already; ",
        ),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(operon, database, args, expected):
    operon.run(shop.Checkout("book"), id="done")

    finished = invoke("runs", *args, "--database-url", database.url)

    assert finished.exit_code == 1
    assert finished.output.startswith(expected)
    assert finished.output.count("\n") == 1
