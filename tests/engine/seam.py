"""What the tests of the seam share: a step that is disturbed before its record."""

from collections.abc import Callable

from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon import current
from operon import step
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.status import RunStatus
from operon.store import control
from operon.store import finishes
from operon.store import orphans
from operon.store.checkpoints import Lease
from operon.store.finishes import Finish
from tests.shop import Order

disturb: list[Callable[[str], None]] = []
"""What happens, once, while the step's transaction is open; called with the run id."""


class Disturbed(Workflow):
    """One step, disturbed after its rows were written and before its record."""

    @step
    def insert(self, session: Session) -> int:
        order = Order(sku="book", quantity=1, run_id=current().run_id)
        session.add(order)
        session.flush()
        while disturb:
            disturb.pop()(current().run_id)
        return order.id

    def run(self) -> int:
        return self.insert()


def orders(operon: Operon, run_id: str) -> int:
    """Return how many orders of *run_id* are committed."""
    with Session(operon.engine) as session:
        query = select(func.count()).where(Order.run_id == run_id)
        return session.scalar(query) or 0


def checkpoints_of(operon: Operon, run_id: str) -> list[Checkpoint]:
    """Return what is recorded of *run_id*."""
    return operon.list_steps(run_id)


def holder(operon: Operon, run_id: str) -> str:
    """Return the executor that holds *run_id*."""
    return str(operon.get_run(run_id).executor)


def take_over_and_finish(operon: Operon, run_id: str) -> None:
    """Let another executor claim *run_id* from its holder and end it with -1."""
    services = operon._process.made().services
    with services.database.transaction() as connection:
        claimed = orphans.claim_orphans(
            connection,
            services.database.backend,
            "thief",
            gone=[services.executor],
            known=[("Disturbed", 1)],
            limit=1,
            clock=services.clock,
        )
    assert [each.id for each in claimed] == [run_id]
    with services.database.transaction() as connection:
        how = Finish(lease=claimed[0].lease, status=RunStatus.SUCCEEDED, output="-1")
        finishes.finish(
            connection, services.database.backend, [how], clock=services.clock
        )


def lose_the_claim(operon: Operon, run_id: str) -> None:
    """Do what is left after a crash that lost the claim: another has its epoch."""
    services = operon._process.made().services
    with services.database.transaction() as connection:
        one = update(WorkflowRun).where(WorkflowRun.id == run_id)
        connection.execute(one.values(executor="thief"))
        lease = Lease(run_id, "thief", operon.get_run(run_id).epoch)
    with services.database.transaction() as connection:
        how = Finish(lease=lease, status=RunStatus.SUCCEEDED, output="-1")
        finishes.finish(
            connection, services.database.backend, [how], clock=services.clock
        )


def cancel(operon: Operon, run_id: str) -> None:
    """Ask *run_id* to end, in a transaction of its own."""
    services = operon._process.made().services
    with services.database.transaction() as connection:
        control.request_cancel(
            connection, services.database.backend, run_id, clock=services.clock
        )


def force_cancel(operon: Operon, run_id: str) -> None:
    """End *run_id* by force, in a transaction of its own."""
    services = operon._process.made().services
    with services.database.transaction() as connection:
        control.force_cancel(
            connection, services.database.backend, run_id, clock=services.clock
        )
