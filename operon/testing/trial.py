"""One trial: a call made from a kept beginning, with what goes wrong planned ahead."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from operon import Operon
from operon.errors import ConfigurationError
from operon.errors import DeclarationError
from operon.errors import MisuseError
from operon.errors import RunConflictError
from operon.errors import RunDeadError
from operon.errors import SchemaError
from operon.operation import Call
from operon.points import Point
from operon.store.contents import Contents
from operon.store.contents import Counters
from operon.store.contents import Rows
from operon.testing.boundaries import Boundary
from operon.testing.boundaries import When
from operon.testing.boundaries import described
from operon.testing.driving import DrivenClock
from operon.testing.life import Crash
from operon.testing.life import Life
from operon.testing.life import LostReplyError
from operon.testing.life import Stuck

REFUSALS = (
    ConfigurationError,
    DeclarationError,
    MisuseError,
    RunConflictError,
    RunDeadError,
    SchemaError,
)
"""What says that a call was wrong, and not how its run has ended."""


@dataclass(frozen=True)
class _Kept:
    """How things stood before the COMMIT that is not to be sent."""

    rows: Rows
    counters: Counters


@dataclass
class Faults:
    """What goes wrong in a trial, in order; sees every COMMIT.

    Each boundary is counted from the fault before it.
    """

    schedule: tuple[Boundary, ...]
    contents: Contents
    names: list[str] | None = None
    """Where each COMMIT since the last fault is described, if anybody wants to know."""
    root: str = ""
    """The run whose operations are described without naming it."""
    struck: int = 0
    """How many faults have happened."""
    begun: int = 0
    """How many COMMITs were about to be sent since the last of them."""
    completed: set[int] = field(default_factory=set[int])
    """Which of them have happened."""
    _kept: _Kept | None = None
    _rows: Rows = field(default_factory=dict[str, list[dict[str, object]]])
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Take note of the beginning."""
        self._note()
        if self.names is not None:
            self._rows = self.contents.rows()

    def at_point(self, point: Point, run_id: str) -> None:
        """Do nothing: COMMITs are what counts here."""

    def before_commit(self) -> int:
        """Count a COMMIT; die if that is planned before it."""
        with self._mutex:
            self.begun += 1
            number = self.begun
        self._strike(number, When.BEFORE)
        return number

    def after_commit(self, number: int) -> None:
        """Die after a COMMIT, or hide that it has happened, if that is planned."""
        self.completed.add(number)
        if self.names is not None:
            before, self._rows = self._rows, self.contents.rows()
            self.names.append(described(before, self._rows, self.root))
        self._note()
        self._strike(number, When.AFTER)
        self._strike(number, When.LOST)

    def bury(self) -> None:
        """Forget the numbers that a dead transaction took from sequences.

        It has burned them: another transaction would get the next ones, and nothing
        else would be different. Where something was committed meanwhile, by another
        connection than Operon's, they are taken.
        """
        if self._kept is not None and self.contents.rows() == self._kept.rows:
            self.contents.set_back(self._kept.counters)
        self._note()

    @property
    def unmet(self) -> tuple[Boundary, ...]:
        """The boundaries that were not reached."""
        return self.schedule[self.struck :]

    def _strike(self, number: int, when: When) -> None:
        planned = self.unmet[:1]
        if not planned or planned[0] != Boundary(number, when):
            return
        self.struck += 1
        self.begun = 0
        self.completed = set()
        if self.names is not None:
            self.names.clear()
        if when is When.LOST:
            self._note()
            raise LostReplyError
        raise Crash(f"{when} COMMIT {number}")

    def _note(self) -> None:
        """Keep how things stand, if the next COMMIT is the one not to be sent."""
        is_next = self.unmet[:1] == (Boundary(self.begun + 1, When.BEFORE),)
        self._kept = None
        if is_next:
            self._kept = _Kept(self.contents.rows(), self.contents.counters())


@dataclass(frozen=True)
class Trial:
    """How to make one call from one beginning, as often as one likes."""

    operon: Operon
    call: Callable[[Operon], object]
    contents: Contents
    prepare: Callable[[], object] | None
    meanwhile: Callable[[Operon], object] | None
    outside: Callable[[Call], Any]
    patience: float
    """Seconds that one life may take."""

    def run(self, faults: Faults) -> str:
        """Make the call, and again after each crash; return how that has ended."""
        self.contents.put_back()
        if self.prepare is not None:
            self.prepare()
        clock = DrivenClock()
        life = self._life(faults, clock)
        faults.begin()  # with what every process says of itself when it begins
        while True:
            try:
                return self._ended(life, must_fit=not faults.schedule)
            except Crash:
                pass  # another process goes on
            finally:
                life.end()
                if life.is_over:
                    faults.bury()
            life = self._life(faults, clock)

    def _life(self, faults: Faults, clock: DrivenClock) -> Life:
        return Life(
            self.operon,
            clock,
            faults,
            meanwhile=self.meanwhile,
            outside=self.outside,
            patience=self.patience,
        )

    def _ended(self, life: Life, *, must_fit: bool) -> str:
        """Return how the call has ended; one that makes no sense has to, clean."""
        try:
            life.live(self.call)
        except Stuck as stuck:
            if must_fit:
                raise stuck.refusal() from None
            return f"does not end: {stuck}"
        except REFUSALS as refusal:
            if must_fit:
                raise
            return f"raises {type(refusal).__name__}: {refusal}"
        except Exception as error:  # noqa: BLE001 - how the user's run has ended
            return f"raises {type(error).__name__}"
        return "returns"
