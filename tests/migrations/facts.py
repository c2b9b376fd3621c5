"""What tests of migrations ask of a database and do to it, and what comes next."""

import re

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from operon import schema

FOLLOWING = f"operon_{len(schema.REVISIONS) + 1:04}"
"""The revision after the last one; it exists only where a test writes it."""


def check(engine):
    """Run `alembic check` of Operon's own environment."""
    config = Config()
    config.set_main_option("script_location", str(schema._get_scripts()))
    with schema.exclusive(engine) as connection:
        config.attributes["connection"] = connection
        command.check(config)


def read_version(engine):
    """Return the revision that is recorded."""
    with engine.connect() as connection:
        return connection.scalar(text("SELECT version_num FROM operon_alembic_version"))


def run(engine, *statements):
    """Execute *statements* in one transaction."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def describe(engine):
    """Return what the database itself says of Operon's tables, as comparable lines."""
    of_dialect = {"sqlite": describe_sqlite, "postgresql": describe_postgresql}
    with engine.connect() as connection:
        return of_dialect[engine.dialect.name](connection)


def describe_sqlite(connection):
    rows = connection.execute(
        text(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL "
            "AND tbl_name LIKE 'operon%' AND tbl_name != 'operon_alembic_version'"
        )
    )
    return {
        (kind, name, tuple(normalise(kind, statement)))
        for kind, name, statement in rows
    }


def normalise(kind, statement):
    """Drop spaces and quotes, and the order in which a table's columns came to be."""
    plainly = re.sub(r'[\s"]+', " ", statement)
    if kind != "table":
        return [plainly]
    body = plainly[plainly.index("(") + 1 : plainly.rindex(")")]
    return sorted(part.strip() for part in body.split(","))


def describe_postgresql(connection):
    columns = connection.execute(
        text(
            "SELECT table_name, column_name, udt_name, is_nullable, column_default, "
            "character_maximum_length, datetime_precision, numeric_precision "
            "FROM information_schema.columns WHERE table_name LIKE 'operon%' "
            "AND table_name != 'operon_alembic_version'"
        )
    )
    indexes = connection.execute(
        text(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'operon%' "
            "AND tablename != 'operon_alembic_version'"
        )
    )
    constraints = connection.execute(
        text(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid::regclass::text LIKE 'operon%' "
            "AND conrelid::regclass::text != 'operon_alembic_version'"
        )
    )
    return {tuple(row) for rows in (columns, indexes, constraints) for row in rows}
