"""Runs that work until they are told to end, and executors that can be watched."""

import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
from types import TracebackType
from typing import Any
from typing import Self

from sqlalchemy import event
from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon import activity
from operon.models import WorkflowRun
from tests.engine.hourglass import Hourglass
from tests.processes import eventually

PATIENCE = 60.0  # seconds in which somebody lets a job end


class Crew:
    """Workflows whose activities last until they are let go, and who is at it.

    Attributes:
        begun: Who began to work, in order.
        working: Who is at it.
        most: How many were at it at once.
        Job: Works once.
        Napping: Works, sleeps, and works again.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.working: set[str] = set()
        self.most = 0
        self._mutex = threading.Lock()
        self._free = False
        self._let: Counter[str] = Counter()
        self._changed = threading.Condition(self._mutex)
        work = self._work

        class Job(Workflow):
            label: str

            @activity
            def work(self) -> str:
                work(self.label)
                return self.label

            def run(self) -> str:
                return self.work()

        class Napping(Workflow):
            label: str
            nap: timedelta

            @activity
            def work(self, when: str) -> None:
                work(f"{self.label} {when}")

            def run(self) -> str:
                self.work("before")
                self.sleep(self.nap)
                self.work("after")
                return self.label

        self.Job = Job
        self.Napping = Napping

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.let_all()

    def let(self, *labels: str) -> None:
        """Let each of *labels* end its work, now or when it comes to it."""
        with self._changed:
            self._let.update(labels)
            self._changed.notify_all()

    def let_all(self) -> None:
        """Let everybody end, from now on."""
        with self._changed:
            self._free = True
            self._changed.notify_all()

    def await_working(self, *labels: str) -> None:
        """Wait until exactly *labels* are at work."""
        eventually(
            lambda: self.working == set(labels),
            saying=f"work of {labels}; it is {self.working}",
        )

    def await_begun(self, number: int) -> None:
        """Wait until at least *number* have begun."""
        eventually(lambda: len(self.begun) >= number, saying=f"{self.begun}")

    def _work(self, label: str) -> None:
        with self._changed:
            self.begun.append(label)
            self.working.add(label)
            self.most = max(self.most, len(self.working))
            self._changed.wait_for(lambda: self._free or self._let[label], PATIENCE)
            self._let[label] -= 1
            self.working.discard(label)


class Launcher:
    """Launches executors on one database and clock; each can be watched."""

    def __init__(
        self, make: Callable[..., Operon], url: str, at: datetime | None = None
    ) -> None:
        self._make = make
        self._url = url
        self.clock = Hourglass(at)
        self._glances: dict[Operon, int] = {}

    def made(self, *queues: Any, **options: Any) -> Operon:
        """Return an Operon with these queues that is not launched."""
        given = {"clock": self.clock, "inline_wait": timedelta(0), **options}
        return self._make(self._url, queues=queues, **given)

    def launched(self, *queues: Any, **options: Any) -> Operon:
        """Return an executor that serves these queues."""
        operon = self.made(*queues, **options)
        self.launch(operon)
        return operon

    def launch(self, operon: Operon) -> None:
        """Launch *operon*, and watch it look around."""
        self._glances[operon] = 0

        def count(*about: Any) -> None:
            if "look0" in about[2] and operon in self._glances:
                self._glances[operon] += 1

        event.listen(operon.engine, "before_cursor_execute", count)
        operon.launch()

    def shut_down(self, operon: Operon) -> None:
        """Shut *operon* down; it looks around no more."""
        del self._glances[operon]
        operon.shutdown(timedelta(seconds=5))

    def look_again(self) -> None:
        """Return when every executor has looked around, and done what it found."""
        before = dict(self._glances)
        for operon in before:
            operon._process.ready().executor.wake()
        # one look may have been under way; when a third begins the second is done with
        eventually(
            lambda: all(self._glances[each] >= before[each] + 3 for each in before),
            saying="a look around",
        )


def begun_at(operon: Operon, queue: str = "q") -> list[datetime]:
    """Return when each run of *queue* that has begun was claimed first, in order."""
    with Session(operon.engine) as session:
        query = select(WorkflowRun.started_at).where(
            WorkflowRun.queue == queue, WorkflowRun.started_at.is_not(None)
        )
        return sorted(at for at in session.scalars(query) if at is not None)


def most_within(times: Sequence[datetime], period: timedelta) -> int:
    """Return how many of *times*, in order, lie at most in one span of *period*."""
    return max(
        (
            sum(first <= at < first + period for at in times[number:])
            for number, first in enumerate(times)
        ),
        default=0,
    )
