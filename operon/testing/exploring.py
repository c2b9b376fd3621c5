"""Exploring: what if the process had crashed just there, at every COMMIT it makes?

A call is made without a crash first, and its COMMITs are counted. Then it is made again
from the same beginning, once for every boundary: the process dies before the COMMIT or
after it, or the reply is lost; another process recovers. In the end every table must
hold what it holds without a crash.

    explore(Checkout("book"), operon=operon)
"""

import random
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon.errors import MisuseError
from operon.operation import Call as Activity
from operon.registry import Runnable
from operon.store.contents import contents_of
from operon.testing.boundaries import Boundary
from operon.testing.boundaries import When
from operon.testing.crash import refuse_launched
from operon.testing.findings import Exploration
from operon.testing.findings import Finding
from operon.testing.findings import NotCrashSafeError
from operon.testing.rows import Comparison
from operon.testing.rows import State
from operon.testing.trial import Faults
from operon.testing.trial import Trial
from operon.transaction import is_invocation

Call = Callable[[Operon], object]
Check = Callable[[Session], object]
Schedule = tuple[Boundary, ...]

_CLEAN: Schedule = ()
_TOLD = "without a crash", "after it"
_TOLD_CLEAN = "the first time", "the second time"


def explore(
    workflow: Runnable[Any] | Call,
    check: Check | None = None,
    *,
    operon: Operon,
    id: str = "explored",  # noqa: A002 - the word of `Operon.run`
    principal: dict[str, Any] | None = None,
    prepare: Callable[[], object] | None = None,
    meanwhile: Call | None = None,
    outside: Callable[[Activity], Any] = Activity.outside,
    ignore: Collection[str] = (),
    only: int | Sequence[int] | None = None,
    depth: int = 1,
    limit: int = 100,
    seed: int = 0,
    patience: float = 30.0,
) -> Exploration:
    """Crash at every boundary of a run, recover, and compare what comes of it.

    Everything happens in this thread, on *operon*'s engine; nobody waits for a time
    to come. In the end the database holds what it held in the beginning.

    Args:
        workflow: What is run; or a callable that makes the call, given an Operon. It
            is called again after a crash, so whatever it starts must have an id.
        check: Given a session, asserts what else has to hold in the end; also without
            a crash.
        operon: Whose database and settings are used. Nobody else may work on it.
        id: The id of the run of *workflow*.
        principal: Who asks for it, as `Operon.run` takes it.
        prepare: Called before every run: makes the outside world what it was.
        meanwhile: Called when all runs wait for what does not come by time; it may
            send messages, or publish events, as the outside world would.
        outside: Answers the calls of activities; by default they are made.
        ignore: Tables and columns that are not compared: `orders.stamp`.
        only: The number of the one boundary to crash at, or of two, one after another.
        depth: 2 tries pairs of crashes as well, the second in the recovery.
        limit: How many pairs; they are drawn at random.
        seed: What they are drawn with.
        patience: Seconds that the run may take, or its recovery.

    Returns:
        What was tried; there is no finding.

    Raises:
        NotCrashSafeError: Something was found; it tells the smallest schedule.
        MisuseError: The Operon is launched, or the run never ends, or there is no
            such boundary.
        AssertionError: *check* fails without a crash.
    """
    refuse_launched(operon, "explore")
    operon.ready()  # the tables are there, whoever makes them
    trial = Trial(
        operon,
        _call(workflow, id, principal),
        contents_of(operon.engine),
        prepare,
        meanwhile,
        outside,
        patience,
    )
    explorer = _Explorer(trial, check, ignore, id)
    trial.contents.keep()
    try:
        explorer.begin()
        if only is not None:
            explorer.visit(explorer.asked(only))
        else:
            for schedule in explorer.singles():
                explorer.visit(schedule)
            if depth > 1 and not explorer.findings:
                explorer.visit_pairs(limit, random.Random(seed))  # noqa: S311 - a sample, no secret
    finally:
        trial.contents.put_back()
    found = explorer.exploration(_subject(workflow), seed)
    if found.findings:
        raise NotCrashSafeError(found)
    return found


class _Explorer:
    """Tries schedules, and keeps what was found."""

    def __init__(
        self, trial: Trial, check: Check | None, ignore: Collection[str], root: str
    ) -> None:
        self._trial = trial
        self._check = check
        self._ignore = ignore
        self._root = root
        self._names: list[str] = []
        self._completed: set[int] = set()
        self._tried = 0
        self._ended = ""
        self._counts: dict[Schedule, set[int]] = {}
        self.findings: list[Finding] = []

    def begin(self) -> None:
        """Run without a crash, twice: what differs is random.

        Raises:
            MisuseError: It does not end.
        """
        faults = self._faults(_CLEAN, names=self._names)
        self._ended = self._trial.run(faults)
        self._completed = faults.completed
        self._clean = self._state()
        if self._check is not None:
            self._asserted(self._check)
        ended = self._trial.run(self._faults(_CLEAN))
        again = self._state()
        self._comparison = Comparison(self._clean, again)
        self._random = sorted({
            ".".join(place) for place, _ in self._clean.tokens() ^ again.tokens()
        })
        self._judge(_CLEAN, ended, again)

    def singles(self) -> Iterator[Schedule]:
        """Yield every boundary of the crash-free run."""
        for boundary in _boundaries(self._completed):
            yield (boundary,)

    def asked(self, only: int | Sequence[int]) -> Schedule:
        """Return the schedule that *only* means.

        Raises:
            MisuseError: There is no such boundary.
        """
        numbers = (only,) if isinstance(only, int) else tuple(only)
        most = len(When) * len(self._names)
        if not numbers or min(numbers) < 1 or numbers[0] > most:
            raise MisuseError(
                f"only={only!r}",
                "is no boundary of this run",
                cure=f"use a number from 1 to {most}",
            )
        return tuple(map(Boundary.numbered, numbers))

    def visit(self, schedule: Schedule) -> bool:
        """Run with the crashes of *schedule*; return whether all is as without."""
        self._tried += 1
        faults = self._faults(schedule)
        ended = self._trial.run(faults)
        self._counts[schedule] = faults.completed
        if faults.unmet:
            return self._found(schedule, "  the run does not come there any more")
        return self._judge(schedule, ended, self._state())

    def visit_pairs(self, limit: int, chance: random.Random) -> None:
        """Let the recovery crash as well: up to *limit* pairs, the smallest first."""
        pairs = [
            (*first, second)
            for first in self.singles()
            for second in _boundaries(self._counts[first])
        ]
        drawn = sorted(chance.sample(pairs, min(limit, len(pairs))), key=_size)
        for pair in drawn:
            if not self.visit(pair):
                self._shrink(pair, pairs)
                return

    def exploration(self, subject: str, seed: int) -> Exploration:
        """Return what it came to."""
        return Exploration(
            subject,
            tuple(self._names),
            self._tried,
            tuple(self.findings),
            tuple(self._random),
            seed,
            self._ended,
        )

    def _shrink(self, failed: Schedule, pairs: Sequence[Schedule]) -> None:
        """Look for a smaller pair that begins with the same crash."""
        smaller = [
            each
            for each in pairs
            if each[0] == failed[0] and each[1].number < failed[1].number
        ]
        for pair in smaller:
            if not self.visit(pair):
                self.findings.reverse()
                return

    def _judge(self, schedule: Schedule, ended: str, state: State) -> bool:
        first, second = _TOLD if schedule else _TOLD_CLEAN
        problems: list[str] = []
        if ended != self._ended:
            problems.append(f"  the call {ended}; {first} it {self._ended}")
        difference = self._comparison.compare(self._clean, state)
        if difference:
            problems.append(difference.told(first, second))
        if self._check is not None and schedule:
            try:
                self._asserted(self._check)
            except Exception as error:  # noqa: BLE001 - whatever a check says is found
                problems.append(f"  the check says {type(error).__name__}: {error}")
        return not problems or self._found(schedule, "\n".join(problems))

    def _found(self, schedule: Schedule, problem: str) -> bool:
        numbers = tuple(boundary.number for boundary in schedule)
        self.findings.append(Finding(numbers, self._named(schedule), problem))
        return False

    def _named(self, schedule: Schedule) -> str:
        if not schedule:
            return "two runs without a crash differ: something in it is random"
        first, *rest = schedule
        said = [first.named(_at(self._names, first))]
        for number, boundary in enumerate(rest, start=1):
            names: list[str] = []
            self._trial.run(self._faults(schedule[:number], names=names))
            said.append(
                f"then, in the recovery, {boundary.named(_at(names, boundary))}"
            )
        return ", ".join(said)

    def _faults(self, schedule: Schedule, names: list[str] | None = None) -> Faults:
        return Faults(schedule, self._trial.contents, names=names, root=self._root)

    def _state(self) -> State:
        return State(self._trial.contents.rows(), self._ignore)

    def _asserted(self, check: Check) -> None:
        with Session(self._trial.operon.engine) as session:
            check(session)


def _boundaries(completed: Collection[int]) -> Iterator[Boundary]:
    for commit in sorted(completed):
        for when in When:
            yield Boundary(commit, when)


def _size(schedule: Schedule) -> tuple[int, ...]:
    return tuple(boundary.number for boundary in schedule)


def _at(names: Sequence[str], boundary: Boundary) -> str:
    known = boundary.commit <= len(names)
    return names[boundary.commit - 1] if known else f"number {boundary.commit}"


def _call(
    workflow: Runnable[Any] | Call, run_id: str, principal: dict[str, Any] | None
) -> Call:
    """Return what makes the call that is explored."""
    if isinstance(workflow, Workflow) or is_invocation(workflow):
        runnable: Any = workflow
        return lambda operon: operon.run(runnable, id=run_id, principal=principal)
    if callable(workflow):
        return workflow
    raise MisuseError(
        f"explore({workflow!r})",
        "was given nothing to run",
        cure="give a workflow with its input, a transaction with its arguments, or a "
        "callable that takes an Operon",
    )


def _subject(workflow: object) -> str:
    return getattr(workflow, "__qualname__", None) or repr(workflow)
