"""An Operon on the test's own database, with a shop to work on."""

from collections.abc import Callable
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.orm import Session

from operon import Operon
from tests import shop
from tests.fix_db import Database
from tests.wire import WireProxy

MakeOperon = Callable[..., Operon]


@pytest.fixture
def make_operon(request: pytest.FixtureRequest) -> Iterator[MakeOperon]:
    """Make an Operon on a database; every one is shut down at the end."""
    for name in ("own_server", "database", "postgres_database", "wire"):
        if name in request.fixturenames:  # set up before, so torn down after
            request.getfixturevalue(name)
    made: list[Operon] = []

    def make(database: Any, **options: Any) -> Operon:
        operon = Operon(database, **options)
        made.append(operon)
        return operon

    yield make
    for operon in made:
        operon.shutdown(timedelta(seconds=5))
        operon.engine.dispose()


@pytest.fixture
def operon(make_operon: MakeOperon, database: Database) -> Operon:
    """An Operon on a database with a stocked shop; not launched."""
    operon = make_operon(database.url)
    shop.create_shop(operon.engine, "book", "pen")
    return operon


@pytest.fixture
def session(operon: Operon) -> Iterator[Session]:
    """A session of the test's own, to look at what is committed."""
    with Session(operon.engine) as session:
        yield session


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that stands for the outside world."""
    path = tmp_path / "ledger.txt"
    monkeypatch.setenv(shop.LEDGER, str(path))
    return path


@pytest.fixture
def wire(postgres_database: Database) -> Iterator[WireProxy]:
    """A proxy before the PostgreSQL server of `postgres_database`."""
    url = make_url(postgres_database.url)
    with WireProxy(str(url.host), int(url.port or 5432)) as proxy:
        yield proxy


@pytest.fixture
def wired_operon(
    make_operon: MakeOperon, postgres_database: Database, wire: WireProxy
) -> Operon:
    """An Operon whose every message passes through `wire`; a stocked shop."""
    operon = make_operon(wire.url(postgres_database.url))
    shop.create_shop(operon.engine, "book", "pen")
    return operon
