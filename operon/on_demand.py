"""Names of a package that are imported when somebody asks for them, and not before."""

import sys
from collections.abc import Callable
from collections.abc import Mapping
from importlib import import_module
from typing import Any


def on_demand(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of *package*.

    Args:
        package: Its `__name__`.
        places: By name the module to import it from, such as `.clock`.

    Source:
        PEP 562, "Module `__getattr__` and `__dir__`".
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(places[name], package), name)
        vars(sys.modules[package])[name] = found  # it is not asked for again
        return found

    return find
