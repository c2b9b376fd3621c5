"""Findings: what is wrong where, and what to write instead."""

import ast
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """What is wrong, as allowances name it; a code never changes its meaning."""

    CLOCK = "OPN001"
    """A clock is read, or waited for."""
    RANDOMNESS = "OPN002"
    """A value is drawn that no replay draws again."""
    DATABASE = "OPN003"
    """A session, connection or engine is used."""
    IO = "OPN004"
    """Files, the network, other programs or the terminal are used."""
    ENVIRONMENT = "OPN005"
    """The process, its environment or its machine is asked for something."""
    THREADS = "OPN006"
    """Threads, processes or an event loop are used."""
    GLOBALS = "OPN007"
    """Something is changed that outlives the body."""
    ORDER = "OPN008"
    """The order of a set decides."""
    IDENTITY = "OPN009"
    """An address in memory or a salted hash decides."""
    BROAD_EXCEPT = "OPN010"
    """What the engine raises to unwind the body is swallowed."""
    ALLOWANCE = "OPN011"
    """An allowance allows nothing, or says no reason."""


@dataclass(frozen=True, order=True)
class Finding:
    """One thing in a body that a replay might not repeat.

    Its text is one line: `file:line:column: code fact; cure`.
    """

    filename: str
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    code: Code
    fact: str
    """What is so, in one sentence without a period."""
    cure: str
    """What to do about it."""
    via: tuple[str, ...] = ()
    """From the body to the function that holds it: `("Checkout.run", "price")`."""

    def __str__(self) -> str:
        by = f" (called by {' > '.join(self.via[:-1])})" if self.via[1:] else ""
        where = f"{self.filename}:{self.line}:{self.column}"
        return f"{where}: {self.code} {self.fact}{by}; {self.cure}"


@dataclass(frozen=True)
class Problem:
    """What a check has seen, before it is known whether it is allowed."""

    node: ast.expr | ast.stmt | ast.excepthandler
    code: Code
    fact: str
    cure: str


_LONGEST = 60  # characters of code that a fact quotes


def quoted(node: ast.expr) -> str:
    """Return the code of *node* as a fact quotes it, calls without their arguments."""
    try:
        if isinstance(node, ast.Call):
            given = "…" if node.args or node.keywords else ""
            text = f"{ast.unparse(node.func)}({given})"
        else:
            text = ast.unparse(node)
    except RecursionError:  # written by a program, thousands of brackets deep
        return "this"
    return f"`{text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}`"
