"""What the testing kit has to know of the shop, and whom its tests are about."""

import sqlite3
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from operon import Operon
from operon.testing import Token
from operon.testing import TokenIssuer
from sample_app.app import create_app
from sample_app.catalogue import stock_shelves
from sample_app.database import migrate
from sample_app.identity import AUDIENCE
from sample_app.identity import CUSTOMER
from sample_app.identity import ISSUER
from sample_app.identity import STAFF


@pytest.fixture(scope="session")
def operon_migrate() -> Callable[[Engine], object]:
    """Return what makes the tables, and fills the shelves."""

    def prepare(engine: Engine) -> None:
        migrate(engine)
        with Session(engine) as session, session.begin():
            stock_shelves.__wrapped__(session)

    return prepare


@pytest.fixture(scope="session")
def operon_issuer() -> TokenIssuer:
    """Who signs tokens: somebody that the shop trusts."""
    return TokenIssuer(ISSUER, AUDIENCE)


@pytest.fixture(scope="session")
def operon_app(operon_url: str, operon_issuer: TokenIssuer) -> Iterator[Flask]:
    """The shop."""
    app = create_app(operon_url, str(operon_issuer.key))
    yield app
    app.extensions["operon"].engine.dispose()


@pytest.fixture(scope="session")
def operon_runtime(operon_app: Flask) -> Operon:
    """The shop's Operon."""
    operon: Operon = operon_app.extensions["operon"]
    return operon


@pytest.fixture(autouse=True)
def payments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The payment provider's file: each test has a provider of its own."""
    path = tmp_path / "payments.db"
    monkeypatch.setenv("SAMPLE_APP_PAYMENTS", str(path))
    return path


@pytest.fixture
def charges(payments: Path) -> Callable[[], list[str]]:
    """What the provider has taken money for."""

    def read() -> list[str]:
        with closing(sqlite3.connect(payments)) as ledger:
            return [run for (run,) in ledger.execute("SELECT purchase FROM charges")]

    return read


@pytest.fixture
def ada(operon_token: Callable[..., Token]) -> Token:
    """A customer."""
    return operon_token("ada", roles={CUSTOMER}, scopes={"orders:read", "orders:write"})


@pytest.fixture
def bob(operon_token: Callable[..., Token]) -> Token:
    """One of the staff."""
    return operon_token("bob", roles={STAFF}, scopes={"orders:read", "orders:refund"})
