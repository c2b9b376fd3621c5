"""An Operon that nobody launched, on a stocked shop, and a world outside."""

import pytest

from tests import shop
from tests.testing.subjects import Base


@pytest.fixture
def operon(make_operon, database, ledger):
    operon = make_operon(database.url)
    shop.create_shop(operon.engine, "book")
    Base.metadata.create_all(operon.engine)
    return operon


@pytest.fixture
def forget(ledger):
    """Make the world outside what it was: nothing has happened."""

    def forget():
        ledger.unlink(missing_ok=True)

    return forget
