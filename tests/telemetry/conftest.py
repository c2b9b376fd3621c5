"""An Operon that is watched."""

import pytest
from opentelemetry import trace

from tests.shop import create_shop


@pytest.fixture
def operon(make_operon, database, watching):
    """An Operon that is watched; the shop is there."""
    operon = make_operon(database.url, hooks=watching)
    create_shop(operon.engine, "book")
    return operon


@pytest.fixture(autouse=True)
def _nothing_stays_current():
    yield
    assert not trace.get_current_span().get_span_context().is_valid
