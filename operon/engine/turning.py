"""How a claim ends before its run does: it is suspended, or goes on as another."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy import exc

from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.flow import ClaimAgain
from operon.engine.flow import MustDie
from operon.engine.patience import RunPatience
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.errors import RunConflictError
from operon.request import Request
from operon.store import finishes
from operon.store import runs
from operon.store import starts
from operon.store import waits
from operon.store.starts import Beginning
from operon.store.waits import Wait

T = TypeVar("T")


def suspend(run: ActiveRun, wait: Wait) -> None:
    """Let *run* hold nothing until *wait* is over.

    Raises:
        ClaimAgain: Something came in between, such as a cancel; its body has to look.
    """
    database = run.services.database

    def write() -> bool:
        with database.single() as connection:
            return waits.suspend(connection, database.backend, run.lease, wait)

    if not _insist(run, write):
        run.look()
        raise ClaimAgain
    # what it waits for may have come before the row said so: look at once
    run.services.tell(*([] if wait.on is None else [wait.on]))


def go_on(run: ActiveRun, asked: Request) -> None:
    """End *run* and write the run that goes on in its place, in one commit.

    Raises:
        ClaimAgain: Something came in between, such as a cancel; its body has to look.
    """
    database, clock = run.services.database, run.services.clock

    def write() -> bool:
        with database.transaction() as connection:
            successor = _inherited(connection, run, asked)
            ended = finishes.continue_as(
                connection,
                database.backend,
                run.lease,
                successor.id,
                clock=clock,
            )
            if not ended:
                return False
            if not starts.insert_new(
                connection, database.backend, successor, Beginning(), clock=clock
            ):
                taken = RunConflictError(successor.id, "exists already")
                raise MustDie(taken)
            return True

    if not _insist(run, write):
        run.look()
        raise ClaimAgain
    run.services.tell_due()
    run.services.tell(run.run_id)


def _inherited(connection: Connection, run: ActiveRun, asked: Request) -> starts.NewRun:
    """Return the row of the successor, with what the chain hands on."""
    inheritance = runs.inheritance(connection, run.run_id)
    return replace(
        asked.new, **inheritance, chain_id=run.address, deadline_at=run.deadline_at
    )


def _insist(run: ActiveRun, action: Callable[[], T]) -> T:
    """Return what *action*, one transaction, returns, in spite of a busy database.

    Raises:
        ClaimAgain: Whether it happened is unknown.
    """
    patience = RunPatience(run)
    while True:
        try:
            return action()
        except exc.SQLAlchemyError as error:
            if classify(error) is Fault.LOST:
                raise ClaimAgain from error
            patience.wait(Rejected.from_error(error))
