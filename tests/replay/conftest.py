"""An Operon whose runs wait without a thread; workflows are forgotten after a test."""

from collections.abc import Iterator

import pytest

from operon import Operon
from operon import registry
from tests.fix_app import MakeOperon
from tests.fix_db import Database
from tests.replay import orders


@pytest.fixture(autouse=True)
def own_declarations() -> Iterator[None]:
    """Let every test declare workflows, and change them, under the names it likes."""
    with registry.isolated():
        yield


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    """Forget what the steps and activities of other tests did."""
    orders.done.clear()


@pytest.fixture
def shop(make_operon: MakeOperon, database: Database) -> Operon:
    """A launched Operon whose runs are suspended at once, on either database."""
    return orders.launched(make_operon, database.url)


@pytest.fixture
def small_shop(make_operon: MakeOperon, sqlite_database: Database) -> Operon:
    """The same on SQLite, where the database does not matter."""
    return orders.launched(make_operon, sqlite_database.url)
