"""Exploring leaves out no COMMIT: somebody else counts them.

Triggers of the database's own count the transactions that wrote a row: they know
nothing of Operon, and what they write commits, or does not, with what they count.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy import inspect
from sqlalchemy import text
from sqlalchemy.orm import Session

from operon import Operon
from operon.testing import explore
from operon.testing import life
from sample_app.app import create_operon
from sample_app.checkout import Checkout as SampleCheckout
from sample_app.identity import VISITOR
from sample_app.server import prepare
from tests import shop
from tests.fix_db import Database
from tests.testing.subjects import ExploredFamily
from tests.testing.subjects import ExploredTalker
from tests.testing.subjects import ExploredTicketing
from tests.testing.subjects import ExploredTrier

UNCOUNTED = {"operon_executors", "operon_queues", "operon_alembic_version", "written"}
"""What a process says of itself when it begins is no work of a run; and the count."""


@pytest.fixture
def counted(operon: Operon) -> Operon:
    """The Operon, on whose tables every writing transaction is counted."""
    count(operon)
    return operon


@pytest.fixture
def sample(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operon]:
    """The sample shop's, stocked, and likewise."""
    monkeypatch.setenv("SAMPLE_APP_PAYMENTS", str(tmp_path / "payments.db"))
    prepare(empty_database.url)
    operon = create_operon(empty_database.url)
    count(operon)
    yield operon
    operon.shutdown()
    operon.engine.dispose()


def count(operon: Operon) -> None:
    """Let the database count the transactions that write to one of its tables."""
    is_sqlite = operon.engine.dialect.name == "sqlite"
    tables = set(inspect(operon.engine).get_table_names()) - UNCOUNTED
    with operon.engine.begin() as connection:
        for statement in _counting(tables) if is_sqlite else _counting_xids(tables):
            connection.execute(text(statement))
    if is_sqlite:
        _number_transactions(operon)


def _counting_xids(tables: set[str]) -> Iterator[str]:
    yield "CREATE TABLE written (number BIGINT PRIMARY KEY)"
    yield (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO written SELECT pg_current_xact_id()::text::bigint "
        "ON CONFLICT DO NOTHING; RETURN NULL; END $$"
    )
    for table in tables:
        yield (
            f"CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION note()"
        )


def _counting(tables: set[str]) -> Iterator[str]:
    yield "CREATE TABLE written (number INTEGER PRIMARY KEY)"
    for table in tables:
        for what in ("INSERT", "UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER note_{what}_{table} AFTER {what} ON {table} BEGIN "
                "INSERT OR IGNORE INTO written VALUES (transaction_number()); END"
            )


def _number_transactions(operon: Operon) -> None:
    """Give SQLite what PostgreSQL has: a number for each transaction.

    A statement outside of one is one by itself, and BEGIN is outside as well.
    """
    begun = 0

    def connected(driver, _):
        def trace(_):
            nonlocal begun
            begun += not driver.in_transaction

        driver.set_trace_callback(trace)
        driver.create_function("transaction_number", 0, lambda: begun)

    event.listen(operon.engine, "connect", connected)
    operon.engine.dispose()


def committed(
    operon: Operon, workflow, outside=lambda: None, **options
) -> tuple[int, int]:
    """Return how many COMMITs are explored, and how many the database has counted."""
    counts: list[int] = []

    def begin():
        outside()
        with operon.engine.begin() as connection:
            connection.execute(text("DELETE FROM written"))

    def read(session: Session):
        counts.append(session.scalar(text("SELECT count(*) FROM written")) or 0)

    found = explore(
        workflow,
        read,
        operon=operon,
        ignore={"written"},
        only=1,
        prepare=begin,
        **options,
    )
    return len(found.commits), counts[0]


@pytest.mark.parametrize("card", ["good", "declined"])
def test_every_commit_of_a_checkout_is_explored(counted, card):
    explored, written = committed(counted, shop.Checkout("book", card=card))

    assert explored == written == 5


@pytest.mark.parametrize("journey", [ExploredTalker, ExploredFamily, ExploredTrier])
def test_every_commit_of_whatever_a_body_can_do_is_explored(counted, forget, journey):
    explored, written = committed(counted, journey(), forget)

    assert explored == written > 10


def test_every_commit_of_a_ticketing_is_explored(counted, forget):
    explored, written = committed(counted, ExploredTicketing(), forget)

    assert explored == written


def test_every_commit_of_a_started_run_is_explored(counted, forget):
    explored, written = committed(
        counted,
        lambda operon: operon.start(shop.Checkout("book"), id="queued"),
        forget,
    )

    assert explored == written == 6


def test_every_commit_of_the_samples_checkout_is_explored(sample, tmp_path):
    explored, written = committed(
        sample,
        SampleCheckout("globe-1928"),
        lambda: (tmp_path / "payments.db").unlink(missing_ok=True),
        principal=VISITOR.as_json(),
    )

    assert explored == written == 6


def test_a_commit_that_were_left_out_would_be_seen(counted, monkeypatch):
    whole = life.Life.committing
    seen: list[int] = []

    def without_the_second(self):
        seen.append(1)
        return nullcontext() if len(seen) == 2 else whole(self)

    monkeypatch.setattr(life.Life, "committing", without_the_second)
    explored, written = committed(counted, shop.Checkout("book"))

    assert explored == written - 1
