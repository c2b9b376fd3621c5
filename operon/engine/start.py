"""The row of a run that its caller executes here and now.

It is written just before the first operation, already claimed. If that operation is
a step, the step's own commit makes the row durable, and where the database can, the
row leaves together with the step's BEGIN; otherwise it is durable at once.
"""

from functools import partial

from sqlalchemy import exc

from operon.engine.faults import classify
from operon.engine.flow import GaveUp
from operon.engine.flow import IdTaken
from operon.engine.patience import RunPatience
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.engine.unit_of_work import Send
from operon.status import RunStatus
from operon.store import claims
from operon.store import starts
from operon.store.direct import Direct
from operon.store.starts import Beginning


def ensure_started(run: ActiveRun, *, lazily: bool) -> None:
    """Write the row of *run* if this is its first operation.

    Args:
        run: A run of this thread.
        lazily: A step follows at once: its synchronous commit makes the row durable,
            and its BEGIN may bring the row along (see `start_with_begin`).
    """
    if run.unstarted and not (
        lazily and run.services.database.backend.begins_with_start
    ):
        _start_alone(run, lazily=lazily)


def start_with_begin(run: ActiveRun) -> Send | None:
    """Return what writes the row of *run* ahead of a step's BEGIN, if it has none.

    After a try whose reply was lost the row is written first: whether it is this
    run's, only another connection could tell.
    """
    if run.unstarted and run.in_doubt:
        _start_alone(run, lazily=True)
    return partial(_start, run) if run.unstarted else None


def _start(run: ActiveRun, opening: Direct) -> None:
    commits = run.services.database.commits
    try:
        with commits.watched(opening.driver):  # the row is a transaction by itself
            written = _insert(run, opening, _beginning(run), lazily=True)
    except exc.SQLAlchemyError as error:
        run.in_doubt = True
        if classify(error).is_transient:
            raise
        run.break_with(GaveUp(error))  # no code of the step's is to blame
    if not written:
        run.break_with(IdTaken())
    run.unstarted = False


def _start_alone(run: ActiveRun, *, lazily: bool) -> None:
    if not write_row(run, _beginning(run), lazily=lazily):
        run.break_with(IdTaken())
    run.unstarted = False


def _beginning(run: ActiveRun) -> Beginning:
    return Beginning(
        status=RunStatus.RUNNING, executor=run.lease.executor, epoch=run.lease.epoch
    )


def write_row(run: ActiveRun, beginning: Beginning, *, lazily: bool = False) -> bool:
    """Write the row of *run* in a transaction of its own; False if its id is taken."""
    patience = RunPatience(run)
    while True:
        try:
            with run.services.database.direct(lazily=lazily) as connection:
                written = _insert(run, connection, beginning, lazily=lazily)
            return written or (run.in_doubt and is_mine(run))
        except exc.SQLAlchemyError as error:
            run.in_doubt = True
            patience.wait(Rejected.from_error(error))


def _insert(
    run: ActiveRun, connection: Direct, beginning: Beginning, *, lazily: bool
) -> bool:
    """Write the row of *run* unless its id is taken."""
    assert run.new is not None  # noqa: S101 - only a run begun here has no row yet
    backend, clock = run.services.database.backend, run.services.clock
    written = starts.insert_new(
        connection, backend, run.new, beginning, clock=clock, lazily=lazily
    )
    if written is None:
        return False
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
