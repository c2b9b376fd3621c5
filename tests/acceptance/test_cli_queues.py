"""`operon queues` on real databases."""

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import event
from sqlalchemy import update

from operon import Queue
from operon import Rate
from operon.cli import operon as command
from operon.models import WorkflowRun
from operon.store import doctor
from tests import shop

EMAILS = Queue("emails", 50, 5, Rate(100, timedelta(minutes=1)), partitioned=True)


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No application and no database is named by this test's surroundings."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def operon(make_operon, database):
    """An Operon that has stored its queues, and executes nothing any more."""
    operon = make_operon(database.url, queues=[EMAILS])
    shop.create_shop(operon.engine, "book")
    operon.launch()
    operon.shutdown()
    return operon


def invoke(*args, **options):
    return CliRunner().invoke(command, list(args), **options)


@pytest.fixture
def queues(database):
    """`operon queues …` on the test's database, which must succeed."""

    def invoke_queues(*args):
        finished = invoke("queues", *args, "--database-url", database.url)
        assert finished.exit_code == 0, finished.output
        return finished.stdout

    return invoke_queues


def asked(queues, *args):
    return json.loads(queues(*args, "--json"))


def row(operon, name):
    return next(each for each in operon.list_queues() if each.name == name)


def test_list_shows_limits_pauses_and_what_has_not_ended(operon, queues):
    for number, status in enumerate(["enqueued", "running", "waiting", "succeeded"]):
        for copy in range(number + 1):
            run_id = f"{status}-{copy}"
            operon.start(
                shop.Checkout("book"), id=run_id, queue="emails", partition="a"
            )
            with operon.engine.begin() as connection:
                this = update(WorkflowRun).where(WorkflowRun.id == run_id)
                connection.execute(this.values(status=status))
    operon.pause_queue("emails")

    default, emails = asked(queues, "list")

    assert default["name"] == "default"
    assert [default[each] for each in ("enqueued", "running", "waiting")] == [0, 0, 0]
    assert [emails[each] for each in ("enqueued", "running", "waiting")] == [1, 2, 3]
    assert (emails["concurrency"], emails["per_executor"]) == (50, 5)
    assert (emails["rate_limit"], emails["rate_period"]) == (100, 60.0)
    assert emails["partitioned"] is True
    assert emails["paused_at"] is not None
    header, _, line = queues("list").splitlines()
    assert header.split()[:3] == ["NAME", "CONCURRENCY", "PER"]
    assert line.split()[:5] == ["emails", "50", "5", "100/60", "yes"]
    assert line.split()[-3:] == ["1", "2", "3"]


def test_list_asks_with_one_statement(operon):
    statements = []
    event.listen(
        operon.engine,
        "before_cursor_execute",
        lambda *args: statements.append(args[2]),
    )
    with operon.engine.connect() as connection:
        doctor.loads(connection)

    assert len([each for each in statements if "SELECT" in each]) == 1


def test_list_shows_a_queue_that_nobody_has_launched(make_operon, database, queues):
    make_operon(database.url).start(shop.Checkout("book"), id="order-42")

    (default,) = asked(queues, "list")

    assert (default["name"], default["enqueued"]) == ("default", 1)


def test_pause_and_resume_say_how_many_runs_there_are(operon, queues):
    operon.start(shop.Checkout("book"), queue="emails", partition="a")

    assert queues("pause", "emails") == "queue 'emails' is paused, with 1 run in it\n"
    assert row(operon, "emails").paused_at is not None
    assert asked(queues, "pause", "emails")["enqueued"] == 1
    assert queues("resume", "emails") == "queue 'emails' goes on, with 1 run in it\n"
    assert row(operon, "emails").paused_at is None


def test_limit_changes_what_is_given_and_nothing_else(operon, queues):
    said = queues("limit", "emails", "--concurrency", "7", "--rate", "2/0.5")

    assert said == (
        "queue 'emails' is limited in each partition: concurrency 7, per executor 5, "
        "rate 2/0.5\n"
    )
    changed = row(operon, "emails")
    assert (changed.concurrency, changed.per_executor) == (7, 5)
    assert (changed.rate_limit, changed.rate_period) == (2, timedelta(seconds=0.5))


def test_limit_none_takes_a_limit_away(operon, queues):
    none = ("--concurrency", "none", "--per-executor", "none", "--rate", "none")

    assert queues("limit", "emails", *none) == "queue 'emails' has no limits\n"
    changed = row(operon, "emails")
    assert (changed.concurrency, changed.per_executor, changed.rate_limit) == (
        None,
    ) * 3


@pytest.mark.parametrize(
    "limits",
    [
        (),
        ("--concurrency", "0"),
        ("--concurrency", "many"),
        ("--rate", "5"),
        ("--rate", "5/0"),
        ("--rate", "0/5"),
    ],
    ids=" ".join,
)
def test_a_limit_that_cannot_be_meant_is_exit_code_2(operon, database, limits):
    url = ("--database-url", database.url)

    assert invoke("queues", "limit", "emails", *limits, *url).exit_code == 2


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("pause", "mail"), "Error: queue 'mail' is not known; use one of 'default', "),
        (("resume", "mail"), "Error: queue 'mail' is not known; "),
        (("limit", "mail", "--rate", "none"), "Error: queue 'mail' is not known; "),
        (("limit", "default", "--concurrency", "1"), "Error: Queue('default') "),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(operon, database, args, expected):
    finished = invoke("queues", *args, "--database-url", database.url)

    assert finished.exit_code == 1
    assert finished.output.startswith(expected)
    assert finished.output.count("\n") == 1
