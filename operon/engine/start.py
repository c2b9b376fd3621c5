"""The row of a run that its caller executes here and now.

It is written just before the first operation, already claimed. If that operation is
a step, the step's own commit makes the row durable; otherwise it is durable at once.
"""

from sqlalchemy import exc

from operon.engine.flow import IdTaken
from operon.engine.patience import RunPatience
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.status import RunStatus
from operon.store import claims
from operon.store import starts
from operon.store.starts import Beginning


def ensure_started(run: ActiveRun, *, lazily: bool) -> None:
    """Write the row of *run* if this is its first operation.

    Args:
        run: A run of this thread.
        lazily: A synchronous commit of the same run follows at once.
    """
    if not run.unstarted:
        return
    beginning = Beginning(
        status=RunStatus.RUNNING, executor=run.lease.executor, epoch=run.lease.epoch
    )
    if not write_row(run, beginning, lazily=lazily):
        run.break_with(IdTaken())
    run.unstarted = False


def write_row(run: ActiveRun, beginning: Beginning, *, lazily: bool = False) -> bool:
    """Write the row of *run* in a transaction of its own; False if its id is taken."""
    assert run.new is not None  # noqa: S101 - only a run begun here has no row yet
    services, patience, in_doubt = run.services, RunPatience(run), False
    while True:
        try:
            with services.database.direct(lazily=lazily) as connection:
                written = starts.insert_new(
                    connection,
                    services.database.backend,
                    run.new,
                    beginning,
                    clock=services.clock,
                    lazily=lazily,
                )
            if written is None:
                return in_doubt and is_mine(run)
        except exc.SQLAlchemyError as error:
            in_doubt = True
            patience.wait(Rejected.from_error(error))
        else:
            run.begin(written.created_at, written.deadline_at)
            return True


def is_mine(run: ActiveRun) -> bool:
    """Tell whether an earlier try of this run, its reply lost, wrote the row."""
    with run.services.database.reading() as connection:
        held = claims.holding(connection, run.run_id)
    mine = (
        held is not None
        and held.executor == run.lease.executor
        and held.epoch == run.lease.epoch
    )
    if held is not None and mine:
        run.begin(held.created_at, held.deadline_at)
    return mine
