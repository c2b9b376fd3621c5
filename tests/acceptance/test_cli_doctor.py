"""`operon doctor` on real databases, healthy and not."""

import json
import sys
from datetime import UTC
from datetime import datetime
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import insert
from sqlalchemy import make_url
from sqlalchemy import text
from sqlalchemy import update

from operon import registry
from operon.cli import operon as command
from operon.models import Base
from operon.models import ExecutorRecord
from operon.models import WorkflowRun
from tests import shop

APP = """
from operon import Operon
from sqlalchemy import create_engine

operon = Operon({database})
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """The cwd is the test's own, nothing is named, and what is imported is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    yield
    sys.modules.pop("doctored_app", None)


def doctor(*args):
    """Return the exit code, and the findings by check."""
    finished = CliRunner().invoke(command, ["doctor", "--json", *args])
    answer = json.loads(finished.stdout)
    assert answer["healthy"] is (finished.exit_code == 0)
    return finished.exit_code, {each["check"]: each for each in answer["checks"]}


def levels(findings):
    return {check: each["level"] for check, each in findings.items()}


def execute(database, statement):
    with database.engine(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(statement))


def write_app(folder, database):
    source = APP.format(database=database)
    (folder / "doctored_app.py").write_text(source, encoding="utf-8")


def test_a_migrated_database_has_no_problem(database):
    code, findings = doctor("--database-url", database.url)

    assert code == 0
    assert findings["database"]["fact"] == make_url(database.url).render_as_string()
    assert findings["schema"]["level"] == "ok"
    assert "problem" not in levels(findings).values()


def test_people_get_one_line_for_each_check(database):
    url = ("--database-url", database.url)

    finished = CliRunner().invoke(command, ["doctor", *url])

    lines = finished.output.splitlines()
    assert len(lines) == len(doctor(*url)[1])
    assert {line.split()[0] for line in lines} <= {"ok", "warning"}


def test_missing_tables_are_a_problem(empty_database):
    with empty_database.engine().connect():
        code, findings = doctor("--database-url", empty_database.url)

    assert code == 1
    assert findings["schema"]["level"] == "problem"
    assert findings["schema"]["cure"] == "run `operon migrate`"
    assert "executors" not in findings


def test_an_unreachable_database_is_a_problem():
    url = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"

    code, findings = doctor("--database-url", url)

    assert (code, levels(findings)) == (1, {"database": "problem"})
    assert "secret" not in findings["database"]["fact"]


@pytest.mark.parametrize(
    "url", ["mysql://localhost/x", "postgresql://localhost/x", "x"]
)
def test_a_url_that_operon_does_not_run_on_is_a_problem(url):
    code, findings = doctor("--database-url", url)

    assert (code, levels(findings)) == (1, {"database": "problem"})


def test_a_missing_sqlite_file_is_a_problem_and_is_not_made(tmp_path):
    code, findings = doctor("--database-url", f"sqlite:///{tmp_path}/none.db")

    assert (code, levels(findings)) == (1, {"database": "problem"})
    assert not (tmp_path / "none.db").exists()


def test_settings_of_the_role_are_judged(postgres_database):
    name = make_url(postgres_database.url).database
    for setting in (
        "synchronous_commit = off",
        "idle_in_transaction_session_timeout = 0",
    ):
        execute(postgres_database, f'ALTER DATABASE "{name}" SET {setting}')

    code, findings = doctor("--database-url", postgres_database.url)

    assert code == 1
    assert findings["synchronous-commit"]["level"] == "problem"
    assert findings["idle-timeout"]["level"] == "warning"
    execute(
        postgres_database,
        f"ALTER DATABASE \"{name}\" SET idle_in_transaction_session_timeout = '2s'",
    )
    _, findings = doctor("--database-url", postgres_database.url)
    assert findings["idle-timeout"]["fact"].endswith("is 2 s")


def test_a_read_only_database_is_a_problem(postgres_database):
    name = make_url(postgres_database.url).database
    setting = "default_transaction_read_only = on"
    execute(postgres_database, f'ALTER DATABASE "{name}" SET {setting}')

    code, findings = doctor("--database-url", postgres_database.url)

    assert (code, findings["writable"]["level"]) == (1, "problem")


@pytest.fixture
def clerk(postgres_database):
    """The URL for a role of this test's own, which may do nothing yet."""
    url = make_url(postgres_database.url)
    role = f"clerk_{url.database}"
    execute(postgres_database, f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'clerk'")
    yield url.set(username=role, password="clerk")  # noqa: S106 - of a role of this test alone
    execute(postgres_database, f'DROP OWNED BY "{role}"')
    execute(postgres_database, f'DROP ROLE "{role}"')


def test_a_role_without_privileges_is_a_problem(postgres_database, clerk):
    url = clerk.render_as_string(hide_password=False)
    _, before = doctor("--database-url", url)
    rights = "SELECT, INSERT, UPDATE, DELETE"
    others = sorted(set(Base.metadata.tables) - {"operon_attempts"})
    for grant in (
        f"{rights} ON {', '.join(others)}",
        "SELECT ON operon_alembic_version",
        "SELECT, INSERT, UPDATE ON operon_attempts",
    ):
        execute(postgres_database, f'GRANT {grant} TO "{clerk.username}"')

    code, findings = doctor("--database-url", url)

    assert levels(before)["privileges"] == levels(before)["schema"] == "problem"
    assert "SELECT on operon_alembic_version" in before["privileges"]["fact"]
    assert code == 1
    assert findings["privileges"]["fact"] == "the role lacks DELETE on operon_attempts"
    assert findings["schema"]["level"] == "ok"


def test_silent_executors_unknown_workflows_and_dead_runs_are_warnings(
    operon, database
):
    operon.start(shop.Checkout("book"), id="order-1")
    operon.start(shop.Checkout("book"), id="order-2")
    row = {
        "id": "e1",
        "host": "web-1",
        "pid": 42,
        "workflows": [["Checkout", 1]],
        "queues": ["default"],
        "started_at": datetime.now(UTC) - timedelta(hours=1),
        "heartbeat_at": datetime.now(UTC) - timedelta(minutes=3),
    }
    dead = WorkflowRun.id == "order-2"
    with operon.engine.begin() as connection:
        connection.execute(insert(ExecutorRecord).values(row))
        connection.execute(update(WorkflowRun).where(dead).values(status="dead"))

    code, findings = doctor("--database-url", database.url)

    assert code == 0
    checks = ("executors", "workflows", "dead-runs")
    assert [findings[check]["level"] for check in checks] == ["warning"] * 3
    assert "e1 (web-1 pid 42, 3 min)" in findings["executors"]["fact"]
    assert "'Checkout' version 1 (1 run)" in findings["workflows"]["fact"]
    assert findings["dead-runs"]["fact"] == "1 run is dead"


def test_schedules_that_nobody_keeps_and_runs_in_paused_queues_are_warnings(
    operon, database
):
    operon.schedule("0 9 * * *", shop.place("book"), name="morning")
    operon.launch()
    _, before = doctor("--database-url", database.url)
    operon.shutdown()
    operon.pause_queue("default")
    operon.start(shop.Checkout("book"), id="order-1")

    code, findings = doctor("--database-url", database.url)

    checks = ("schedules", "paused-queues")
    assert [before[check]["level"] for check in checks] == ["ok"] * 2
    assert code == 0
    assert [findings[check]["level"] for check in checks] == ["warning"] * 2
    assert "'morning' ('place' version 1)" in findings["schedules"]["fact"]
    assert "'default' (1 run, paused for" in findings["paused-queues"]["fact"]


def test_an_application_with_a_small_pool_is_a_warning(postgres_database, tmp_path):
    url = postgres_database.url
    write_app(tmp_path, f"create_engine({url!r}, pool_size=2, max_overflow=1)")

    with registry.isolated():
        code, findings = doctor("--app", "doctored_app:operon")

    assert code == 0
    assert findings["application"]["level"] == "ok"
    assert findings["pool"]["level"] == "warning"
    assert "room for 3 connections" in findings["pool"]["fact"]


def test_the_pool_of_operons_own_engine_is_large_enough(postgres_database, tmp_path):
    write_app(tmp_path, repr(postgres_database.url))

    assert levels(doctor("--app", "doctored_app:operon")[1])["pool"] == "ok"


def test_an_sqlite_engine_that_nobody_manages_is_judged(sqlite_database, tmp_path):
    write_app(tmp_path, f"{sqlite_database.url!r}, manage_sqlite=False")
    execute(sqlite_database, "PRAGMA journal_mode = DELETE")

    _, findings = doctor("--app", "doctored_app:operon")

    assert findings["journal"]["level"] == "warning"


def test_an_application_that_cannot_be_loaded_is_a_problem(database):
    code, findings = doctor("--app", "no_such_app:operon")

    assert (code, levels(findings)) == (1, {"application": "problem"})

    code, findings = doctor(
        "--app", "no_such_app:operon", "--database-url", database.url
    )

    assert (code, findings["database"]["level"]) == (1, "ok")
