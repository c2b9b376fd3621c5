"""`operon runs cancel|resume|retry` of many runs at once, on real databases."""

import json
from datetime import UTC
from datetime import datetime

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import update

from operon.cli import operon as command
from operon.models import WorkflowRun
from tests import shop


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No application and no database is named by this test's surroundings."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def runs(database):
    """`operon runs …` on the test's database."""

    def invoke(*args, **options):
        args = ["runs", *args, "--database-url", database.url]
        return CliRunner().invoke(command, args, **options)

    return invoke


def change(operon, run_id, **values):
    with operon.engine.begin() as connection:
        this = update(WorkflowRun).where(WorkflowRun.id == run_id)
        connection.execute(this.values(values))


def statuses(operon):
    return {run.id: run.status.value for run in operon.list_runs()}


@pytest.fixture
def orders(operon):
    """Three enqueued runs and one that has succeeded."""
    operon.start(shop.Checkout("book"), id="a", attributes={"tenant": "x"})
    operon.start(shop.Checkout("pen"), id="b", attributes={"tenant": "y"})
    operon.start(shop.ThreeSteps("pen"), id="c")
    operon.run(shop.ThreeSteps("book"), id="done")


@pytest.mark.parametrize(
    ("conditions", "cancelled"),
    [
        (["--all"], ["a", "b", "c"]),
        (["--workflow", "Checkout"], ["a", "b"]),
        (["--queue", "mail"], ["b"]),
        (["--attribute", "tenant=x"], ["a"]),
        (["--status", "running", "--status", "waiting"], []),
        (["--status", "enqueued", "--workflow", "ThreeSteps"], ["c"]),
        (["--created-after", "2030-05-06"], ["a"]),
        (["--created-before", "2030-05-06"], ["b", "c"]),
    ],
    ids=" ".join,
)
def test_cancels_every_live_run_that_matches(
    operon, orders, runs, conditions, cancelled
):
    change(operon, "a", created_at=datetime(2030, 5, 6, 12, tzinfo=UTC))
    change(operon, "b", queue="mail")

    finished = runs("cancel", *conditions, "--yes", "--json")

    assert finished.exit_code == 0, finished.output
    assert json.loads(finished.stdout) == {"done": cancelled, "refused": {}}
    ended = [run for run, status in statuses(operon).items() if status == "cancelled"]
    assert sorted(ended) == cancelled


def test_asks_first_and_says_how_many(operon, orders, runs):
    declined = runs("cancel", "--all", input="n\n")

    assert declined.exit_code == 1
    assert declined.stderr.startswith("Cancel 3 runs? [y/N]: ")
    assert "cancelled" not in statuses(operon).values()
    agreed = runs("cancel", "--all", "--force", input="y\n")
    assert agreed.stdout.splitlines()[-1] == "3 runs cancelled by force"


def test_asks_nobody_when_nothing_matches(operon, runs):
    finished = runs("cancel", "--all")

    assert (finished.exit_code, finished.output) == (0, "no run matches\n")


def test_several_ids_are_done_one_by_one_and_refusals_are_listed(operon, orders, runs):
    change(operon, "a", status="dead")

    finished = runs("resume", "done", "a", "nope", "a")

    assert finished.exit_code == 1
    done, refused, *reasons = finished.output.splitlines()
    assert (done, refused) == ("1 run resumed", "2 runs refused:")
    assert [each.split(";")[0] for each in reasons] == [
        "  run 'done' is succeeded",
        "  run 'nope' does not exist",
    ]
    assert statuses(operon)["a"] == "enqueued"


def test_programs_get_the_refusals_by_id(operon, orders, runs):
    change(operon, "a", status="failed")

    finished = runs("retry", "a", "b", "--json")

    answer = json.loads(finished.stdout)
    assert finished.exit_code == 1
    assert answer["done"] == ["a"]
    assert answer["refused"].keys() == {"b"}


def test_resumes_the_dead_unless_told_otherwise(operon, orders, runs):
    change(operon, "a", status="dead")
    change(operon, "b", status="cancelled")

    dead = runs("resume", "--all", "--yes", "--json")
    cancelled = runs("resume", "--status", "cancelled", "--yes", "--json")

    assert json.loads(dead.stdout)["done"] == ["a"]
    assert json.loads(cancelled.stdout)["done"] == ["b"]


def test_retries_the_failed_that_match_and_tells_which_went_on(operon, orders, runs):
    with pytest.raises(shop.OutOfStockError):
        operon.run(shop.Checkout("book", quantity=1000), id="short")
    with pytest.raises(shop.PaymentDeclinedError):
        operon.run(shop.Checkout("book", card="declined"), id="declined")

    finished = runs("retry", "--workflow", "Checkout", "--yes")

    assert finished.exit_code == 1
    assert "1 run put back to be retried\n1 run refused:\n" in finished.output
    assert "run 'declined' went on after activity 'charge' had failed" in (
        finished.output
    )
    assert statuses(operon)["short"] == "enqueued"


def test_executors_are_told_before_the_command_ends(make_operon, postgres_database):
    operon = make_operon(postgres_database.url)
    operon.start(shop.Checkout("book"), id="a")
    url = postgres_database.url.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN operon")

        CliRunner().invoke(
            command, ["runs", "cancel", "a", "--database-url", postgres_database.url]
        )

        assert list(listener.notifies(timeout=5, stop_after=1))


@pytest.mark.parametrize("flags", [(), ("--keep-children",)], ids=str)
def test_a_cancel_takes_the_children_along_unless_told_otherwise(
    operon, orders, runs, flags
):
    change(operon, "b", parent_id="a", root_id="a")

    assert runs("cancel", "a", *flags).exit_code == 0

    assert statuses(operon)["a"] == "cancelled"
    assert statuses(operon)["b"] == ("enqueued" if flags else "cancelled")


@pytest.mark.parametrize(
    "args",
    [
        ("cancel",),
        ("cancel", "a", "--all"),
        ("cancel", "a", "--workflow", "Checkout"),
        ("cancel", "--all", "--status", "running"),
        ("cancel", "--status", "failed"),
        ("cancel", "--all", "--keep-children"),
        ("resume", "--status", "running"),
        ("retry",),
        ("retry", "--status", "failed"),
        ("retry", "--created-before", "yesterday"),
        ("retry", "--attribute", "tenant"),
    ],
    ids=" ".join,
)
def test_runs_have_to_be_named_in_exactly_one_way(operon, orders, runs, args):
    before = statuses(operon)

    finished = runs(*args, "--yes")

    assert finished.exit_code == 2
    assert statuses(operon) == before
