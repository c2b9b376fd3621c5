"""Which files below a path are Python of the application, and their text."""

import os
import tokenize
from collections.abc import Iterator
from pathlib import Path

from operon.errors import DeclarationError
from operon.errors import MisuseError

_ENVIRONMENT = "pyvenv.cfg"  # what marks the root of a virtual environment
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


def python_files(path: Path) -> Iterator[Path]:
    """Yield *path* itself, or the Python files below it, in order of their names.

    Hidden folders and virtual environments are left out, unless one is *path* itself.

    Raises:
        MisuseError: There is no such path.
    """
    if not path.exists():
        raise MisuseError(
            f"lint of {str(path)!r}",
            "was asked for, which does not exist",
            cure="name a file or a folder that is there",
        )
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if _is_ours(here / name))
        yield from (here / name for name in sorted(names) if name.endswith(".py"))


def _is_ours(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _SKIPPED
    return not hidden and not (folder / _ENVIRONMENT).exists()


def text_of(path: Path) -> str:
    """Return the text of the Python file *path*, in the encoding that it declares.

    Raises:
        DeclarationError: It is no text, or cannot be read.
    """
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError, LookupError, OSError) as error:
        raise DeclarationError(
            f"file {str(path)!r}",
            f"cannot be read as Python: {error}",
            cure="save it as UTF-8, let it be readable, or name other files",
        ) from error
