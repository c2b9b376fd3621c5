"""Environments of other libraries, which do not belong into the one of the tests."""

import subprocess
import venv
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

NEEDS: Mapping[str, Sequence[str]] = {
    "dbos": ("dbos", "sqlalchemy", "psycopg[binary]"),
    "procrastinate": ("procrastinate", "sqlalchemy", "psycopg[binary,pool]"),
}
"""What each needs; always the newest releases."""

SHOWN = 1_000  # characters of what pip said before it failed


class EnvironmentMissingError(Exception):
    """The packages could not be installed."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(
            f"{name} cannot be installed; leave it out with --against, or look at "
            f"what pip said: {said[-SHOWN:]}"
        )


def interpreter(name: str, folder: Path) -> Path:
    """Return the Python of *name*'s environment in *folder*; make it at first.

    Raises:
        EnvironmentMissingError: There is no package index, or no such release.
    """
    home = folder / name
    python = home / "bin" / "python"
    complete = home / "complete"  # written last
    if not complete.exists():
        venv.create(home, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *NEEDS[name]]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EnvironmentMissingError(name, done.stderr)
        complete.touch()
    return python
