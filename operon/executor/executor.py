"""This process as an executor: its heartbeat, its keeper, its callers' runs."""

import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sqlalchemy import exc

from operon import registry
from operon.engine.execution import NOTHING
from operon.engine.execution import activate
from operon.engine.execution import attend
from operon.engine.execution import load
from operon.engine.execution import release
from operon.engine.patience import insist
from operon.engine.rejected import Rejected
from operon.engine.run import ActiveRun
from operon.engine.services import Services
from operon.engine.transactions import Companion
from operon.engine.transactions import read
from operon.engine.transactions import transact
from operon.errors import DatabaseUnavailableError
from operon.errors import ExecutorStoppedError
from operon.executor.gauges import Gauges
from operon.executor.heartbeat import Heartbeat
from operon.executor.keeper import Keeper
from operon.executor.notifier import Notifier
from operon.executor.peers import Peers
from operon.executor.planner import Planner
from operon.executor.process import this_process
from operon.executor.retention import Keeping
from operon.executor.retention import Retention
from operon.executor.workers import Workers
from operon.registry import Declared
from operon.results import Results
from operon.status import RunStatus
from operon.store import claims
from operon.store import limited
from operon.store import waits
from operon.store.checkpoints import Lease
from operon.store.executors import Presence
from operon.store.finishes import Finish
from operon.store.runs import Result
from operon.store.starts import NewRun
from operon.transaction import Invocation

_TURN_POLL = 0.02  # seconds


class Executor:
    """One process that works on runs; nothing of it exists before `be_present`."""

    def __init__(
        self,
        services: Services,
        results: Results,
        *,
        heartbeat: timedelta,
        notifies: bool,
        keeping: Keeping,
    ) -> None:
        self.services = services
        self.results = results
        self._here = this_process()
        self._peers = Peers(self._here, services.lease)
        self._heartbeat = Heartbeat(services, self._peers, self._presence, heartbeat)
        self._keeper = Keeper(
            services,
            self._heartbeat,
            self._workers(),
            Planner(services),
            Retention(services, keeping),
            queues=(),
        )
        self.notifier = Notifier(services, self._hear, enabled=notifies)
        self._mutex = threading.Lock()
        self._is_present = False
        services.may_begin = self._heartbeat.is_fresh
        services.renew = self._heartbeat.renew
        services.tell = self.notifier.tell
        services.tell_due = self.notifier.tell_due
        services.is_crowded = self._keeper.workers.is_crowded
        services.help = self.help
        services.hooks.source = Gauges(services, self._keeper.workers, self._heartbeat)

    def be_present(self) -> None:
        """Announce this process to the others, unless that was done.

        Raises:
            DatabaseUnavailableError: The patience is over.
        """
        if not self._is_present:
            insist(self.services.clock, self.services.patience, self._appear)

    def launch(self, queues: Collection[str]) -> None:
        """Claim runs of *queues* from now on, and what other executors leave."""
        was_present = self._is_present
        self.services.hooks.find()
        self._keeper.queues = queues
        self.be_present()
        if was_present:
            self._heartbeat.tell()
        self.notifier.listen()
        self._keeper.wake()

    def wake(self) -> None:
        """Look for work now: some was just started here."""
        self._keeper.wake()

    def shut_down(self, timeout: timedelta) -> None:
        """Stop claiming; let operations under way end, and give every run back."""
        self.services.stopping.set()
        for run in self.services.active.each():
            run.interrupt()
        with self._mutex:
            if self._is_present:
                clean = self._keeper.stop(timeout)
                self._heartbeat.stop(leave=clean and not len(self.services.active))
            self.notifier.stop()

    def run(self, declared: Declared, workflow: Any, new: NewRun) -> Any:
        """Execute *new* in this thread; return its result.

        If the run is taken over, wait for whoever has it, and continue it here when
        nobody does.

        Raises:
            IdTaken: Somebody started this id before.
        """
        self._await_turn(new.id)
        run = self._fresh(declared, workflow, new)
        try:
            how = attend(run)
        except BaseException:
            release(run)
            raise
        finally:
            self.services.active.leave(new.id)
        if how is None:
            return self.wait_for(new.id)
        return self._resolved(run, _as_result(new, how))

    def transact(
        self,
        invocation: Invocation[Any],
        new: NewRun,
        companion: Companion | None = None,
    ) -> Any:
        """Run a transaction that is its own run; return its result.

        Raises:
            IdTaken: The id is another run's already.
        """
        run = self._fresh(invocation.transaction, invocation, new)
        return transact(run, companion)

    def read(self, invocation: Invocation[Any], new: NewRun) -> Any:
        """Run a read-only transaction, which leaves no trace."""
        return read(self._fresh(invocation.transaction, invocation, new))

    def wait_for(self, run_id: str) -> Any:
        """Wait for the result of *run_id*; continue it here if nobody else does."""
        found = self.results.wait(run_id, None, meanwhile=self._help)
        return self.results.resolve(run_id, found)

    def help(self, run_id: str) -> None:
        """Execute *run_id* in this thread as far as it goes, if nobody else does.

        What keeps it from going on is not for the run that waits for it to know.
        """
        with suppress(ExecutorStoppedError, DatabaseUnavailableError):
            found = self.results.find(run_id)
            if found is not None and not found.status.is_final:
                self._help(run_id, found)

    def _await_turn(self, run_id: str) -> None:
        """Wait until no other thread of this process executes *run_id*."""
        never = threading.Event()
        while not self.services.active.enter(run_id):
            self.services.clock.wait(never, _TURN_POLL)

    def _help(self, run_id: str, found: Result) -> None:
        """Continue *run_id*, or what it waits for, if it is free for the taking.

        Raises:
            ExecutorStoppedError: This process was shut down, so it cannot.
        """
        if self.services.stopping.is_set():
            raise ExecutorStoppedError(run_id)
        gone = self._peers.gone()
        if found.status is RunStatus.RUNNING and found.executor not in gone:
            return
        try:
            if found.status is RunStatus.WAITING and not self._wake(run_id, found):
                return
            self._take(run_id, found, gone)
        except exc.SQLAlchemyError as error:
            # whether it is ours now is unknown: the heartbeat will find out
            Rejected.from_error(error)

    def _wake(self, run_id: str, found: Result) -> bool:
        """Wake *run_id* if its wait is over; if it waits for a child, help that."""
        if found.wait_kind == "result" and found.wait_on is not None:
            self.help(found.wait_on)
        services = self.services
        backend, clock = services.database.backend, services.clock
        with services.database.reading() as connection:
            if not waits.any_over(connection, backend, [run_id], clock=clock):
                return False
        with services.database.transaction() as connection:
            return bool(waits.wake(connection, backend, runs=[run_id], clock=clock))

    def _take(self, run_id: str, found: Result, gone: Collection[str]) -> None:
        declared = registry.find(found.workflow, found.version)
        if declared is None or not self.services.active.enter(run_id):
            return
        try:
            claimed = self._claim(run_id, declared, gone)
            if claimed is not None:
                self._continue(declared, claimed)
        finally:
            self.services.active.leave(run_id)

    def _claim(
        self, run_id: str, declared: Declared, gone: Collection[str]
    ) -> claims.Claimed | None:
        """Claim *run_id* by its id, within the limits of its queue."""
        services, executor = self.services, self.services.executor
        backend, clock = services.database.backend, services.clock
        with services.database.transaction() as connection:
            claimed = claims.claim_one(
                connection, backend, executor, run_id, gone=gone, clock=clock
            )
            place = None if claimed else limited.place_of(connection, run_id)
            if place is None:
                return claimed
            found = limited.claim_limited(
                connection,
                backend,
                executor,
                place,
                known=[declared.key],
                limit=1,
                clock=clock,
                only=run_id,
            )
        return found[0] if found else None

    def _continue(self, declared: Declared, claimed: claims.Claimed) -> None:
        before = load(self.services, [claimed]).get(claimed.id, NOTHING)
        run = activate(self.services, declared, claimed, before, foreground=True)
        try:
            attend(run)
        except BaseException:
            release(run)
            raise

    def _hear(self, on: Collection[str]) -> None:
        """Look whether what happened at the addresses *on* concerns this process."""
        for run in self.services.active.each():
            run.nudge()
        self._keeper.hear(on)

    def _fresh(self, declared: Declared, workflow: Any, new: NewRun) -> ActiveRun:
        return ActiveRun(
            self.services,
            declared,
            workflow,
            Lease(new.id, self.services.executor, 1),
            principal=new.principal,
            root_id=new.root_id,
            foreground=True,
            new=new,
        )

    def _resolved(self, run: ActiveRun, found: Result) -> Any:
        try:
            return self.results.resolve(run.run_id, found)
        except Exception as error:
            if run.traceback is not None:
                raise error.with_traceback(run.traceback)  # noqa: B904 - it is the same error
            raise

    def _workers(self) -> Workers:
        return Workers(self.services, self.services.threads)

    def _appear(self) -> None:
        with self._mutex:
            if not self._is_present:
                self._heartbeat.start()
                self._keeper.start()
                self._is_present = True

    def _presence(self) -> Presence:
        return Presence(
            id=self.services.executor,
            **asdict(self._here),
            code_version=self.services.code_version,
            workflows=[list(key) for key in registry.known()],
            queues=list(self._keeper.queues),
        )


def _as_result(new: NewRun, how: Finish) -> Result:
    return Result(
        workflow=new.workflow,
        version=new.version,
        status=how.status,
        executor=how.lease.executor,
        output=how.output,
        error=how.error,
        codec=how.codec,
    )
