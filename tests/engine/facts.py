"""What tests ask the database and the pool: looking only, by public means."""

from typing import Any

from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import Operon
from operon.models import Attempt
from operon.models import Checkpoint
from operon.models import WorkflowRun
from tests.processes import eventually
from tests.shop import Order
from tests.shop import Product


def count(operon: Operon, entity: type[Any] = Order, **having: Any) -> int:
    """Return how many committed rows of *entity* have these values."""
    with Session(operon.engine) as session:
        query = select(func.count()).select_from(entity).filter_by(**having)
        return session.scalar(query) or 0


def stock(operon: Operon, sku: str = "book") -> int:
    """Return how many of *sku* are left (of 100)."""
    with Session(operon.engine) as session:
        return session.get_one(Product, sku).stock


def history(operon: Operon, run_id: str) -> list[tuple[int, str, str]]:
    """Return position, kind and name of everything recorded of *run_id*."""
    steps = operon.list_steps(run_id)
    return [(each.position, each.kind, each.name) for each in steps]


def names(operon: Operon, run_id: str) -> list[str]:
    """Return the names of the operations recorded of *run_id*, in order."""
    return [name for _, _, name in history(operon, run_id)]


def attempts(operon: Operon, run_id: str) -> list[Attempt]:
    """Return the failed attempts of *run_id*, in order."""
    with Session(operon.engine) as session:
        query = select(Attempt).where(Attempt.run_id == run_id)
        ordered = query.order_by(Attempt.position, Attempt.attempt)
        found = list(session.scalars(ordered))
        session.expunge_all()
        return found


def status(operon: Operon, run_id: str) -> str:
    """Return the status of *run_id* as its row says it."""
    return str(operon.get_run(run_id).status)


def tamper(operon: Operon, run_id: str, at: int | None, **values: Any) -> None:
    """Overwrite what is stored: of the run, or of its checkpoint *at* a position."""
    with Session(operon.engine) as session, session.begin():
        if at is None:
            change = update(WorkflowRun).where(WorkflowRun.id == run_id)
        else:
            change = update(Checkpoint).where(
                Checkpoint.run_id == run_id, Checkpoint.position == at
            )
        session.execute(change.values(values))


def insert_order(session: Session, run_id: str = "r", sku: str = "book") -> Order:
    """Add an order to *session* and send it."""
    order = Order(sku=sku, quantity=1, run_id=run_id)
    session.add(order)
    session.flush()
    return order


def await_empty_pool(operon: Operon) -> None:
    """Make sure that every pooled connection comes back.

    The heartbeat and the keeper borrow one now and then, for a moment.
    """
    pool: Any = operon.engine.pool
    eventually(lambda: pool.checkedout() == 0, timeout=5, saying="a leaked connection")
