"""Warnings for bodies that a replay might not repeat, about those a test executes."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from operon import registry
from operon.hooks import Hook
from operon.hooks import Record
from operon.hooks import RunClaimed
from operon.lint import Finding
from operon.lint import lint_workflow


class DeterminismWarning(UserWarning):
    """The body of a workflow does what `operon lint` finds fault with."""


class ExecutedBodies(Hook):
    """Takes note of the workflows that are executed, and says what is wrong."""

    def __init__(self) -> None:
        self._seen: dict[Any, None] = {}

    def tell(self, record: Record) -> None:
        """Take note."""
        if isinstance(record, RunClaimed):
            declared = registry.find(record.run.workflow, record.run.version)
            cls = getattr(declared, "cls", None)  # a transaction has none, and no body
            if cls is not None:
                self._seen[cls] = None

    def findings(self) -> Iterator[Finding]:
        """Yield what the linter finds in their bodies."""
        for cls in self._seen:
            yield from _findings(cls)


@cache
def _findings(cls: Any) -> tuple[Finding, ...]:
    return tuple(lint_workflow(cls))
