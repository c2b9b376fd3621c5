"""Invariants: the step that breaks one fails its test, and commits nothing."""

import inspect
from datetime import timedelta

import pytest
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import RunStatus
from operon import Workflow
from operon import activity
from operon import invariant
from operon import step
from operon.errors import SignatureError
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.testing import InvariantBroken
from operon.testing.driving import bound_to
from operon.testing.driving import inline
from tests import shop

looks: list[int] = []


class InvariantSale(Workflow):
    """Sells more than there is, if it is asked to; swallows whatever it can."""

    sku: str
    quantity: int

    @invariant
    def stock_is_never_negative(self, session: Session) -> None:
        left = session.scalars(select(shop.Product.stock)).one()
        looks.append(left)
        assert left >= 0, f"{self.sku}: {left}"

    @step
    def take(self, session: Session) -> int:
        product = session.get_one(shop.Product, self.sku)
        product.stock -= self.quantity
        return product.stock

    @activity
    def tell(self, left: int) -> int:
        return left

    def run(self) -> int:
        try:
            left = self.take()
        except Exception:  # noqa: BLE001 - that it cannot be swallowed is the test
            left = -1
        self.tell(left)
        self.sleep(timedelta(days=1))
        return left


class InvariantQuietSale(InvariantSale):
    """Inherits the invariant, and overrides it."""

    @invariant
    def stock_is_never_negative(self, session: Session) -> None:
        """Accept everything."""


@pytest.fixture(params=["committed", "bound"])
def driven(request, operon):
    """The Operon, inline: on its own transactions, or within one of the test's."""
    looks.clear()
    if request.param == "committed":
        with inline(operon):
            yield operon
        return
    with operon.engine.connect() as connection, connection.begin() as outer:
        session = Session(connection, join_transaction_mode="create_savepoint")
        with bound_to(operon, session):
            yield operon
        session.close()
        outer.rollback()


def _count(operon, entity):
    with operon.ready().services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(entity))


def test_the_step_that_breaks_an_invariant_fails_the_test_and_commits_nothing(driven):
    with pytest.raises(
        InvariantBroken,
        match=r"invariant 'stock_is_never_negative' of run 'sale' is broken: "
        "AssertionError: book: -1",
    ) as raised:
        driven.run(InvariantSale("book", 101), id="sale")

    assert (raised.value.run_id, raised.value.invariant) == (
        "sale",
        "stock_is_never_negative",
    )
    assert isinstance(raised.value.__cause__, AssertionError)
    assert _count(driven, Checkpoint) == 0
    with driven.ready().services.database.reading() as connection:
        assert connection.scalar(select(shop.Product.stock)) == 100


def test_an_invariant_is_asserted_before_every_commit_of_its_run(driven):
    assert driven.run(InvariantSale("book", 1), id="sale") == 99

    *starts, taken, told, waiting, slept, end = looks
    assert starts in ([], [100])  # a start may commit together with the first step
    assert [taken, told, waiting, slept, end] == [99] * 5


def test_a_started_run_that_breaks_an_invariant_fails_whoever_waits_for_it(driven):
    handle = driven.start(InvariantSale("book", 101))

    with pytest.raises(InvariantBroken):
        handle.result()


def test_a_subclass_may_override_an_invariant(driven):
    assert driven.run(InvariantQuietSale("book", 101), id="sale") == -1


def test_outside_the_kit_nobody_calls_an_invariant(operon):
    looks.clear()

    operon.run(InvariantScribble(), id="scribble")

    assert looks == []


def test_what_an_invariant_writes_is_not_committed(operon):
    looks.clear()

    with inline(operon):
        operon.run(InvariantScribble(), id="scribble")

    assert 99 in looks

    with Session(operon.engine) as session:
        assert session.scalars(select(shop.Product.stock)).one() == 99
        assert session.get_one(WorkflowRun, "scribble").status is RunStatus.SUCCEEDED


class InvariantScribble(Workflow):
    """Has an invariant that does what none should."""

    @invariant
    def scribbles(self, session: Session) -> None:
        product = session.scalars(select(shop.Product)).one()
        looks.append(product.stock)
        product.stock -= 50
        session.flush()

    @step
    def take(self, session: Session) -> None:
        session.scalars(select(shop.Product)).one().stock -= 1

    def run(self) -> None:
        self.take()


def test_a_method_that_could_not_be_called_is_refused_where_it_is_declared():
    def lacks(self):
        """Has no session."""

    def asks(self, session, other):
        """Asks for more."""

    async def waits(self, session):
        """Is async."""

    with pytest.raises(SignatureError, match="no positional parameter for session"):
        invariant(lacks)
    with pytest.raises(SignatureError, match="asks for 'other', which nobody gives"):
        invariant(asks)
    with pytest.raises(SignatureError, match="is async; @invariant cannot be"):
        invariant(waits)
    with pytest.raises(SignatureError, match="is not a function"):
        invariant(7)


def test_an_invariant_remains_a_plain_method():
    assert inspect.isfunction(InvariantSale.stock_is_never_negative)
