"""An executor without threads: whoever waits for a run executes what there is to do.

It looks around as the keeper does, claims, and executes, in the thread that asks. It is
for tests: nobody else may work on its database, and nothing happens between two calls.

Source:
    Oban, "Testing": the modes `inline` and `manual`, and draining a queue.
"""

from collections.abc import Collection
from datetime import datetime
from datetime import timedelta
from typing import Any

from operon import registry
from operon.executor.executor import Executor
from operon.executor.workers import Workers
from operon.store import executors
from operon.store.claims import Claimed
from operon.store.runs import Result
from operon.store.upcoming import upcoming

_MOMENT = timedelta(seconds=1)


class InlineExecutor(Executor):
    """Executes runs when it is told to; see `advance`."""

    def be_present(self) -> None:
        """Do nothing: there is nobody else."""

    def launch(self, queues: Collection[str]) -> None:
        """Serve *queues* as well, whenever `advance` is called."""
        self.services.hooks.find()
        self._keeper.queues = queues

    def shut_down(self, timeout: timedelta) -> None:
        """Execute nothing more."""
        del timeout
        self.services.stopping.set()

    def help(self, run_id: str) -> None:
        """Do nothing: who waits executes whatever is due, in its order."""

    def _help(self, run_id: str, found: Result) -> None:
        """Do nothing, as `help`."""

    def advance(self) -> bool:
        """Look around once, and execute what is due now.

        Returns:
            Whether there was anything.
        """
        self._notice_the_abandoned()
        keeper = self._keeper
        keeper.is_thorough = True
        keeper.queues = {*keeper.queues, *self.services.queues()}
        return bool(keeper.look())

    def upcoming(self, after: datetime) -> datetime | None:
        """Return the first moment *after* that with something to do; None: never."""
        services = self.services
        if self._keeper.is_held_back:  # until when, only the next claim can say
            return services.clock.now() + _MOMENT
        with services.database.reading() as connection:
            return upcoming(
                connection,
                known=registry.known(),
                after=after,
            )

    def _notice_the_abandoned(self) -> None:
        """See which runs are held by nobody: no lease has to be waited for here.

        Those of this executor that are not under way (a test has ended them), and those
        of executors that are not announced, as inline ones never are.
        """
        services = self.services
        with services.database.reading() as connection:
            held = executors.holdings(connection, services.executor)
        self._heartbeat.strays = {
            run_id: epoch
            for run_id, epoch in held.own.items()
            if run_id not in services.active
        }
        for at in (0.0, services.lease.total_seconds()):  # silent for a whole lease
            self._peers.observe((), held.strangers, at=at)

    def _workers(self) -> Workers:
        return InlineWorkers(self.services, self.services.threads)


class InlineWorkers(Workers):
    """Executes each claimed run at once."""

    def measure(self) -> None:
        """Do nothing: nothing is claimed ahead."""

    def _dispatch(self, work: Any) -> None:
        """Execute *work* here."""
        try:
            self._execute(work)
        finally:
            self._next()

    def _leave(self, claimed: Claimed, problem: BaseException) -> None:
        """Let what would have ended a thread end the test."""
        del claimed
        raise problem
