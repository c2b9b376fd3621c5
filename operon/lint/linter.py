"""The linter: from a text, a path or a class to the findings in workflow bodies."""

import inspect
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from operon.errors import MisuseError
from operon.lint.allowances import allowances_in
from operon.lint.allowances import judged
from operon.lint.checks import problems_at
from operon.lint.files import python_files
from operon.lint.files import text_of
from operon.lint.findings import Code
from operon.lint.findings import Finding
from operon.lint.reach import is_workflow
from operon.lint.reach import reached_from
from operon.lint.scopes import Klass
from operon.lint.scopes import Scope
from operon.lint.scopes import classes_of
from operon.lint.source import Source
from operon.workflow import Workflow

_TOPIC = "operon"  # a module that never says it has no workflow that could be told


def lint_source(text: str, filename: str = "<string>") -> list[Finding]:
    """Return the findings in the bodies of the workflows that *text* declares.

    Args:
        text: A whole Python module. It is parsed, not imported and not executed.
        filename: What findings call it.

    Returns:
        In order of line and column.

    Raises:
        DeclarationError: It is not Python; the message names the line.
    """
    source = Source(text, filename)
    tree = source.tree  # what is not Python is refused, whatever it is about
    classes = classes_of(Scope(tree)).values() if _TOPIC in text else ()
    findings = _examined(filter(is_workflow, classes), source)
    return sorted(judged(filename, findings, allowances_in(text)))


def lint_path(path: str | Path) -> list[Finding]:
    """Return the findings in the file *path*, or in every Python file below it.

    Raises:
        MisuseError: There is no such path.
        DeclarationError: A file is not Python; the message names the line.
    """
    return [
        finding
        for file in python_files(Path(path))
        for finding in lint_source(text_of(file), str(file))
    ]


def lint_workflow(workflow: type[Workflow]) -> list[Finding]:
    """Return the findings in the body of *workflow*, its own or an inherited one.

    What is allowed is left out, and so are allowances that are no use. A class without
    a source, such as one made by `type(…)`, has no findings.

    Raises:
        MisuseError: It is no workflow.
        DeclarationError: Its source has changed, and is not Python any more.
    """
    if not _is_workflow(workflow):
        raise MisuseError(
            f"lint_workflow({workflow!r})",
            "was called with no workflow",
            cure="pass a subclass of operon.Workflow",
        )
    lineage = [each for each in workflow.__mro__ if _is_workflow(each)]
    return sorted({found for each in lineage for found in _lint_class(each)})


def _is_workflow(candidate: Any) -> bool:
    if not isinstance(candidate, type) or candidate is Workflow:
        return False
    return issubclass(candidate, Workflow)


def _lint_class(cls: type) -> Iterator[Finding]:
    """Yield what is not allowed in the body that *cls* has in its own module."""
    try:
        module = sys.modules[cls.__module__]
        text, filename = inspect.getsource(module), inspect.getfile(module)
    except (KeyError, OSError, TypeError):  # made without a file
        return
    source, classes = _module(text, filename)
    named = [each for each in classes if each.qualname == cls.__qualname__]
    for finding in judged(filename, _examined(named, source), allowances_in(text)):
        if finding.code is not Code.ALLOWANCE:
            yield finding


@lru_cache(maxsize=8)  # the kit asks for one class of a module after the other
def _module(text: str, filename: str) -> tuple[Source, list[Klass]]:
    source = Source(text, filename)
    return source, list(classes_of(Scope(source.tree)).values())


def _examined(workflows: Iterable[Klass], source: Source) -> list[Finding]:
    """Return what is wrong in the bodies of *workflows*, each place once."""
    found: dict[tuple[int, int, Code], Finding] = {}
    for reached in chain.from_iterable(map(reached_from, workflows)):
        for problem in chain.from_iterable(map(problems_at, reached.sites())):
            finding = source.finding(problem, reached.via)
            found.setdefault((finding.line, finding.column, finding.code), finding)
    return list(found.values())
