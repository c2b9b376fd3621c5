"""Whatever is Python is examined, and never crashes the linter."""

import ast
import io
import sys
import tokenize
import warnings
from textwrap import indent

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from operon.errors import DeclarationError
from operon.lint import lint_source
from operon.lint.files import text_of
from tests.lint.bodies import IMPORTS
from tests.lint.bodies import codes
from tests.lint.bodies import module
from tests.lint.programs import STATEMENTS
from tests.lint.programs import library

HEADER = "from operon import Workflow, step\n"


def _as_bodies(text: str) -> str:
    """Return *text* with every class a workflow whose body calls all there is.

    So whatever a file contains is examined as a body's own code.
    """
    tree = ast.parse(text)
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    every = [each for each in ast.walk(tree) if isinstance(each, definitions)]
    for each in every:
        each.decorator_list = []
        if isinstance(each, ast.ClassDef):
            each.bases, each.keywords = [ast.Name("OperonWorkflow")], []
            each.body = [node for node in each.body if not _is_run(node)]
            calls = [f"self.{node.name}()" for node in each.body if node in every]
            each.body += ast.parse(f"def run(self): {'; '.join(['len', *calls])}").body
    names = sorted({each.name for each in every})
    calls = "; ".join(["len", *(f"{name}()" for name in names)])
    head = "from operon import Workflow as OperonWorkflow\n"
    last = f"class Everything(OperonWorkflow):\n    def run(self): {calls}\n"
    return f"{head}{ast.unparse(tree)}\n{last}"


def _is_run(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "run"


@pytest.mark.parametrize("file", library(), ids=lambda file: file.stem)
def test_files_of_the_standard_library_are_examined_as_they_are_and_as_bodies(file):
    text = text_of(file)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they hold invalid escapes, and may
        bodies = _as_bodies(text)

    assert lint_source(text) == []
    assert isinstance(lint_source(bodies), list)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "pool.py",
            {"OPN001", "OPN005", "OPN006"},
        ),  # sleeps, counts CPUs, starts threads
        ("process.py", {"OPN010"}),  # catches everything, then ends the process
    ],
)
def test_files_examined_as_bodies_do_have_findings(name, expected):
    [file] = [each for each in library() if each.match(f"multiprocessing/{name}")]

    assert expected <= set(codes(_as_bodies(text_of(file))))


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(STATEMENTS, min_size=1, max_size=6),
    st.lists(STATEMENTS, max_size=4),
    st.lists(STATEMENTS, max_size=4),
)
def test_any_statements_of_module_class_and_body_are_examined(body, members, before):
    text = module("\n".join(body), before="\n".join(before), members="\n".join(members))
    try:
        ast.parse(text)
    except SyntaxError:
        with pytest.raises(DeclarationError, match="is not Python"):
            lint_source(text)
    else:
        found = lint_source(text)

        assert found == sorted(found)
        assert [(each.line - 1, each.code) for each in lint_source(f"#\n{text}")] == [
            (each.line, each.code) for each in found
        ]


@settings(max_examples=300)
@given(st.text())
def test_any_text_is_examined_or_refused(text):
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        with pytest.raises(DeclarationError):
            lint_source(text)
    else:
        assert lint_source(text) == []


@pytest.mark.parametrize(
    "body",
    [
        "return " + " | ".join(["a"] * 800),
        "return " + " + ".join(["time.time"] * 400),
        "return a" + ".b()" * 400,
        "return a" + ".union()" * 400,
        "return set()" + ".union()" * 400,
        "return " + "-" * 400 + "time.time()",
        "return " + "[" * 90 + "time.time()" + "]" * 90,
        "a0 = set()\n"
        + "\n".join(f"a{n + 1} = a{n} if a{n} else a{n}" for n in range(400))
        + "\nreturn list(a400)",
        "\n".join(f"{'  ' * n}if a:" for n in range(90)) + " time.time()",
        "\n".join(["time.sleep(1)"] * 2000),
    ],
    ids=lambda body: body[:24],
)
def test_what_a_program_has_written_is_examined_however_deep(body):
    assert set(codes(module(body))) <= {"OPN001", "OPN008"}


def test_what_is_too_deep_for_python_itself_is_refused():
    depth = sys.getrecursionlimit() * 20

    with pytest.raises(DeclarationError, match="is not Python"):
        lint_source("x = " + "-" * depth + "1")


@pytest.mark.parametrize(
    "declarations",
    [
        "class W(W): ...",
        "class A(B): ...\nclass B(A): ...",
        "class A(Workflow, B):\n  run = B.run\nclass B(A): ...",
        "a = b\nb = a\nclass A(a): ...",
        "def run(): ...\nclass A(Workflow):\n  run = run",
        "class A(Workflow):\n  def run(): ...",
        "class A(Workflow):\n  def run(self, *, a): self = self; self.run()",
        "class A(Workflow):\n  async def run(self): ...\n  def run(self): ...",
        "class A(*b, **c): ...",
        "class A(Workflow):\n  x: x = x\n  def run(self): return list(self.x)",
        "class A(Workflow):\n  run: int",
        "class A(Workflow):\n  import run",
        "from operon import *\nclass A(Workflow):\n  def run(self): ...",
    ],
)
def test_circles_and_oddities_end(declarations):
    assert lint_source(f"{IMPORTS}\n{declarations}\n") == []


def test_a_file_that_only_tokenize_refuses_is_examined():
    text = f"{HEADER}x = 1  # operon: allow OPN001 a\nif x:\n  x\n\f \\\n\n"
    ast.parse(text)  # Python takes it
    with pytest.raises(IndentationError):
        list(tokenize.generate_tokens(io.StringIO(text).readline))

    assert codes(text) == ["OPN011"]


def test_a_body_in_a_body_is_indented_as_it_likes():
    text = module(indent("if 1:\n\ttime.sleep(1)", ""))

    assert codes(text) == ["OPN001"]
