"""Starting: writing the row of a run that somebody else will execute."""

from typing import Literal

from sqlalchemy import Connection
from sqlalchemy import exc
from sqlalchemy.orm import Session

from operon.context import Place
from operon.context import frame
from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.patience import insist
from operon.engine.services import Services
from operon.errors import MisuseError
from operon.errors import RunConflictError
from operon.models import WorkflowRun
from operon.request import Request
from operon.store import runs
from operon.store.runs import Beginning

OnConflict = Literal["return", "raise"]


def start(
    services: Services,
    asked: Request,
    *,
    on_conflict: OnConflict,
    session: Session | None,
) -> None:
    """Write the row of *asked*, in *session*'s transaction or in one of its own.

    Raises:
        RunConflictError: The id is another run's.
        DatabaseUnavailableError: It could not be written in time.
    """
    if session is not None:
        write(services, services.database.joined(session), asked, on_conflict)
        return

    in_doubt = False

    def alone() -> None:
        nonlocal in_doubt
        # an earlier try, its reply lost, may have written what is found now
        strictness: OnConflict = "return" if in_doubt else on_conflict
        try:
            with services.database.single() as connection:
                write(services, connection, asked, strictness)
        except exc.SQLAlchemyError as error:
            in_doubt = in_doubt or classify(error) is Fault.LOST
            raise

    insist(services.clock, services.patience, alone)


def write(
    services: Services, connection: Connection, asked: Request, on_conflict: OnConflict
) -> None:
    """Write the row of *asked* unless its id is taken; then compare."""
    backend, clock = services.database.backend, services.clock
    if runs.insert_new(connection, backend, asked.new, Beginning(), clock=clock):
        return
    with Session(bind=connection) as session:
        found = runs.find(session, asked.new.id)
    if found is not None:
        compare(services, asked, found, on_conflict)


def compare(
    services: Services, asked: Request, found: WorkflowRun, on_conflict: OnConflict
) -> None:
    """Refuse *asked* if the run *found* under its id is not the same.

    Raises:
        RunConflictError: It is not, or its existence is enough.
    """
    if on_conflict == "raise":
        raise RunConflictError(found.id, "exists already")
    asked.refuse_unless_same(found, services.payloads)


def refuse_in_body(called: str) -> None:
    """Refuse *called* in a body, where it would happen again on every replay."""
    place = frame()
    if place is not None and place.place is Place.BODY:
        raise MisuseError(
            called,
            "was called inside a body, where it would happen again on every replay",
            cure="call it from a step or an activity of the workflow",
        )


def refuse_in_run(called: str) -> None:
    """Refuse *called* anywhere in a run: it would wait for another one.

    Raises:
        MisuseError: A body, step or activity is executing here.
    """
    place = frame()
    if place is not None:
        raise MisuseError(
            called,
            f"was called inside the {place.place} of a run",
            cure="call the other workflow's steps from the body, or start it with "
            "operon.start from a step",
        )
