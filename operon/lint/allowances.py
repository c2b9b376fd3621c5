"""Allowances: `# operon: allow OPN003 reason` behind the line that a finding names.

Each silences one code on one line, says why, and is a finding itself once it silences
nothing, so that none outlives its reason.
"""

import io
import re
import tokenize
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from operon.lint.findings import Code
from operon.lint.findings import Finding

_ALLOWANCE = re.compile(r"#\s*operon:\s*allow\b([^#]*)")
_WORDS = re.compile(r"\s*(\w*)[\s:—-]*(.*?)\s*$")
_CODES = {each.value for each in Code} - {Code.ALLOWANCE.value}
_EXAMPLE = "write `# operon: allow OPN004 why it is right here`"


@dataclass(frozen=True)
class Allowance:
    """One comment that allows something."""

    line: int
    column: int
    """From 1, of the comment."""
    code: str
    reason: str

    def silences(self, finding: Finding) -> bool:
        """Tell whether *finding* is what this allows."""
        return (self.line, self.code) == (finding.line, finding.code) and self.is_valid

    @property
    def is_valid(self) -> bool:
        """Whether it names a code that can be allowed, and says why."""
        return self.code in _CODES and self.reason != ""


def allowances_in(text: str) -> list[Allowance]:
    """Return the allowances among the comments of *text*, which parses."""
    if _ALLOWANCE.search(text) is None:
        return []  # reading a file by its tokens takes longer than all the rest
    return [each for comment in _comments(text) for each in _written(comment)]


def _comments(text: str) -> Iterator[tokenize.TokenInfo]:
    tokens = tokenize.generate_tokens(io.StringIO(text, newline=None).readline)
    # it refuses some form feeds that Python's own parser takes
    with suppress(tokenize.TokenError, SyntaxError):
        yield from (each for each in tokens if each.type == tokenize.COMMENT)


def _written(comment: tokenize.TokenInfo) -> Iterator[Allowance]:
    line, column = comment.start
    for found in _ALLOWANCE.finditer(comment.string):
        words = _WORDS.match(found[1])
        code, reason = ("", "") if words is None else words.groups()
        yield Allowance(line, column + found.start() + 1, code, reason)


def judged(
    filename: str, findings: Iterable[Finding], allowances: Iterable[Allowance]
) -> Iterator[Finding]:
    """Yield the *findings* that nothing allows, and *allowances* that are no use."""
    unused = set(allowances)
    useful = list(unused)
    for finding in findings:
        silencing = [each for each in useful if each.silences(finding)]
        unused.difference_update(silencing)
        if not silencing:
            yield finding
    for each in unused:
        fact, cure = _objection(each)
        yield Finding(filename, each.line, each.column, Code.ALLOWANCE, fact, cure)


def _objection(allowance: Allowance) -> tuple[str, str]:
    code, reason = allowance.code, allowance.reason
    if code not in _CODES:
        return f"the allowance names {code or 'no code'!r}, which is none", _EXAMPLE
    if reason == "":
        return f"the allowance of {code} gives no reason", _EXAMPLE
    return f"the allowance of {code} silences nothing on this line", "remove it"
