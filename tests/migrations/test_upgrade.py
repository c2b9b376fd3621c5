"""What `operon.schema` does to a database: up, down, and nothing by halves."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import StaticPool
from sqlalchemy import create_engine
from sqlalchemy import create_mock_engine
from sqlalchemy import event
from sqlalchemy import inspect
from sqlalchemy import make_url
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from operon import schema
from operon.errors import ConfigurationError
from operon.errors import SchemaError
from operon.models import Base
from operon.models import WorkflowRun
from operon.status import RunStatus
from tests.migrations.facts import FOLLOWING
from tests.migrations.facts import describe
from tests.migrations.facts import read_version
from tests.migrations.facts import run

MIGRATE = """
import sys
import alembic.command
from sqlalchemy import create_engine
from operon import schema

engine = create_engine(sys.argv[1], isolation_level="SERIALIZABLE")
print("ready", flush=True)
sys.stdin.readline()
schema.upgrade(engine)
schema.verify(engine)
engine.dispose()
"""

HALF = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade():
    op.create_table("operon_half", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("INSERT INTO operon_half (id) VALUES (1)")
    {more}


def downgrade():
    op.drop_table("operon_half")
"""
REBUILD = """
    with op.batch_alter_table("operon_runs", recreate="auto") as batch:
        batch.alter_column("queue", type_=sa.String(100))
"""


def plain(engine):
    """Leave BEGIN to the driver, which emits none before DDL."""


def managed(engine):
    """Emit BEGIN IMMEDIATE, as Operon does on the engines it manages."""
    begin_with(engine, "BEGIN IMMEDIATE")


def deferred(engine):
    """Emit BEGIN, as SQLAlchemy's documentation recommends."""
    begin_with(engine, "BEGIN")


def explicit(engine):
    """Give the transactions to the driver as PEP 249 has them, where it can."""

    @event.listens_for(engine, "connect")
    def use_autocommit_attribute(raw, _record):
        if hasattr(raw, "autocommit"):
            raw.autocommit = False


def autocommitting(engine):
    """Make the driver's own commit and rollback do nothing, where it can."""

    @event.listens_for(engine, "connect")
    def use_autocommit_attribute(raw, _record):
        if hasattr(raw, "autocommit"):
            raw.autocommit = True


def begin_with(engine, statement):
    @event.listens_for(engine, "connect")
    def leave_begin_alone(raw, _record):
        raw.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql(statement)


@pytest.fixture(params=[plain, managed, deferred, explicit, autocommitting])
def sqlite_engine(request, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'engine.db'}")
    request.param(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def enforcing_engine(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'enforcing.db'}")

    @event.listens_for(engine, "connect")
    def enforce_foreign_keys(raw, _record):
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA busy_timeout = 1234").fetchall()

    yield engine
    engine.dispose()


@pytest.fixture
def versions(tmp_path, monkeypatch):
    """A copy of the revisions, used instead of Operon's, with room for more."""
    copy = tmp_path / "scripts % copy"
    original = Path(schema.locations()).parent
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "_get_scripts", lambda: copy)
    return copy / "versions"


def add_revision(versions, *, more="pass"):
    """Write the revision `FOLLOWING`, which also does *more*."""
    source = HALF.format(revision=FOLLOWING, down_revision=schema.HEAD, more=more)
    (versions / "following_half.py").write_text(source)


def test_an_upgraded_database_has_exactly_what_the_mappings_say(empty_database):
    engine = empty_database.engine()
    schema.upgrade(engine)
    upgraded = describe(engine)
    schema.downgrade(engine, "base")

    Base.metadata.create_all(engine)

    assert upgraded == describe(engine)


def test_autogenerate_finds_nothing_to_do_after_an_upgrade(empty_database):
    engine = empty_database.engine()
    schema.upgrade(engine)

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": schema.VERSION_TABLE,
                "compare_type": True,
                "compare_server_default": True,
            },
        )

        found = compare_metadata(context, Base.metadata)

    if engine.dialect.name == "sqlite":  # which has no identities to compare with
        found = [each for each in found if each[0][0] != "modify_default"]
    assert found == []


def test_the_known_revisions_are_those_of_the_scripts():
    config = Config()
    config.set_main_option("script_location", str(Path(schema.locations()).parent))

    scripts = ScriptDirectory.from_config(config)

    oldest_first = reversed(list(scripts.walk_revisions()))
    assert tuple(script.revision for script in oldest_first) == schema.REVISIONS
    assert scripts.get_heads() == [schema.HEAD]
    assert scripts.get_revision("operon@head").revision == schema.HEAD


def test_goes_down_and_up_again(empty_database):
    engine = empty_database.engine()
    schema.upgrade(engine)
    once = describe(engine)

    schema.downgrade(engine, "base")
    nothing = describe(engine)
    schema.upgrade(engine)

    assert nothing == set()
    assert once == describe(engine)
    assert read_version(engine) == schema.HEAD


@pytest.mark.parametrize("revision", schema.REVISIONS[:-1])
def test_goes_down_to_every_revision_and_up_again(empty_database, revision):
    engine = empty_database.engine()
    schema.upgrade(engine, revision)
    before = describe(engine)
    schema.upgrade(engine)
    once = describe(engine)

    schema.downgrade(engine, revision)
    version = read_version(engine)
    between = describe(engine)
    schema.upgrade(engine)

    assert version == revision
    assert between == before
    assert once == describe(engine)
    assert read_version(engine) == schema.HEAD


def test_upgrading_again_writes_nothing(empty_database):
    engine = empty_database.engine()
    schema.upgrade(engine)
    statements = []

    @event.listens_for(engine, "before_cursor_execute")
    def record(_connection, _cursor, statement, *_more):
        statements.append(statement.split()[0])

    schema.upgrade(engine)

    assert set(statements) <= {"SELECT", "PRAGMA"}


def test_four_processes_upgrade_an_empty_database_at_once(empty_database):
    url = impatient(empty_database)
    command = [sys.executable, "-W", "error", "-c", MIGRATE, url]
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]

    ready = [process.stdout.readline() for process in processes]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in processes]

    assert ready == ["ready\n"] * 4
    assert errors == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert read_version(empty_database.engine()) == schema.HEAD


def impatient(database):
    """Return the database's URL, with SQLite's own patience taken away."""
    url = make_url(database.url)
    if database.dialect == "sqlite":
        url = url.update_query_dict({"timeout": "0"})
    return url.render_as_string(hide_password=False)


def test_four_threads_upgrade_an_empty_database_at_once(empty_database):
    engines = [empty_database.engine() for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(schema.upgrade, engines))

    schema.verify(engines[0])


def test_eight_threads_upgrade_databases_of_their_own_at_once(tmp_path):
    engines = [create_engine(f"sqlite:///{tmp_path / name}.db") for name in "abcdefgh"]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(schema.upgrade, engines))

    for engine in engines:
        schema.verify(engine)
        engine.dispose()


def test_a_failed_first_migration_leaves_nothing_and_can_be_repeated(
    empty_database, versions
):
    engine = empty_database.engine()
    add_revision(versions, more="op.execute('INSERT INTO nowhere VALUES (1)')")

    with pytest.raises(DBAPIError, match="nowhere"):
        schema.upgrade(engine)

    assert inspect(engine).get_table_names() == []
    add_revision(versions)
    schema.upgrade(engine)
    assert read_version(engine) == FOLLOWING


def test_a_failed_migration_leaves_the_version_and_can_be_repeated(
    empty_database, versions
):
    engine = empty_database.engine()
    schema.upgrade(engine)
    add_revision(versions, more="raise RuntimeError('broken')")

    with pytest.raises(RuntimeError, match="broken"):
        schema.upgrade(engine, FOLLOWING)

    assert read_version(engine) == schema.HEAD
    assert not inspect(engine).has_table("operon_half")
    schema.verify(engine)
    add_revision(versions)
    schema.upgrade(engine, FOLLOWING)
    assert read_version(engine) == FOLLOWING
    assert inspect(engine).has_table("operon_half")


def test_postgresql_migrates_in_one_transaction_whatever_the_engines_isolation(
    empty_database, versions
):
    level = {"sqlite": "SERIALIZABLE", "postgresql": "AUTOCOMMIT"}
    engine = empty_database.engine(isolation_level=level[empty_database.dialect])
    add_revision(versions, more="raise RuntimeError('broken')")

    with pytest.raises(RuntimeError, match="broken"):
        schema.upgrade(engine)

    assert inspect(engine).get_table_names() == []


def test_sqlite_migrates_in_one_transaction_whoever_manages_begin(
    sqlite_engine, versions
):
    add_revision(versions, more="raise RuntimeError('broken')")
    with pytest.raises(RuntimeError, match="broken"):
        schema.upgrade(sqlite_engine)
    assert inspect(sqlite_engine).get_table_names() == []

    add_revision(versions)
    schema.upgrade(sqlite_engine)

    another = create_engine(sqlite_engine.url)
    assert read_version(another) == FOLLOWING
    another.dispose()


def test_sqlite_takes_the_write_lock_before_it_reads_whoever_manages_begin(
    sqlite_engine,
):
    another = create_engine(sqlite_engine.url, connect_args={"timeout": 0})

    with (
        schema.exclusive(sqlite_engine),
        another.connect() as connection,
        pytest.raises(DBAPIError, match="locked"),
    ):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    another.dispose()


def test_upgrades_an_sqlite_database_in_memory():
    engine = create_engine("sqlite://", poolclass=StaticPool)

    schema.upgrade(engine)

    schema.verify(engine)
    engine.dispose()


def test_gives_the_connection_back_with_the_pragmas_it_had(enforcing_engine):
    schema.upgrade(enforcing_engine)

    with enforcing_engine.connect() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA busy_timeout")) == 1234


def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(enforcing_engine, versions):
    schema.upgrade(enforcing_engine)
    order_refers_to_a_run(enforcing_engine)
    add_revision(versions, more=REBUILD.strip())

    schema.upgrade(enforcing_engine, FOLLOWING)

    with enforcing_engine.connect() as connection:
        assert connection.scalar(text("SELECT run_id FROM orders")) == "run"
        assert connection.scalar(text("SELECT queue FROM operon_runs")) == "default"


@pytest.mark.parametrize("revision", schema.REVISIONS[:-1])
def test_goes_down_and_up_again_beneath_rows_that_refer_to_runs(
    enforcing_engine, revision
):
    schema.upgrade(enforcing_engine)
    order_refers_to_a_run(enforcing_engine)

    schema.downgrade(enforcing_engine, revision)
    schema.upgrade(enforcing_engine)

    with enforcing_engine.connect() as connection:
        assert connection.scalar(text("SELECT run_id FROM orders")) == "run"
        assert connection.scalar(text("SELECT id FROM operon_runs")) == "run"


def test_refuses_to_drop_runs_that_the_application_refers_to(enforcing_engine):
    schema.upgrade(enforcing_engine)
    order_refers_to_a_run(enforcing_engine)

    with pytest.raises(SchemaError, match="rows of orders refer to"):
        schema.downgrade(enforcing_engine, "base")

    schema.verify(enforcing_engine)
    run(enforcing_engine, "DELETE FROM orders")
    schema.downgrade(enforcing_engine, "base")
    assert describe(enforcing_engine) == set()


def order_refers_to_a_run(engine):
    """Make a run, and an order of the application's with a foreign key onto it."""
    now = datetime.now(UTC)
    row = WorkflowRun(
        id="run",
        workflow="Checkout",
        version=1,
        status=RunStatus.ENQUEUED,
        input="{}",
        fingerprint="",
        due_at=now,
        created_at=now,
    )
    with Session(engine) as session, session.begin():
        session.add(row)
    run(
        engine,
        "CREATE TABLE orders (run_id TEXT REFERENCES operon_runs ON DELETE CASCADE)",
        "INSERT INTO orders VALUES ('run')",
    )


def test_refuses_a_revision_that_does_not_exist(empty_database):
    engine = empty_database.engine()

    with pytest.raises(SchemaError, match="'operon_9999' cannot be done"):
        schema.upgrade(engine, "operon_9999")

    assert inspect(engine).get_table_names() == []


@pytest.mark.parametrize("revision", ["head", *schema.REVISIONS])
def test_refuses_to_upgrade_what_a_newer_operon_has_migrated(empty_database, revision):
    engine = empty_database.engine()
    schema.upgrade(engine)
    run(engine, "UPDATE operon_alembic_version SET version_num = 'operon_9999'")

    with pytest.raises(SchemaError, match="upgrade operon"):
        schema.upgrade(engine, revision)

    assert read_version(engine) == "operon_9999"


def test_refuses_to_upgrade_tables_whose_revision_is_not_recorded(empty_database):
    engine = empty_database.engine()
    Base.metadata.tables["operon_runs"].create(engine)

    with pytest.raises(SchemaError, match="does not say their revision"):
        schema.upgrade(engine)

    assert inspect(engine).get_table_names() == ["operon_runs"]


def test_refuses_a_database_of_another_kind():
    engine = create_mock_engine("mysql+pymysql://", print)

    with (
        pytest.raises(ConfigurationError, match="use PostgreSQL or SQLite"),
        schema.exclusive(engine),
    ):
        pass


def test_says_that_the_package_is_not_installed(empty_database, monkeypatch, tmp_path):
    monkeypatch.setattr(schema, "find_spec", lambda _name: None)
    monkeypatch.setattr(schema, "__file__", str(tmp_path / "operon" / "schema.py"))

    with pytest.raises(ConfigurationError, match=r"lacks operon\.migrations"):
        schema.upgrade(empty_database.engine())
