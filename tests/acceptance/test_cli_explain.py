"""`operon runs explain` on runs that the engine itself let wait."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from operon import Queue
from operon import Rate
from operon import Retry
from operon import Workflow
from operon import activity
from operon.cli import operon as command
from operon.models import WorkflowRun
from operon.status import RunStatus
from tests import shop
from tests.processes import eventually

HOUR = timedelta(hours=1)


class Grandchild(Workflow):
    def run(self) -> None:
        self.receive("never", type=str)


class Waiter(Workflow):
    """Waits for what it is told to wait for."""

    kind: str

    @activity(retry=Retry(attempts=3, delay=HOUR, jitter=0.0))
    def charge(self) -> None:
        raise ConnectionError("bank is away")

    def run(self) -> None:
        match self.kind:
            case "receive":
                self.receive("approved", type=str, timeout=HOUR)
            case "event":
                self.event("order-7", "k", type=str)
            case "result":
                self.start(Grandchild(), id="child").result()
            case "sleep":
                self.sleep(HOUR)
            case "retry":
                self.charge()
            case _:
                self.continue_as(Waiter("sleep"))


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No application and no database is named by this test's surroundings."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def launched(make_operon, database):
    """A launched Operon whose runs hold no thread while they wait."""
    queues = [
        Queue("one", concurrency=1),
        Queue("rare", rate=Rate(1, HOUR)),
        Queue("closed"),
    ]
    operon = make_operon(database.url, inline_wait=timedelta(0), queues=queues)
    shop.create_shop(operon.engine, "book")
    operon.launch()
    return operon


@pytest.fixture
def explain(database):
    """`operon runs explain` on the test's database."""

    def invoke(run_id):
        args = ["runs", "explain", run_id, "--database-url", database.url]
        finished = CliRunner().invoke(command, args)
        assert finished.exit_code == 0, finished.output
        return finished.stdout.strip()

    return invoke


def stands(operon, run_id, status):
    return eventually(
        lambda: (found := operon.find_run(run_id)) and found.status == status,
        saying=f"{run_id} is not {status}",
    )


def in_an_hour(run):
    """Return the beginning of the time when what *run* waits for an hour is over."""
    at = run.wait_until
    form = "%H:%M" if at.date() == datetime.now(UTC).date() else "%Y-%m-%d %H:%M"
    return at.strftime(form)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("receive", 'order-42 waits for message "approved" since '),
        ("event", 'order-42 waits for event "k" of run order-7 since '),
        (
            "result",
            "order-42 waits for the result of run child, which is waiting, since ",
        ),
        ("sleep", "order-42 sleeps until "),
        (
            "retry",
            "order-42 waits for the next attempt of activity 'charge' at ",
        ),
    ],
)
def test_a_waiting_run_says_what_it_waits_for(launched, explain, kind, expected):
    launched.start(shop.Checkout("book"), id="order-7")
    launched.start(Waiter(kind), id="order-42")
    if kind == "result":
        stands(launched, "child", RunStatus.WAITING)
    stands(launched, "order-42", RunStatus.WAITING)

    sentence = explain("order-42")

    assert sentence.startswith(expected)
    run = launched.get_run("order-42")
    if kind == "receive":
        assert f"(timeout at {in_an_hour(run)}" in sentence
    if kind == "retry":
        assert sentence.endswith(
            " failed 1 time, last with ConnectionError: bank is away"
        )


def test_a_run_that_nobody_wakes_says_that_its_wait_is_over(launched, explain):
    launched.start(Waiter("receive"), id="order-42")
    stands(launched, "order-42", RunStatus.WAITING)
    launched.shutdown()
    launched.send("order-42", "approved", "yes")

    assert "; its wait is over, but no live executor knows " in explain("order-42")


def test_a_continued_run_says_as_which(launched, explain):
    launched.start(Waiter("chain"), id="order-42")
    stands(launched, "order-42~2", RunStatus.WAITING)

    assert explain("order-42").startswith("order-42 continued as order-42~2 at ")


def test_a_run_in_a_paused_queue_says_since_when(launched, explain):
    launched.pause_queue("closed")
    launched.start(Waiter("sleep"), id="order-42", queue="closed")

    assert "; that queue is paused since " in explain("order-42")


def test_a_run_behind_a_limit_says_which(launched, explain):
    launched.start(Waiter("sleep"), id="first", queue="rare")
    stands(launched, "first", RunStatus.WAITING)
    launched.start(Waiter("sleep"), id="second", queue="rare")
    launched.start(Waiter("sleep"), id="other", queue="one", delay=HOUR)
    with launched.engine.begin() as connection:
        connection.execute(
            update(WorkflowRun)
            .where(WorkflowRun.id == "first")
            .values(status="running", executor="another", queue="one")
        )

    assert explain("other").endswith(
        "; that queue is at its concurrency limit (1 running)"
    )
    assert "; that queue is at its rate limit (1 in 1 h), free again at " in explain(
        "second"
    )


def test_a_run_of_a_version_that_nobody_knows_says_so(launched, explain):
    launched.start(Waiter("sleep"), id="order-42", delay=HOUR)
    with launched.engine.begin() as connection:
        connection.execute(update(WorkflowRun).values(version=2))

    sentence = explain("order-42")

    assert sentence.startswith("order-42 waits in queue 'default', deferred until ")
    assert sentence.endswith(
        "; no live executor knows workflow 'Waiter' version 2, only version 1"
    )


def test_a_waiting_run_says_its_deadline(launched, explain):
    launched.start(Waiter("sleep"), id="order-42", timeout=timedelta(days=3))
    stands(launched, "order-42", RunStatus.WAITING)

    sentence = explain("order-42")

    assert "; deadline at " in sentence
    assert sentence.endswith(" UTC (in 2 d)")
