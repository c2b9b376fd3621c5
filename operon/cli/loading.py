"""Finding the application that `module:attr` names: an `Operon`, or one of Flask.

This file knows where the name may stand and how Python imports; it must not know
what is done with the application.
"""

import importlib
import os
import re
import sys
import tomllib
import traceback
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from operon.app import Operon
from operon.errors import ConfigurationError

_FORM = re.compile(
    r"(?P<module>\w+(?:\.\w+)*):(?P<attr>\w+(?:\.\w+)*)(?P<call>\(\))?", re.ASCII
)
_CURE = "name it as module:attr, or module:factory() for a function that makes it"


@dataclass(frozen=True)
class AppName:
    """Which application is meant, and who says so."""

    spec: str
    """As `module:attr` or `module:factory()`; attr may be dotted."""
    source: str
    """Where it was named, in words for an error."""
    folders: tuple[Path, ...]
    """Where modules are looked for before anywhere else."""

    @property
    def subject(self) -> str:
        """What an error is about."""
        return f"the application {self.spec!r}, named by {self.source},"


def name_given(
    spec: str | None, environment: Mapping[str, str] = os.environ
) -> AppName | None:
    """Return the application that the option, the environment or pyproject.toml names.

    Raises:
        ConfigurationError: pyproject.toml cannot be read.
    """
    here = Path.cwd()
    if spec is not None:
        return AppName(spec, "--app", (here,))
    spec = environment.get("OPERON_APP")
    if spec:
        return AppName(spec, "OPERON_APP", (here,))
    return _name_in_project(here)


def load(name: AppName) -> Any:
    """Import the module of *name* and return what it names there.

    Raises:
        ConfigurationError: There is no such module or attribute, or importing or
            making it raised.
    """
    form = _FORM.fullmatch(name.spec)
    if form is None:
        raise ConfigurationError(name.subject, "is no module:attr", cure=_CURE)
    for folder in reversed(name.folders):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    found = _find(name, _import(name, form["module"]), form["attr"])
    if form["call"]:
        found = _guarded(name, "cannot be made", found)
    return found


def operon_of(name: AppName, found: Any) -> Operon:
    """Return *found* itself, or the Operon of the Flask application that it is.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(found, Operon):
        return found
    extensions: Any = getattr(found, "extensions", None)
    own: Any = extensions.get("operon") if hasattr(extensions, "get") else None
    if isinstance(own, Operon):
        return own
    cure = "name an instance of operon.Operon, or a Flask application that has one"
    if callable(found) and not isinstance(found, type) and extensions is None:
        cure = f"write {name.spec.removesuffix('()')}() if it makes the Operon"
    raise ConfigurationError(
        name.subject, f"is of type {type(found).__qualname__}, no Operon", cure=cure
    )


def _name_in_project(here: Path) -> AppName | None:
    """Return what `[tool.operon] app` of the nearest pyproject.toml says."""
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            spec = _read(path).get("tool", {}).get("operon", {}).get("app")
            source = f"[tool.operon] in {path}"
            return None if spec is None else AppName(str(spec), source, (here, folder))
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            str(path),
            f"cannot be read: {error}",
            cure="mend it, or name the application by --app",
        ) from error


def _import(name: AppName, module: str) -> Any:
    importlib.invalidate_caches()
    if _guarded(name, "cannot be imported", lambda: _exists(module)):
        return _guarded(
            name, "cannot be imported", lambda: importlib.import_module(module)
        )
    raise ConfigurationError(
        name.subject,
        f"names the module {module!r}, which is not found",
        cure=f"call operon where it is (here is {Path.cwd()}), or install it",
    )


def _exists(module: str) -> bool:
    """Tell whether *module* is there; its packages are imported for that."""
    parent, _, _ = module.rpartition(".")
    if parent and not _exists(parent):
        return False
    try:
        return module in sys.modules or find_spec(module) is not None
    except ModuleNotFoundError as error:  # the parent is a module, not a package
        if error.name == module:
            return False
        raise


def _find(name: AppName, module: Any, attr: str) -> Any:
    try:
        return reduce(getattr, attr.split("."), module)
    except AttributeError as error:
        raise ConfigurationError(
            name.subject,
            f"is not there: {error}",
            cure="name the attribute that holds the Operon, as module:attr",
        ) from error


def _guarded(name: AppName, problem: str, action: Callable[[], Any]) -> Any:
    """Call the user's code; say what it raised, and where."""
    try:
        return action()
    except (Exception, SystemExit) as error:
        raised = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(
            name.subject, f"{problem}: {raised}{_place(name, error)}", cure="mend it"
        ) from error


def _place(name: AppName, error: BaseException) -> str:
    """Return the line where *error* came from, one of the application's if possible."""
    lines = [
        (Path(line.filename), line.lineno)
        for line in traceback.extract_tb(error.__traceback__)
        if not line.filename.startswith("<") and line.filename != __file__
    ]
    own = [line for line in lines if _is_own(name, line[0])]
    for path, number in reversed(own or lines):
        return f" ({path}, line {number})"
    return ""


def _is_own(name: AppName, path: Path) -> bool:
    """Tell whether *path* is the application's, as far as folders tell."""
    inside = any(path.is_relative_to(folder) for folder in name.folders)
    return inside and "site-packages" not in path.parts
