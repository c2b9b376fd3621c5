"""What users import, and what importing it costs them."""

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import operon
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
NAMES = {
    "Future",
    "Handle",
    "Invocation",
    "Operon",
    "Queue",
    "Rate",
    "Retry",
    "RunCancelled",
    "RunStatus",
    "Workflow",
    "activity",
    "current",
    "invariant",
    "step",
    "transaction",
}
HEAVY = ["flask", "pydantic", "alembic", "opentelemetry", "jose", "click", "pytest"]


def _loaded(program: str) -> set[str]:
    """Return the top-level modules that *program* loads in a process of its own."""
    tell = (
        "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{program}\n{tell}"],
        capture_output=True,
        check=True,
        text=True,
    )
    return set(done.stdout.split())


def test_operon_exports_what_users_need_and_nothing_else():
    starred: dict[str, object] = {}
    exec("from operon import *", starred)  # noqa: S102 - only a module may say it

    assert starred.keys() - {"__builtins__"} == NAMES
    assert set(dir(operon)) == NAMES
    with pytest.raises(AttributeError, match="'operon' has no attribute 'Operom'"):
        _ = operon.Operom  # type: ignore[attr-defined]  # that there is none is the test


def test_every_public_name_is_documented():
    for name in NAMES:
        assert getattr(operon, name).__doc__, name


def test_errors_are_a_module_of_their_own():
    assert errors.RunCancelled is operon.RunCancelled


@pytest.mark.parametrize(
    "program",
    [
        "import operon",
        "from operon import *",
        "import operon, operon.errors, operon.models",
    ],
)
def test_importing_operon_loads_nothing_that_only_its_edges_need(program):
    assert not _loaded(program).intersection(HEAVY)


def test_making_an_operon_loads_nothing_heavy_and_opens_nothing(tmp_path):
    path = tmp_path / "shop.db"
    program = f"from operon import Operon; Operon('sqlite:///{path}')"

    assert not _loaded(program).intersection(HEAVY)
    assert not path.exists()


def test_a_module_that_declares_workflows_loads_no_engine():
    program = """
import sys
from operon import Queue, Retry, Workflow, activity, current, step, transaction
heavy = {"operon.app", "operon.engine", "operon.executor", "operon.models"}
assert not heavy & set(sys.modules)
"""

    _loaded(program)


def test_a_pytest_that_tests_something_else_waits_for_next_to_nothing():
    """The plugin is imported wherever Operon is installed."""
    program = """
import sys
import operon.testing.plugin
unasked = {"operon.app", "operon.engine", "operon.flask", "flask", "opentelemetry.sdk"}
assert not unasked & set(sys.modules)
"""

    _loaded(program)


def test_importing_operon_starts_no_thread():
    program = "import operon, threading; assert threading.active_count() == 1"

    _loaded(program)


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
