"""`operon runs purge` on real databases."""

import json
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from functools import partial

import pytest
from click.testing import CliRunner
from sqlalchemy import Column
from sqlalchemy import ForeignKey
from sqlalchemy import MetaData
from sqlalchemy import Table
from sqlalchemy import Text
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


def invoke(database, *args, **options):
    args = ["runs", "purge", "--database-url", database.url, *args]
    return CliRunner().invoke(command, args, **options)


@pytest.fixture
def purge(database):
    """`operon runs purge …` on the test's database."""
    return partial(invoke, database)


@pytest.fixture
def old(operon):
    """Three runs that ended 40 days ago; a fourth, `fresh`, has ended just now."""
    return end_long_ago(operon)


def end_long_ago(operon):
    for run_id in ("a", "b", "c", "fresh"):
        operon.run(shop.ThreeSteps("book"), id=run_id)
    with operon.engine.begin() as connection:
        connection.execute(
            update(WorkflowRun)
            .where(WorkflowRun.id != "fresh")
            .values(finished_at=datetime.now(UTC) - timedelta(days=40))
        )
    return ["a", "b", "c"]


def kept(operon):
    return sorted(run.id for run in operon.list_runs())


def test_removes_what_ended_long_ago_and_nothing_else(operon, old, purge):
    assert purge("--older-than", "41d", "--yes").output == "0 runs removed\n"
    assert kept(operon) == [*old, "fresh"]

    finished = purge("--older-than", "30d", "--batch", "2", "--yes")

    assert (finished.exit_code, finished.output) == (0, "3 runs removed\n")
    assert kept(operon) == ["fresh"]


def test_asks_first_and_says_how_many(operon, old, purge):
    declined = purge("--older-than", "30d", input="n\n")

    assert declined.exit_code == 1
    assert "Remove 3 runs that ended before " in declined.stderr
    assert kept(operon) == [*old, "fresh"]
    assert purge("--older-than", "30d", input="y\n").stdout == "3 runs removed\n"


def test_says_how_many_stay_because_the_application_refers_to_them(
    make_operon, postgres_database
):
    operon = make_operon(postgres_database.url)
    shop.create_shop(operon.engine, "book")
    end_long_ago(operon)
    remarks = Table(
        "remarks",
        MetaData(),
        Column("run_id", Text, ForeignKey(WorkflowRun.id), primary_key=True),
    )
    remarks.create(operon.engine)
    with operon.engine.begin() as connection:
        connection.execute(remarks.insert(), [{"run_id": "b"}])
    thirty_days = ("--older-than", "30d", "--yes")

    finished = invoke(postgres_database, *thirty_days)
    again = invoke(postgres_database, *thirty_days, "--json")

    assert finished.exit_code == 0
    assert finished.output == (
        "2 runs removed\n1 run stays, because rows of the application refer to it\n"
    )
    assert json.loads(again.stdout) == {"removed": 0, "referenced": 1}
    assert kept(operon) == ["b", "fresh"]


@pytest.mark.parametrize("older_than", ["30", "d", "30 years", "-3d", "99999999w"])
def test_a_duration_that_cannot_be_meant_is_exit_code_2(operon, purge, older_than):
    assert purge("--older-than", older_than, "--yes").exit_code == 2


def test_the_age_has_to_be_said(operon, purge):
    assert purge("--yes").exit_code == 2
