"""Asserting the invariants of runs under way, in a transaction about to commit."""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from operon.engine.services import ActiveRuns
from operon.invariant import Invariant


class InvariantBroken(BaseException):
    """What an invariant says must hold would not hold after the next COMMIT.

    It derives from BaseException, so that the workflow's own code cannot swallow it:
    the test fails. The transaction is rolled back.

    Attributes:
        run_id: The run.
        invariant: The name of the method.
    """

    def __init__(self, run_id: str, invariant: str, problem: Exception) -> None:
        said = f"{type(problem).__name__}: {problem}".removesuffix(": ")
        super().__init__(f"invariant {invariant!r} of run {run_id!r} is broken: {said}")
        self.run_id = run_id
        self.invariant = invariant


def assert_invariants(active: ActiveRuns, connection: Connection) -> None:
    """Call the invariants of every run under way here.

    They get a session within the transaction of *connection*, which sees what was
    flushed; what they write themselves is rolled back.

    Raises:
        InvariantBroken: One of them raised.
    """
    for run in active.each():
        for each in run.declared.invariants:
            _assert(each, run.workflow, run.lease.run_id, connection)


def _assert(
    invariant: Invariant, workflow: Any, run_id: str, connection: Connection
) -> None:
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        try:
            invariant(workflow, session)
        except Exception as problem:
            name = getattr(invariant, "__name__", repr(invariant))
            raise InvariantBroken(run_id, name, problem) from problem
