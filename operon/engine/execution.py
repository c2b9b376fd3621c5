"""Executing a run from its claim to its end, through whatever happens in between."""

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import exc

from operon.codec import Undecodable
from operon.engine.body import play
from operon.engine.body import raised
from operon.engine.faults import Fault
from operon.engine.flow import ClaimAgain
from operon.engine.flow import Continued
from operon.engine.flow import GaveUp
from operon.engine.flow import IdTaken
from operon.engine.flow import LeaseLost
from operon.engine.flow import MustDie
from operon.engine.flow import Stopping
from operon.engine.flow import Suspended
from operon.engine.patience import Patience
from operon.engine.patience import RunPatience
from operon.engine.patience import impatient
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.engine.services import Services
from operon.engine.start import write_row
from operon.engine.telling import claim_told
from operon.engine.turning import go_on
from operon.engine.turning import suspend
from operon.errors import DecodeError
from operon.errors import ExecutorStoppedError
from operon.errors import RoleMissingError
from operon.errors import RunDeadError
from operon.points import Point
from operon.registry import Declared
from operon.request import refuse_unless_allowed
from operon.status import RunStatus
from operon.store import attempts
from operon.store import checkpoints
from operon.store import claims
from operon.store.attempts import Past
from operon.store.checkpoints import Lease
from operon.store.checkpoints import Record
from operon.store.claims import Claimed
from operon.store.finishes import Finish
from operon.store.starts import Beginning


def attend(run: ActiveRun) -> Finish | None:
    """Execute *run* until it has ended, or is not this process's any more.

    Returns:
        How it ended, once the database has acknowledged it; None if it waits, goes
        on as another run, or somebody else holds or ended it: its row can tell.

    Raises:
        IdTaken: Somebody started this id before.
        DatabaseUnavailableError: A caller waits, and the patience is over.
        ExecutorStoppedError: A caller waits, and this process was shut down.
    """
    try:
        return _persevere(run)
    except (LeaseLost, Suspended, Continued):
        return None
    except Stopping:
        release(run)
        if run.foreground:
            raise ExecutorStoppedError(run.run_id) from None
        return None
    except GaveUp as tired:
        raise tired.error from tired.error.__cause__


def _persevere(run: ActiveRun) -> Finish:
    """Execute *run* under one claim after another, until a claim lives to its end."""
    patience, progress = _doubt(run), run.recorded
    while True:
        try:
            return _lived(run)
        except ClaimAgain:
            if run.recorded > progress:
                patience, progress = _doubt(run), run.recorded
            patience.wait(Rejected(Fault.LOST, sent=True))
            run = _claimed_again(run)


def _doubt(run: ActiveRun) -> Patience:
    """Return the patience with commits whose outcome is unknown, one after another."""
    limit = run.services.patience if run.foreground else None
    return impatient(run.services.clock, limit)


def _lived(run: ActiveRun) -> Finish:
    """Execute *run* under the claim it has, and write how it ended; hooks are told."""
    if not run.services.hooks:
        return _live(run)
    with claim_told(run) as told:
        told.finish = how = _live(run)
    return how


def _live(run: ActiveRun) -> Finish:
    """Execute the body of *run* and write how it ended."""
    run.services.active.show(run)
    try:
        how = run.problem or _played(run)
    except MustDie as death:
        how = raised(run, RunStatus.DEAD, death.error)
    except (SystemExit, KeyboardInterrupt) as error:
        if run.foreground:
            raise
        reason = f"its body raised {type(error).__name__}"
        how = raised(run, RunStatus.DEAD, RunDeadError(run.run_id, reason))
    return _finished(run, how)


def _played(run: ActiveRun) -> Finish:
    """Play the body of *run*; if it does not end, write what becomes of the run."""
    try:
        return play(run)
    except Suspended as flow:
        suspend(run, flow.wait)
        raise
    except Continued as flow:
        go_on(run, flow.request)
        raise


@dataclass(frozen=True)
class Recollection:
    """What earlier claims have recorded of a run."""

    history: Sequence[Record] = ()
    pasts: Mapping[int, Past] = field(default_factory=dict[int, Past])


NOTHING = Recollection()


def load(services: Services, claimed: Collection[Claimed]) -> dict[str, Recollection]:
    """Return what is recorded of runs whose claims are committed, if they had any.

    Raises:
        SQLAlchemyError: It could not be read.
    """
    begun = [each.id for each in claimed if not each.is_new]
    if not begun:
        return {}
    with services.database.reading() as connection:
        histories = checkpoints.histories(connection, begun)
        pasts = attempts.pasts(connection, begun)
    return {run_id: Recollection(histories[run_id], pasts[run_id]) for run_id in begun}


def activate(
    services: Services,
    declared: Declared,
    claimed: Claimed,
    before: Recollection,
    *,
    foreground: bool = False,
    since: float | None = None,
) -> ActiveRun:
    """Make a claimed run live, with what was *before*; if it cannot go on, it dies.

    It was claimed just now, or *since* then by the monotonic clock.
    """
    services.probe(Point.LOADED, claimed.id)
    run = ActiveRun(
        services,
        declared,
        None,
        claimed.lease,
        history=before.history,
        pasts=before.pasts,
        principal=claimed.principal,
        root_id=claimed.root_id,
        chain_id=claimed.chain_id,
        foreground=foreground,
    )
    run.recall(claimed, since=since)
    run.problem = _problem(run, claimed, before.history)
    return run


def release(run: ActiveRun) -> None:
    """Give *run* back to its queue, if its row is there and still ours.

    If the database does not answer, the heartbeat finds the run later.
    """
    if not run.unstarted:
        with suppress(exc.SQLAlchemyError):
            give_back(run.services, run.lease)


def give_back(
    services: Services, lease: Lease, *, after: timedelta = timedelta(0)
) -> None:
    """Give the run of *lease* back to its queue *after* that time, if it still holds.

    Raises:
        SQLAlchemyError: It is not given back now; the heartbeat finds the run later.
    """
    with services.database.transaction() as connection:
        claims.release(
            connection,
            services.database.backend,
            lease,
            clock=services.clock,
            after=after,
        )


def _problem(
    run: ActiveRun, claimed: Claimed, history: Sequence[Record]
) -> Finish | None:
    """Decode the input of *run*; return how it has to end if it cannot continue."""
    error = _reason_to_die(run, claimed, history)
    return None if error is None else raised(run, RunStatus.DEAD, error)


def _reason_to_die(
    run: ActiveRun, claimed: Claimed, history: Sequence[Record]
) -> Exception | None:
    declared = run.declared
    if claimed.recoveries > declared.max_recoveries:
        return RunDeadError(
            run.run_id,
            f"it was taken over {claimed.recoveries} times without recording anything",
        )
    if _has_hole(history):
        return RunDeadError(run.run_id, "its history has a hole")
    try:
        text = run.services.payloads.unwrap(claimed.input, claimed.codec)
        run.workflow = declared.decode(text)
    except Undecodable as error:
        return DecodeError(f"the input of run {run.run_id!r}", error.reason)
    try:
        refuse_unless_allowed(declared, run.run_id, claimed.principal)
    except RoleMissingError as error:
        return error
    return None


def _has_hole(history: Sequence[Record]) -> bool:
    """Tell whether a position is missing that no spawned operation left open."""
    before = 0
    for record in history:
        first = record.position if record.open_from is None else record.open_from
        if first > before + 1:
            return True
        before = record.position
    return False


def _finished(run: ActiveRun, how: Finish) -> Finish:
    """Write how *run* ended, its row included if no operation has written it.

    Raises:
        LeaseLost: It was not ours to end.
    """
    if run.unstarted:
        return _written_whole(run, how)
    patience = RunPatience(run)
    while True:
        try:
            if run.services.finisher.finish(how):
                run.services.probe(Point.FINISHED, run.run_id)
                return how
            run.look()
            how = replace(how, lease=run.lease)
        except exc.SQLAlchemyError as error:
            patience.wait(Rejected.from_error(error))


def _written_whole(run: ActiveRun, how: Finish) -> Finish:
    """Write the row of a run that had no operation, in its final status."""
    beginning = Beginning(
        status=how.status,
        executor=run.lease.executor,
        epoch=run.lease.epoch,
        output=how.output,
        error=how.error,
        outcome_codec=how.codec,
    )
    if write_row(run, beginning):
        return how
    raise IdTaken


def _claimed_again(run: ActiveRun) -> ActiveRun:
    """Claim *run* under a new epoch, and load what its history says now.

    The claim waits for the pending transaction whose outcome is unknown.

    Raises:
        LeaseLost: Somebody else holds it, or it has ended, or this process stops
            and leaves it to others.
    """
    services, patience = run.services, RunPatience(run)
    while not services.stopping.is_set():
        try:
            with services.database.transaction() as connection:
                claimed = claims.claim_again(
                    connection,
                    services.database.backend,
                    run.lease.executor,
                    run.run_id,
                    clock=services.clock,
                )
            if claimed is None:
                return _begun_anew(run)
            services.probe(Point.CLAIMED, run.run_id)
            before = load(services, [claimed]).get(claimed.id, NOTHING)
        except exc.SQLAlchemyError as error:
            patience.wait(Rejected.from_error(error))
        except ClaimAgain:
            continue
        else:
            again = activate(
                services,
                run.declared,
                claimed,
                before,
                foreground=run.foreground,
            )
            again.new = run.new
            return again
    raise LeaseLost


def _begun_anew(run: ActiveRun) -> ActiveRun:
    """Return *run* as it was before its first operation, if its row is lost.

    A start commits asynchronously when a step follows; if the server crashed before
    the step was durable, neither ever happened.
    """
    with run.services.database.reading() as connection:
        row_is_lost = claims.holding(connection, run.run_id) is None
    if run.new is None or not row_is_lost:
        raise LeaseLost
    return ActiveRun(
        run.services,
        run.declared,
        run.workflow,
        run.lease,
        principal=run.principal,
        foreground=run.foreground,
        new=run.new,
    )
