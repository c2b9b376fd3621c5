"""INSERTs that meet a row with the same key: they leave it alone, or replace it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from operon.store.dialect import Backend


def insert_unless_there(backend: Backend, table: Table) -> Any:
    """Return an INSERT into *table* that does nothing where a unique key is taken.

    It never poisons the transaction, and can be given RETURNING.
    """
    dialect = postgresql if backend.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def insert_or_replace(
    backend: Backend, table: Table, values: dict[str, Any], *, key: Sequence[str]
) -> Any:
    """Return an INSERT of *values* that overwrites the row that has the same *key*."""
    dialect = postgresql if backend.name == "postgresql" else sqlite
    insertion = dialect.insert(table).values(values)
    rest = {name: value for name, value in values.items() if name not in key}
    return insertion.on_conflict_do_update(index_elements=list(key), set_=rest)
