"""What an exploration came to, and how it is told."""

from dataclasses import dataclass

from operon.testing.boundaries import Boundary
from operon.testing.boundaries import When


@dataclass(frozen=True)
class Finding:
    """A crash after which something is not as it would have been.

    Attributes:
        only: What `explore(only=…)` takes to try it again; empty without a crash.
        name: Where the process crashed, in words.
        problem: What is not the same, over several lines.
    """

    only: tuple[int, ...]
    name: str
    problem: str

    def __str__(self) -> str:
        """Return it as it is reported."""
        number = " then ".join(map(str, self.only))
        head = f"boundary {number}, {self.name}" if self.only else self.name
        return f"{head}\n{self.problem}"


@dataclass(frozen=True)
class Exploration:
    """What an exploration came to.

    Attributes:
        subject: What was run, with its input.
        commits: What each COMMIT of the crash-free run has written, in words.
        tried: How many schedules of crashes were tried.
        findings: What was found, the smallest schedule first.
        random: Columns that differ between two crash-free runs, so that only the
            sameness of their values is compared.
        seed: What the sample of pairs was drawn with.
        ended: How the call ends without a crash: `returns`, or `raises` what.
    """

    subject: str
    commits: tuple[str, ...]
    tried: int
    findings: tuple[Finding, ...]
    random: tuple[str, ...]
    seed: int
    ended: str

    @property
    def boundaries(self) -> tuple[str, ...]:
        """Return the boundaries of the crash-free run in words, in order of number."""
        return tuple(
            Boundary(number, when).named(what)
            for number, what in enumerate(self.commits, start=1)
            for when in When
        )

    def __str__(self) -> str:
        """Return it as it is reported: the smallest schedule whole, others by name."""
        names = ", ".join(self.random)
        random = [f"Random, so not compared: {names}"] if names else []
        if not self.findings:
            same = f"the same after each of {self.tried} schedules of crashes"
            return "\n".join([f"{self.subject} {self.ended}; {same}", *random])
        first, *others = self.findings
        share = f"{len(self.findings)} of {self.tried} schedules of crashes"
        head = f"{self.subject}: {share} change what comes of it. The smallest:"
        lines = [head, str(first), *random]
        if first.only:
            only = first.only[0] if len(first.only) == 1 else first.only
            lines.append(f"To try it alone: explore(…, only={only}, seed={self.seed})")
        if others:
            lines.append("Others:")
            lines += [f"  {' then '.join(map(str, e.only))}: {e.name}" for e in others]
        return "\n".join(lines)


class NotCrashSafeError(AssertionError):
    """Something is not the same after a crash.

    Attributes:
        exploration: What was tried and found.
    """

    def __init__(self, exploration: Exploration) -> None:
        super().__init__(str(exploration))
        self.exploration = exploration
