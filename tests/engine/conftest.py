"""Workflows that a test of the engine declares are forgotten when it is over."""

from collections.abc import Iterator

import pytest

from operon import registry


@pytest.fixture(autouse=True)
def own_declarations() -> Iterator[None]:
    """Let every test declare workflows of its own under the names it likes."""
    with registry.isolated():
        yield
