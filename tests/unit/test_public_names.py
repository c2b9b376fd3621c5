"""What `from operon.… import *` brings: public names, and no module instead of one."""

import inspect
import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

from operon import errors

PUBLIC = (
    "operon",
    "operon.client",
    "operon.errors",
    "operon.flask",
    "operon.lint",
    "operon.models",
    "operon.replay",
    "operon.telemetry",
    "operon.testing",
)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_package_says_what_it_gives_and_gives_no_module(name):
    """Whoever has imported what before: a module's name would hide what it holds."""
    package = import_module(name)
    for each in pkgutil.iter_modules(package.__path__, f"{name}."):
        import_module(each.name)

    given = {each: getattr(package, each) for each in package.__all__}

    assert not [each for each in given if isinstance(given[each], ModuleType)]
    assert sorted(package.__all__) == sorted(set(package.__all__))


def test_every_error_is_given():
    defined = {
        name
        for module in vars(errors).values()
        if isinstance(module, ModuleType)
        for name, value in inspect.getmembers(module, inspect.isclass)
        if value.__module__.startswith(errors.__name__)
        and issubclass(value, BaseException)
    }

    assert set(errors.__all__) == defined
