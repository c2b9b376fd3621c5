"""How Alembic reaches the shop's tables: called by `sample_app`, or from its own CLI.

The shop has a history of its own (`alembic_version`), beside Operon's; autogenerate
leaves Operon's tables alone. On the command line the database is named by `-x url=…`
or by the environment, as for the shop itself. Nobody imports this file.
"""

from alembic import context
from sqlalchemy import Connection
from sqlalchemy import NullPool
from sqlalchemy import create_engine

from operon import schema
from sample_app.database import default_url
from sample_app.models import Base


def migrate(connection: Connection) -> None:
    """Run the migrations that Alembic was asked for, in *connection*'s transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=schema.include_name,
        render_as_batch=True,  # SQLite alters a table by rebuilding it
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_from_command_line() -> None:
    """Migrate the database that the command line or the environment names."""
    url = context.get_x_argument(as_dictionary=True).get("url", default_url())
    engine = create_engine(str(url), poolclass=NullPool)
    schema.upgrade(engine)
    with schema.exclusive(engine) as connection:
        migrate(connection)


given = context.config.attributes.get("connection")
if given is None:
    migrate_from_command_line()
else:
    migrate(given)
