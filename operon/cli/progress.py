"""A bar that says how far a long command has come: for people at a terminal."""

import sys
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager

import click


@contextmanager
def progress(label: str, total: int) -> Generator[Callable[[int], None], None, None]:
    """Yield what is told each time how much more is done, of *total*.

    The bar is on standard error, and there is none unless that is a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update
