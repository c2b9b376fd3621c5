"""The checks: each looks at one place and says what is wrong there.

A check is a function from a `Site` to the problems it sees; it does not know where the
place is reached from, nor what is allowed.
"""

from collections.abc import Callable
from collections.abc import Iterator

from operon.lint.checks.excepts import swallowed
from operon.lint.checks.globals import changed
from operon.lint.checks.names import touched
from operon.lint.checks.order import disordered
from operon.lint.findings import Problem
from operon.lint.sites import Site

_CHECKS: tuple[Callable[[Site], Iterator[Problem]], ...] = (
    touched,
    changed,
    disordered,
    swallowed,
)


def problems_at(site: Site) -> Iterator[Problem]:
    """Yield what any check sees at *site*."""
    for check in _CHECKS:
        yield from check(site)
