"""`operon executors` on real databases."""

import json
from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import insert
from sqlalchemy import update

from operon.cli import operon as command
from operon.models import ExecutorRecord
from operon.models import WorkflowRun
from tests import shop


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No application and no database is named by this test's surroundings."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def executors(database, *args):
    finished = CliRunner().invoke(
        command, ["executors", "--database-url", database.url, *args]
    )
    assert finished.exit_code == 0, finished.output
    return finished.stdout


def test_shows_who_is_live_and_what_each_runs(operon, database):
    now = datetime.now(UTC)
    rows = [
        {
            "id": name,
            "host": "web-1",
            "pid": pid,
            "workflows": [["Checkout", 1], ["Report", 2]],
            "queues": queues,
            "started_at": now,
            "heartbeat_at": now - silent,
        }
        for name, pid, queues, silent in (
            ("e1", 41, ["default", "mail"], timedelta(0)),
            ("e2", 42, [], timedelta(minutes=3, seconds=5)),
        )
    ]
    with operon.engine.begin() as connection:
        connection.execute(insert(ExecutorRecord), rows)
    operon.start(shop.Checkout("book"))
    with operon.engine.begin() as connection:
        connection.execute(update(WorkflowRun).values(status="running", executor="e1"))

    live, silent = json.loads(executors(database, "--json"))

    assert (live["id"], live["live"], live["running"]) == ("e1", True, 1)
    assert live["queues"] == ["default", "mail"]
    assert live["workflows"] == [["Checkout", 1], ["Report", 2]]
    assert (silent["id"], silent["live"], silent["running"]) == ("e2", False, 0)
    assert silent["heartbeat_age"] > 180
    _, first, second = executors(database).splitlines()
    assert first.split()[:3] == ["e1", "web-1", "41"]
    assert "live" in first
    assert first.split()[-4:] == ["default,", "mail", "2", "1"]
    assert second.split()[3:] == ["3", "min", "ago", "silent", "-", "2", "0"]


def test_is_an_empty_array_when_there_is_none(operon, database):
    assert json.loads(executors(database, "--json")) == []
