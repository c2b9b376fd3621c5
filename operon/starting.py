"""Starting: writing the row of a run that somebody else will execute."""

from sqlalchemy import exc
from sqlalchemy.orm import Session

from operon.context import frame
from operon.engine.enqueueing import enqueue
from operon.engine.enqueueing import enqueue_alone
from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.patience import insist
from operon.engine.services import Services
from operon.errors import MisuseError
from operon.registry import OnConflict
from operon.request import Request


def start(
    services: Services,
    asked: Request,
    *,
    on_conflict: OnConflict,
    session: Session | None,
) -> str:
    """Write the row of *asked*, in *session*'s transaction or in one of its own.

    Returns:
        The id of the run: another's, if *asked* joins that (see `enqueue`).

    Raises:
        RunConflictError: The id is another run's.
        DuplicateRunError: The deduplication key is.
        DatabaseUnavailableError: It could not be written in time.
    """
    if session is not None:
        return enqueue(services, services.database.joined(session), asked, on_conflict)

    in_doubt = False

    def alone() -> str:
        nonlocal in_doubt
        # an earlier try, its reply lost, may have written what is found now
        strictness: OnConflict = "return" if in_doubt else on_conflict
        try:
            return enqueue_alone(services, asked, strictness)
        except exc.SQLAlchemyError as error:
            in_doubt = in_doubt or classify(error) is Fault.LOST
            raise

    return insist(services.clock, services.patience, alone)


def refuse_in_run(called: str, instead: str) -> None:
    """Refuse *called* anywhere in a run: it would wait for another one.

    Raises:
        MisuseError: A body, step or activity is executing here.
    """
    place = frame()
    if place is not None:
        raise MisuseError(
            called,
            f"was called inside the {place.place} of a run",
            cure=f"{instead}, or start it with operon.start from a step",
        )
