"""`operon schedules` on real databases."""

import json
import sys

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from operon.cli import operon as command
from operon.models import ScheduleRecord
from tests import shop

APP = """
from operon import Operon
from tests import shop

operon = Operon({database!r})
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """The cwd is the test's own, nothing is named, and what is imported is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    yield
    sys.modules.pop("scheduled_app", None)


@pytest.fixture
def operon(operon):
    """An Operon that has stored its schedule, and executes nothing any more."""
    operon.schedule(
        "0 9 * * 1", shop.Checkout("book"), name="monday", timezone="Europe/Paris"
    )
    operon.launch()
    operon.shutdown()
    return operon


def invoke(*args):
    return CliRunner().invoke(command, list(args))


@pytest.fixture
def schedules(database):
    """`operon schedules …` on the test's database, which must succeed."""

    def invoke_schedules(*args):
        finished = invoke("schedules", *args, "--database-url", database.url)
        assert finished.exit_code == 0, finished.output
        return finished.stdout

    return invoke_schedules


def asked(schedules, *args):
    return json.loads(schedules(*args, "--json"))


def test_list_shows_rules_and_when_they_start_something(operon, schedules):
    (fact,) = asked(schedules, "list")

    assert (fact["name"], fact["cron"]) == ("monday", "0 9 * * 1")
    assert (fact["timezone"], fact["catch_up"]) == ("Europe/Paris", "skip")
    assert (fact["workflow"], fact["version"]) == ("Checkout", 1)
    assert fact["input"] == {"sku": "book", "quantity": 1, "card": "good"}
    assert fact["paused_at"] is None
    header, line = schedules("list").splitlines()
    assert header.startswith("NAME ")
    assert line.startswith("monday  0 9 * * 1  Europe/Paris  Checkout  1 ")


def test_pause_and_resume_need_no_application(operon, schedules):
    assert schedules("pause", "monday") == "schedule 'monday' is paused\n"
    assert operon.list_schedules()[0].paused_at is not None
    assert schedules("resume", "monday").startswith(
        "schedule 'monday' goes on, next at "
    )
    assert operon.list_schedules()[0].paused_at is None
    assert asked(schedules, "pause", "monday")["paused_at"] is not None


def test_remove_forgets_a_schedule(operon, schedules):
    said = schedules("remove", "monday")

    assert said == "schedule 'monday' is removed; the runs it started stay\n"
    assert asked(schedules, "list") == []


def test_trigger_starts_a_run_of_the_application_and_writes_its_id(
    operon, database, tmp_path
):
    source = APP.format(database=database.url)
    (tmp_path / "scheduled_app.py").write_text(source, encoding="utf-8")
    app = ("--app", "scheduled_app:operon")
    operon.pause_schedule("monday")

    said = invoke("schedules", "trigger", "monday", *app)
    asked = invoke("schedules", "trigger", "monday", "--json", *app)

    assert said.exit_code == asked.exit_code == 0, said.output
    assert operon.get_run(said.output.strip()).workflow == "Checkout"
    assert json.loads(asked.stdout)["status"] == "enqueued"
    assert len(operon.list_runs()) == 2


def test_trigger_refuses_a_workflow_that_the_application_does_not_declare(
    operon, database, tmp_path
):
    source = APP.format(database=database.url)
    (tmp_path / "scheduled_app.py").write_text(source, encoding="utf-8")
    with operon.engine.begin() as connection:
        connection.execute(update(ScheduleRecord).values(version=9))

    finished = invoke("schedules", "trigger", "monday", "--app", "scheduled_app:operon")

    assert finished.exit_code == 1
    assert finished.output.startswith("Error: the schedule 'monday'")
    assert "workflow 'Checkout' version 9 is not known here" in finished.output
    assert operon.list_runs() == []


def test_trigger_without_an_application_is_exit_code_2(operon, database):
    finished = invoke("schedules", "trigger", "monday")

    assert finished.exit_code == 2
    assert "no application is named" in finished.output


@pytest.mark.parametrize("verb", ["pause", "resume", "remove"])
def test_an_unknown_schedule_is_one_line_and_exit_code_1(operon, database, verb):
    finished = invoke("schedules", verb, "sunday", "--database-url", database.url)

    assert finished.exit_code == 1
    assert finished.output == (
        "Error: schedule 'sunday' is not known; use one of 'monday', or declare it "
        "with operon.schedule, and launch\n"
    )
