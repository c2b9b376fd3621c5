"""How Alembic reaches Operon's tables: called by `operon.schema`, or from its own CLI.

`operon.schema` passes the connection that holds the migration lock. On the command
line the database is named by `-x url=…` or `OPERON_DATABASE_URL`, and the same lock
is taken; with `--sql` the URL only names the dialect. Nobody imports this file.
"""

import os
from collections.abc import Mapping
from typing import Any

from alembic import context
from sqlalchemy import MetaData
from sqlalchemy import NullPool
from sqlalchemy import create_engine
from sqlalchemy import make_url

from operon import schema
from operon.errors import ConfigurationError
from operon.models import Base


def is_operons(
    name: str | None, type_: str, parent_names: Mapping[Any, str | None]
) -> bool:
    """Tell autogenerate to look at no table but Operon's."""
    return type_ != "table" or not schema.include_name(name, type_, parent_names)


def described(dialect: str) -> MetaData:
    """Return the tables as a database of this *dialect* can have them.

    SQLite has no identities: an integer primary key is one by itself.
    """
    if dialect != "sqlite":
        return Base.metadata
    tables = MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        for column in table.to_metadata(tables).columns:
            if column.identity is not None:
                column.server_default = column.identity = None
    return tables


def get_url() -> str:
    """Return the database's URL as the command line or the environment names it."""
    url = context.get_x_argument(as_dictionary=True).get("url")
    url = os.environ.get("OPERON_DATABASE_URL") if url is None else str(url)
    if url is None:
        raise ConfigurationError(
            "the database URL",
            "is not set",
            cure="pass `-x url=…` to alembic, or set OPERON_DATABASE_URL",
        )
    return url


def migrate(**target: Any) -> None:
    """Run the migrations that Alembic was asked for, in one transaction."""
    connection = target.get("connection")
    dialect = (
        make_url(target["url"]).get_backend_name()
        if connection is None
        else connection.dialect.name
    )
    context.configure(
        **target,
        target_metadata=described(dialect),
        version_table=schema.VERSION_TABLE,
        include_name=is_operons,
        render_as_batch=True,  # SQLite alters a table by rebuilding it
        compare_type=True,
        compare_server_default=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_online() -> None:
    """Migrate through the given connection, or one to the database of the URL."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        migrate(connection=connection)
        return
    engine = create_engine(get_url(), poolclass=NullPool)
    with schema.exclusive(engine) as locked:
        migrate(connection=locked)


if context.is_offline_mode():
    migrate(url=get_url(), literal_binds=True, dialect_opts={"paramstyle": "named"})
else:
    migrate_online()
