"""A process dies at a named point, and another one ends what it has begun."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import RunStatus
from operon.errors import MisuseError
from operon.points import Point
from operon.testing import Crasher
from tests import shop


@pytest.fixture
def crash(operon):
    crasher = Crasher(operon)
    yield crasher
    crasher.close()


def test_another_process_ends_what_a_dead_one_has_begun(crash, operon, ledger):
    crash.at(Point.EFFECT_DONE, step="charge")
    crash.run(shop.Checkout("book"), id="order-1")
    left = operon.get_run("order-1")

    crash.recover()

    ended = operon.get_run("order-1")
    with Session(operon.engine) as session:
        assert session.scalars(select(shop.Order.status)).all() == ["paid"]
    assert left.status is RunStatus.RUNNING
    assert ended.status is RunStatus.SUCCEEDED
    assert ended.executor != left.executor
    assert shop.happened(ledger) == ["order-1/2", "order-1/2"]


def test_a_point_may_be_that_of_one_step(crash, operon):
    crash.at(Point.RECORDED, step="settle", workflow="Checkout")
    crash.run(shop.Checkout("book"), id="order-1")

    steps = [each.name for each in operon.list_steps("order-1")]

    assert steps == ["reserve", "charge"]


def test_a_point_may_be_that_of_a_later_time(crash, operon):
    crash.at(Point.COMMITTED, nth=2)
    crash.run(shop.Checkout("book"), id="order-1")

    steps = [each.name for each in operon.list_steps("order-1")]

    assert steps == ["reserve", "charge"]


def test_a_point_that_is_not_reached_is_told(crash):
    crash.at(Point.RECORDED, step="release")

    with pytest.raises(MisuseError, match="of step 'release' was not reached"):
        crash.run(shop.Checkout("book"), id="order-1")


def test_a_crash_without_a_point_is_refused(crash):
    with pytest.raises(MisuseError, match="call at"):
        crash.run(shop.Checkout("book"), id="order-1")
