"""`operon migrate`, and what every command does about wrong arguments and databases."""

import pytest
from click.testing import CliRunner

from operon import schema
from operon.cli import operon as command

NOWHERE = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No application and no database is named by this test's surroundings."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def invoke(*args):
    return CliRunner().invoke(command, list(args))


@pytest.mark.parametrize(
    "args",
    [
        ("runs", "list"),
        ("migrate",),
        ("doctor",),
        ("executor",),
        ("runs", "list", "--status", "asleep", "--database-url", NOWHERE),
        ("runs", "list", "--attribute", "tenant", "--database-url", NOWHERE),
        ("runs", "fork", "x", "--database-url", NOWHERE),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_exit_code_2(args):
    finished = invoke(*args)

    assert finished.exit_code == 2
    assert finished.output.startswith("Usage: operon ")


@pytest.mark.parametrize(
    "args", [("runs", "list"), ("runs", "cancel", "x"), ("migrate",)], ids=" ".join
)
def test_an_unreachable_database_is_one_line_without_its_password(args):
    finished = invoke(*args, "--database-url", NOWHERE)

    assert finished.exit_code == 1
    assert finished.output.startswith(
        "Error: the database 'postgresql+psycopg://nobody:"
    )
    assert finished.output.count("\n") == 1
    assert "secret" not in finished.output


def test_a_url_without_a_driver_is_refused_with_the_cure():
    finished = invoke("runs", "list", "--database-url", "postgresql://localhost/x")

    assert finished.exit_code == 1
    assert "write 'postgresql+psycopg://localhost/x'" in finished.output


def test_a_database_without_tables_says_what_to_run(empty_database):
    with empty_database.engine().connect():
        finished = invoke("runs", "list", "--database-url", empty_database.url)

    assert finished.exit_code == 1
    assert "run `operon migrate`" in finished.output


def test_looking_makes_no_sqlite_file_and_migrating_does(tmp_path):
    url = f"sqlite:///{tmp_path}/new.db"

    looked = invoke("runs", "list", "--database-url", url)

    assert looked.exit_code == 1
    assert "does not exist; check the URL, or run `operon migrate`" in looked.output
    assert not (tmp_path / "new.db").exists()
    assert invoke("migrate", "--database-url", url).exit_code == 0
    assert invoke("runs", "list", "--database-url", url).exit_code == 0


def test_migrate_makes_the_tables_and_can_be_repeated(empty_database):
    for _ in range(2):
        finished = invoke("migrate", "--database-url", empty_database.url)

        assert finished.exit_code == 0, finished.output
        assert f"are at revision {schema.HEAD}." in finished.output
    schema.verify(empty_database.engine())


def test_migrate_refuses_a_revision_that_does_not_exist(empty_database):
    url = ("--database-url", empty_database.url)

    finished = invoke("migrate", "--revision", "operon_9999", *url)

    assert finished.exit_code == 1
    assert "Error: upgrade to 'operon_9999' cannot be done" in finished.output


def test_migrate_goes_as_far_as_it_is_told(empty_database):
    url = ("--database-url", empty_database.url)

    finished = invoke("migrate", "--revision", schema.REVISIONS[0], *url)

    assert finished.exit_code == 0, finished.output
    assert f"are at revision {schema.REVISIONS[0]}." in finished.output
