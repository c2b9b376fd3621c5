"""The text of a module: parsed once, and asked where its nodes stand."""

import ast
import re
import warnings
from functools import cached_property

from operon.errors import DeclarationError
from operon.lint.findings import Finding
from operon.lint.findings import Problem

_NEWLINE = re.compile(r"\r\n|\r|\n")  # what Python counts as one; no form feeds


class Source:
    """A module as it is written.

    Attributes:
        text: All of it.
        filename: What findings call it.
    """

    def __init__(self, text: str, filename: str) -> None:
        self.text = text
        self.filename = filename

    @cached_property
    def tree(self) -> ast.Module:
        """The module, parsed; what Python would warn of is not the linter's subject.

        Raises:
            DeclarationError: It is not Python.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.text, self.filename)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            message = getattr(error, "msg", None) or str(error) or type(error).__name__
            raise DeclarationError(
                self.filename if line is None else f"{self.filename}:{line}",
                f"is not Python: {message}",
                cure="mend it, or lint with the Python it is written for",
            ) from error

    def finding(self, problem: Problem, via: tuple[str, ...]) -> Finding:
        """Return *problem* with its place, reached by *via*."""
        line = problem.node.lineno
        before = self._lines[line - 1].encode()[: problem.node.col_offset]
        told = (problem.code, problem.fact, problem.cure)
        return Finding(self.filename, line, len(before.decode()) + 1, *told, via)

    @cached_property
    def _lines(self) -> list[str]:
        return _NEWLINE.split(self.text)
