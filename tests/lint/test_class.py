"""`lint_workflow(cls)`: the findings of one class, as the testing kit asks for them."""

import importlib
import inspect
import sys
import time
import types
from pathlib import Path

import pytest

from operon import Workflow
from operon.errors import MisuseError
from operon.lint import lint_workflow


def _now() -> float:
    return time.time()


class LintedClock(Workflow):
    def run(self) -> float:
        return _now()


class LintedRight(Workflow):
    def run(self) -> None:
        self.now()


class LintedAllowed(Workflow):
    def run(self) -> float:
        return time.time()  # operon: allow OPN001 this is what the test is about


class LintedChild(LintedClock):
    """It inherits its body."""


def _told(workflow: type[Workflow]) -> list[tuple[str, str, tuple[str, ...]]]:
    lines = Path(__file__).read_text(encoding="utf-8").split("\n")
    return [
        (each.code, lines[each.line - 1].strip(), each.via)
        for each in lint_workflow(workflow)
        if each.filename == __file__
    ]


CLOCK = [("OPN001", "return time.time()", ("LintedClock.run", "_now"))]


def test_the_findings_are_those_of_this_class_alone():
    assert _told(LintedClock) == CLOCK
    assert _told(LintedRight) == []


def test_an_inherited_body_counts():
    assert _told(LintedChild) == CLOCK


def test_what_is_allowed_is_left_out_and_allowances_of_others_are_not_judged():
    assert _told(LintedAllowed) == []


def test_a_class_inside_a_function_is_found():
    class LintedLocal(Workflow):
        def run(self) -> float:
            return time.monotonic()

    assert [each[:2] for each in _told(LintedLocal)] == [
        ("OPN001", "return time.monotonic()")
    ]


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Import modules of these texts."""
    monkeypatch.syspath_prepend(tmp_path)

    def imported(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        return [importlib.import_module(name) for name in texts]

    before = set(sys.modules)
    yield imported
    for name in set(sys.modules) - before:
        if name.startswith("linted_"):
            del sys.modules[name]


def test_a_body_inherited_from_another_module_is_found_there(imported):
    base = """
import random
from operon import Workflow
class LintedBase(Workflow, abstract=True):
    def run(self) -> float:
        return random.random()
"""
    child = "from linted_base import LintedBase\nclass LintedFar(LintedBase): ...\n"
    near, far = imported(linted_base=base, linted_child=child)

    [finding] = lint_workflow(far.LintedFar)

    assert (finding.filename, finding.line) == (inspect.getfile(near), 6)


def test_a_class_whose_base_is_the_applications_own_is_known(imported):
    base = """
from operon import Workflow
class LintedOurs(Workflow, abstract=True): ...
"""
    child = """
import time
from linted_ours import LintedOurs
class LintedTheirs(LintedOurs):
    def run(self) -> float:
        return time.time()
"""
    _, module = imported(linted_ours=base, linted_theirs=child)

    assert [each.line for each in lint_workflow(module.LintedTheirs)] == [6]


def test_a_class_without_a_source_has_no_findings():
    def run(self) -> float:
        return time.time()

    made = types.new_class(
        "LintedMade", (Workflow,), exec_body=lambda body: body.update(run=run)
    )
    made.__module__ = "nowhere"

    assert lint_workflow(made) == []


@pytest.mark.parametrize("wrong", [Workflow, int, LintedRight(), None, "LintedRight"])
def test_what_is_no_workflow_is_refused_with_the_cure(wrong):
    with pytest.raises(MisuseError, match=r"pass a subclass of operon\.Workflow"):
        lint_workflow(wrong)
