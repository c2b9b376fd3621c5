"""Crashing at a named point, and what another process makes of it.

Both processes are simulated in this one: the first dies by a BaseException at one of
the engine's points, the second finds its lease over. Nobody waits.

    crash = Crasher(operon)
    crash.at(Point.EFFECT_DONE, step="charge")
    crash.run(Checkout("book"), id="order-1")
    crash.recover()
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import Self

from operon import Operon
from operon.errors import MisuseError
from operon.hooks import AttemptFinished
from operon.hooks import AttemptStarted
from operon.hooks import Hook
from operon.hooks import Record
from operon.hooks import RunClaimed
from operon.operation import Call
from operon.points import Point
from operon.registry import Runnable
from operon.testing.driving import DrivenClock
from operon.testing.life import Crash
from operon.testing.life import Life
from operon.testing.life import Stuck


class Crasher:
    """Lets the process die once, at a named point, and another one recover.

    Attributes:
        has_crashed: Whether the point was reached.
    """

    def __init__(
        self,
        operon: Operon,
        *,
        meanwhile: Callable[[Operon], object] | None = None,
        outside: Callable[[Call], Any] = Call.outside,
    ) -> None:
        """Work on the database of *operon*, as it is configured.

        Args:
            operon: Must not be launched: it would take the runs over.
            meanwhile: Called when all runs wait for what does not come by time; it
                may send messages, or publish events, as the outside world would.
            outside: Answers the calls of activities; by default they are made.

        Raises:
            MisuseError: It is launched.
        """
        refuse_launched(operon, "Crasher")
        self._like = operon
        self._meanwhile = meanwhile
        self._outside = outside
        self._clock = DrivenClock()
        self._seen = _Seen()
        self._wanted: _Wanted | None = None
        self._life: Life | None = None
        self.has_crashed = False

    def at(
        self,
        point: Point,
        *,
        nth: int = 1,
        step: str | None = None,
        workflow: str | None = None,
    ) -> Self:
        """Die the *nth* time that *point* is reached.

        Args:
            point: One of the engine's named points.
            nth: From 1; only what fits *step* and *workflow* counts.
            step: The name of the step or activity that is tried.
            workflow: The name of the run's workflow.

        Raises:
            MisuseError: *nth* is less than 1.
        """
        if nth < 1:
            raise MisuseError(
                f"nth={nth}", "never comes", cure="count from 1: the first time is 1"
            )
        self._wanted = _Wanted(point, nth, step, workflow)
        self.has_crashed = False
        return self

    def run(self, workflow: Runnable[Any], *, id: str, **options: Any) -> None:  # noqa: A002 - the word of `Operon.run`
        """Execute *workflow*, as `Operon.run` does, until the crash.

        Raises:
            MisuseError: No point was named, or it was not reached.
        """
        self.call(lambda operon: operon.run(workflow, id=id, **options))

    def call(self, call: Callable[[Operon], object]) -> None:
        """Make *call*, with an Operon that dies, and do what it leaves to be done.

        Raises:
            MisuseError: No point was named, or it was not reached.
        """
        if self._wanted is None:
            raise MisuseError(
                "Crasher.run", "was told no point", cure="call at(Point.…) first"
            )
        life = self._begun()
        try:
            life.live(call)
        except Crash:
            self.has_crashed = True
        except Stuck as stuck:
            raise stuck.refusal() from None
        finally:
            life.end()
        if not self.has_crashed:
            raise MisuseError(
                f"{self._wanted}",
                "was not reached",
                cure="name a point that the run comes to",
            )

    def recover(self) -> Operon:
        """Let another process find what the dead one left, and do it to its end.

        Returns:
            The other process's Operon; shut it down in the end.

        Raises:
            MisuseError: What is left waits for something that never comes.
        """
        self._wanted = None
        life = self._life = self._begun()
        try:
            life.live(lambda _: None)
        except Stuck as stuck:
            raise stuck.refusal() from None
        return life.operon

    def close(self) -> None:
        """Shut down the Operon that has recovered, if one has."""
        if self._life is not None:
            self._life.end()
            self._life = None

    def at_point(self, point: Point, run_id: str) -> None:
        """Die if it is time."""
        wanted = self._wanted
        if wanted is not None and self._is_met(wanted, point, run_id):
            raise Crash(str(wanted))

    def before_commit(self) -> int:
        """Do nothing: points are what counts here."""
        return 0

    def after_commit(self, number: int) -> None:
        """Do nothing."""

    def _begun(self) -> Life:
        return Life(
            self._like,
            self._clock,
            self,
            meanwhile=self._meanwhile,
            hooks=(self._seen,),
            outside=self._outside,
        )

    def _is_met(self, wanted: "_Wanted", point: Point, run_id: str) -> bool:
        """Tell whether *wanted* is here, and the nth time."""
        if point is not wanted.point:
            return False
        if wanted.step is not None and wanted.step != self._seen.step:
            return False
        if wanted.workflow is not None and wanted.workflow != self._workflow(run_id):
            return False
        wanted.left -= 1
        return wanted.left == 0

    def _workflow(self, run_id: str) -> str | None:
        """Return the workflow of *run_id*: its row may not be there yet."""
        known = self._seen.workflows.get(run_id)
        if known is not None:
            return known
        found = self._like.find_run(run_id)
        return None if found is None else found.workflow


@dataclass
class _Wanted:
    """Where to die."""

    point: Point
    left: int
    step: str | None
    workflow: str | None

    def __str__(self) -> str:
        """Return it in words."""
        named = (("step", self.step), ("workflow", self.workflow))
        of = "".join(f" of {kind} {name!r}" for kind, name in named if name is not None)
        return f"point {self.point.value!r}{of}"


class _Seen(Hook):
    """What the engine does just now, thread by thread."""

    def __init__(self) -> None:
        self.workflows: dict[str, str] = {}
        self._here = threading.local()

    @property
    def step(self) -> str | None:
        """The step or activity that this thread tries, if any."""
        return getattr(self._here, "step", None)

    def tell(self, record: Record) -> None:
        """Take notice."""
        match record:
            case RunClaimed():
                self.workflows[record.run.id] = record.run.workflow
            case AttemptStarted():
                self._here.step = record.operation.name
            case AttemptFinished():
                self._here.step = None
            case _:
                pass


def refuse_launched(operon: Operon, what: str) -> None:
    """Refuse *operon* if it works on runs by itself.

    Raises:
        MisuseError: It was launched.
    """
    if operon.is_launched:
        raise MisuseError(
            what,
            "was given an Operon that is launched, which would take the runs over",
            cure="give one that is not, on a database of the test's own",
        )
