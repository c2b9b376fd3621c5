"""What a launch learns of the tables, and that it changes nothing."""

import subprocess
import sys

import pytest
from sqlalchemy import event
from sqlalchemy import inspect

from operon import schema
from operon.errors import SchemaError
from operon.models import Base
from tests.migrations.facts import FOLLOWING
from tests.migrations.facts import run

VERIFY = """
import sys
from sqlalchemy import create_engine
from operon import schema

engine = create_engine(sys.argv[1])
schema.verify(engine)
schema.upgrade(engine)
engine.dispose()
sys.exit(any(name.split(".")[0] in {"alembic", "mako"} for name in sys.modules))
"""


@pytest.fixture
def engine(empty_database):
    return empty_database.engine()


@pytest.fixture
def statements(engine):
    """The first word of every statement that the engine executes."""
    words = []

    @event.listens_for(engine, "before_cursor_execute")
    def record(_connection, _cursor, statement, *_more):
        words.append(statement.split()[0])

    return words


def test_accepts_an_upgraded_database(engine):
    schema.upgrade(engine)

    schema.verify(engine)


def test_issues_no_ddl_where_the_tables_fit(engine, statements):
    schema.upgrade(engine)
    statements.clear()

    schema.verify(engine)

    assert set(statements) <= {"SELECT", "PRAGMA"}


def test_issues_no_ddl_where_the_tables_are_missing(engine, statements):
    with pytest.raises(SchemaError, match="run `operon migrate`"):
        schema.verify(engine)

    assert set(statements) <= {"SELECT", "PRAGMA"}
    assert inspect(engine).get_table_names() == []


def test_says_that_the_tables_are_missing(engine):
    with pytest.raises(SchemaError, match=r"lacks Operon's .*operon_runs"):
        schema.verify(engine)


def test_says_that_the_tables_are_missing_after_a_downgrade(engine):
    schema.upgrade(engine)
    schema.downgrade(engine, "base")

    with pytest.raises(SchemaError, match=r"lacks .*; run `operon migrate`"):
        schema.verify(engine)


@pytest.mark.parametrize("revision", schema.REVISIONS[:-1])
def test_says_that_the_tables_are_behind(engine, revision):
    schema.upgrade(engine, revision)

    with pytest.raises(
        SchemaError,
        match=rf"at revision {revision}, .* needs {schema.HEAD}; run `operon migrate`",
    ):
        schema.verify(engine)


def test_says_that_the_tables_are_behind_the_next_release(engine, monkeypatch):
    head = schema.HEAD
    schema.upgrade(engine)
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, FOLLOWING))
    monkeypatch.setattr(schema, "HEAD", FOLLOWING)

    with pytest.raises(
        SchemaError,
        match=rf"at revision {head}, .* needs {FOLLOWING}; run `operon migrate`",
    ):
        schema.verify(engine)


def test_says_that_the_tables_are_ahead(engine):
    schema.upgrade(engine)
    run(engine, "UPDATE operon_alembic_version SET version_num = 'operon_9999'")

    with pytest.raises(
        SchemaError, match=r"operon_9999.*older than the database; upgrade operon"
    ):
        schema.verify(engine)


def test_compares_columns_where_no_revision_is_recorded(engine):
    Base.metadata.create_all(engine)
    schema.verify(engine)
    run(engine, "ALTER TABLE operon_checkpoints DROP COLUMN snapshot")

    with pytest.raises(
        SchemaError, match=r"lacks Operon's operon_checkpoints\.snapshot;"
    ):
        schema.verify(engine)


def test_leaves_a_connection_in_no_transaction(engine):
    schema.upgrade(engine)

    with engine.connect() as connection:
        schema.verify(connection)

        assert not connection.in_transaction()


def test_leaves_a_connection_in_the_transaction_it_was_in(engine):
    schema.upgrade(engine)

    with engine.connect() as connection, connection.begin() as transaction:
        schema.verify(connection)

        assert transaction.is_active


def test_raises_from_a_connection_too(engine):
    with engine.connect() as connection, pytest.raises(SchemaError):
        schema.verify(connection)


def test_imports_no_alembic_where_the_tables_fit(empty_database):
    schema.upgrade(empty_database.engine())

    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", VERIFY, empty_database.url], check=False
    )

    assert finished.returncode == 0
