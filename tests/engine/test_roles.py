"""Roles: who may have a workflow run, whoever executes it, and whenever."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from operon import RunStatus
from operon import Workflow
from operon import step
from operon import transaction
from operon.errors import RoleMissingError
from operon.errors import RunDeadError
from operon.models import WorkflowRun
from operon.testing import inline

STAFF = {"sub": "eve", "roles": ["staff", "customer"]}
CUSTOMER = {"sub": "ada", "roles": ["customer"]}
PATIENCE = timedelta(seconds=20)

REFUSED = [
    CUSTOMER,
    {"sub": "ada"},
    {"sub": "ada", "roles": []},
    {"sub": "ada", "roles": "staff"},  # a text is no list of roles
    {"sub": "ada", "roles": ["staffer", "STAFF", None, 7]},
    {"sub": "ada", "roles": {"staff": True}},
]

executed: list[str] = []


class RoleRefund(Workflow, roles={"staff", "boss"}):
    """Only for staff."""

    @step
    def pay(self, session: Session) -> None:
        """Pay it back."""
        executed.append("paid")

    def run(self) -> str:
        """Refund."""
        self.pay()
        return "refunded"


class RoleStarts(Workflow):
    """Anybody may, but what it starts is for staff."""

    def run(self) -> str:
        """Start it for whoever asked for this run."""
        return self.start(RoleRefund()).result()


@transaction(roles={"staff"})
def role_settle(session: Session) -> str:
    """Only for staff."""
    executed.append("settled")
    return "settled"


@pytest.fixture(autouse=True)
def _nothing_executed():
    executed.clear()


@pytest.mark.parametrize("workflow", [RoleRefund(), role_settle()], ids=["wf", "tx"])
@pytest.mark.parametrize("principal", REFUSED, ids=str)
def test_a_principal_without_the_role_gets_no_run(operon, workflow, principal):
    for ask in operon.run, operon.start:
        with pytest.raises(RoleMissingError, match="needs one of the roles"):
            ask(workflow, principal=principal)

    assert operon.list_runs() == []
    assert executed == []


def test_a_principal_with_one_of_the_roles_gets_it(operon):
    assert operon.run(RoleRefund(), principal=STAFF) == "refunded"
    assert operon.run(role_settle(), principal=STAFF) == "settled"


def test_the_program_itself_needs_no_role(operon):
    assert operon.run(RoleRefund()) == "refunded"


def test_a_run_in_a_queue_is_not_executed_for_a_principal_who_lost_the_role(operon):
    handle = operon.start(RoleRefund(), id="late", principal=STAFF)
    with Session(operon.engine) as session, session.begin():
        session.execute(update(WorkflowRun).values(principal=CUSTOMER))

    operon.launch()

    with pytest.raises(RunDeadError, match="needs one of the roles boss, staff"):
        handle.result(PATIENCE)
    assert operon.get_run("late").status is RunStatus.DEAD
    assert executed == []


def test_a_run_that_is_recovered_is_not_continued_without_the_role(operon):
    operon.start(RoleRefund(), id="crashed", principal=STAFF)
    with Session(operon.engine) as session, session.begin():
        session.execute(
            update(WorkflowRun).values(
                status=RunStatus.RUNNING, executor="gone", epoch=1, principal=CUSTOMER
            )
        )

    with (
        inline(operon),  # where nobody waits for the lease of who is gone
        pytest.raises(RunDeadError, match="needs one of the roles"),
    ):
        operon.run(RoleRefund(), id="crashed", principal=STAFF)

    assert executed == []


def test_a_child_is_refused_to_whoever_asked_for_its_parent(operon):
    with pytest.raises(RoleMissingError):
        operon.run(RoleStarts(), id="parent", principal=CUSTOMER)

    assert [run.id for run in operon.list_runs()] == ["parent"]
    assert operon.run(RoleStarts(), principal=STAFF) == "refunded"
