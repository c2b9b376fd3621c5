"""The shop's database: where it is, and how it gets its tables."""

import os
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine
from sqlalchemy import event

from operon import schema

_HERE = Path(__file__).parent


def default_url() -> str:
    """Return the URL that the environment names, or that of a file beside you."""
    for name in ("SAMPLE_APP_DATABASE_URL", "OPERON_DATABASE_URL"):
        if url := os.environ.get(name):
            return url
    return "sqlite:///shop.db"


def enforce_foreign_keys(engine: Engine) -> None:
    """Let SQLite enforce foreign keys too; it does so only when told."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _enforce)


def migrate(engine: Engine) -> None:
    """Bring Operon's tables and the shop's to the newest revision.

    Operon's come first, because orders refer to runs. Each half is one transaction:
    killed anywhere, the next call goes on.
    """
    schema.upgrade(engine)
    with schema.exclusive(engine) as connection:
        config = Config(_HERE / "alembic.ini")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _enforce(connection: SQLiteConnection, _: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
