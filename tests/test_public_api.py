"""What users import, and what importing it costs them."""

import subprocess
import sys

import pytest

import operon

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
    from operon import errors  # noqa: PLC0415 - that it can be imported is the test

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


def test_importing_operon_starts_no_thread():
    program = "import operon, threading; assert threading.active_count() == 1"

    _loaded(program)
