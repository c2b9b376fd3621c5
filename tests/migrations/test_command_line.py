"""Alembic's own command line on Operon's migrations."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from operon import schema
from operon.models import Base
from tests.migrations.facts import FOLLOWING

ROOT = Path(__file__).parents[2]
RECORDED = re.compile(
    r"(?:INSERT INTO operon_alembic_version \(version_num\) VALUES \("
    r"|UPDATE operon_alembic_version SET version_num=)'(\w+)'"
)
UPGRADE = """
import sys
from sqlalchemy import create_engine
from operon import schema

engine = create_engine(sys.argv[1])
schema.upgrade(engine)
engine.dispose()
"""


def alembic(*arguments, url=None):
    """Run `alembic` in the project's folder and return what became of it."""
    environment = {**os.environ, "OPERON_DATABASE_URL": "" if url is None else url}
    if url is None:
        del environment["OPERON_DATABASE_URL"]
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "alembic", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_upgrades_the_database_of_the_environment(empty_database):
    finished = alembic("upgrade", "head", url=empty_database.url)

    assert finished.returncode == 0, finished.stderr
    schema.verify(empty_database.engine())


def test_upgrades_and_downgrades_the_database_of_the_x_argument(empty_database):
    name = f"url={empty_database.url}"
    up = alembic("-x", name, "upgrade", "head", url="sqlite:///elsewhere/none.db")
    schema.verify(empty_database.engine())

    down = alembic("-x", name, "downgrade", "base")

    assert (up.returncode, down.returncode) == (0, 0), up.stderr + down.stderr
    with empty_database.engine().connect() as connection:
        assert (
            connection.scalars(text("SELECT * FROM operon_alembic_version")).all() == []
        )


def test_check_is_clean(empty_database):
    schema.upgrade(empty_database.engine())

    finished = alembic("check", url=empty_database.url)

    assert finished.returncode == 0, finished.stderr + finished.stdout
    assert "No new upgrade operations detected" in finished.stdout


def test_autogenerate_writes_a_revision_in_the_house_style(empty_database, tmp_path):
    schema.upgrade(empty_database.engine())
    with empty_database.engine().begin() as connection:
        connection.execute(text("DROP TABLE operon_attempts"))
    written = tmp_path / "versions"
    written.mkdir()
    config = tmp_path / "alembic.ini"
    config.write_text(
        "[alembic]\npath_separator = newline\n"
        f"script_location = {ROOT / 'migrations'}\n"
        f"version_locations = {schema.locations()}\n    {written}\n"
    )

    finished = alembic(
        *(
            "-c",
            str(config),
            "revision",
            "--autogenerate",
            "--version-path",
            str(written),
        ),
        *("--rev-id", FOLLOWING, "-m", "Bring the attempts back"),
        url=empty_database.url,
    )

    assert finished.returncode == 0, finished.stderr
    source = next(written.glob("*.py")).read_text()
    compile(source, "following.py", "exec")
    assert source.startswith('"""Bring the attempts back.\n')
    assert f'down_revision = "{schema.HEAD}"' in source
    assert "op.create_table(" in source
    assert "op.drop_table(" in source
    assert source.count("operon_runs") == 0


@pytest.mark.parametrize(
    ("url", "time"),
    [
        ("postgresql+psycopg://", "TIMESTAMP WITH TIME ZONE"),
        ("sqlite://", "DATETIME"),
    ],
)
def test_renders_sql_without_a_database(url, time):
    up = alembic("upgrade", "head", "--sql", url=url)
    down = alembic("downgrade", f"{schema.HEAD}:base", "--sql", url=url)

    assert (up.returncode, down.returncode) == (0, 0), up.stderr + down.stderr
    statements = up.stdout.strip()
    assert statements.startswith("BEGIN;")
    assert statements.endswith("COMMIT;")
    assert f"due_at {time} NOT NULL" in statements
    assert RECORDED.findall(statements) == list(schema.REVISIONS)
    for name in Base.metadata.tables:
        assert f"CREATE TABLE {name} (" in statements
        assert f"DROP TABLE {name};" in down.stdout


def test_rendered_sql_makes_the_tables(empty_database):
    rendered = alembic("upgrade", "head", "--sql", url=empty_database.url).stdout
    engine = empty_database.engine()

    with engine.begin() as connection:
        for statement in rendered.split(";"):
            lines = [line for line in statement.splitlines() if line[:2] != "--"]
            sql = "\n".join(lines).strip()
            if sql not in {"", "BEGIN", "COMMIT"}:
                connection.exec_driver_sql(sql)

    schema.verify(engine)


def test_says_how_to_name_the_database():
    finished = alembic("upgrade", "head")

    assert finished.returncode != 0
    assert "pass `-x url=…` to alembic, or set OPERON_DATABASE_URL" in finished.stderr


def test_upgrades_from_any_folder(empty_database, tmp_path):
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", UPGRADE, empty_database.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    schema.verify(empty_database.engine())
    assert Path(schema.locations()).is_absolute()
