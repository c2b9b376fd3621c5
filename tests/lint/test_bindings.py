"""Names are local, global or free exactly as Python's own compiler says."""

import ast
import symtable
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from operon.lint import bindings
from operon.lint.bindings import Bindings
from operon.lint.bindings import bindings_of
from operon.lint.files import text_of
from tests.lint.programs import STATEMENTS
from tests.lint.programs import library

Key = tuple[str, int]


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for each in table.get_children():
        yield from _tables(each)


def _compiled(text: str) -> dict[Key, set[str]]:
    """Return what each function binds, by its name and line, as Python sees it."""
    found: dict[Key, set[str]] = {}
    twice: set[Key] = set()
    for table in _tables(symtable.symtable(text, "x.py", "exec")):
        if table.get_type() != "function":
            continue
        key = (table.get_name(), table.get_lineno())
        twice.update({key} & set(found))
        found[key] = {
            name
            for name in table.get_identifiers()
            if table.lookup(name).is_local() and not name.startswith(".")
        }
    return {key: names for key, names in found.items() if key not in twice}


_NAMES = {
    ast.Lambda: "lambda",
    ast.ListComp: "listcomp",
    ast.SetComp: "setcomp",
    ast.DictComp: "dictcomp",
    ast.GeneratorExp: "genexpr",
}


def _ours(text: str) -> dict[Key, Bindings]:
    found: dict[Key, Bindings] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name, node.lineno] = bindings_of(node)
        elif type(node) in _NAMES:
            found[_NAMES[type(node)], node.lineno] = bindings_of(node)
    return found


def _disagreements(text: str) -> list[tuple[Key, set[str]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled, ours = _compiled(text), _ours(text)
    assert set(compiled) <= set(ours)
    return [
        (key, difference)
        for key, names in compiled.items()
        if (difference := names ^ set(ours[key].values))
        if not any("__" in name for name in difference)  # a class mangles them
    ]


@pytest.mark.parametrize("file", library(), ids=lambda file: file.stem)
def test_in_the_standard_library(file: Path):
    assert _disagreements(text_of(file)) == []


@settings(max_examples=300)
@given(st.lists(STATEMENTS, min_size=1, max_size=6))
def test_in_any_function(statements):
    body = "\n".join(statements).replace("\n", "\n    ")
    text = f"def function(self):\n    {body}\n"
    try:
        compile(text, "x.py", "exec")
    except SyntaxError:
        return

    assert _disagreements(text) == []


@pytest.mark.parametrize(
    ("binder", "statement"),
    [
        ("Assign", "a = 1"),
        ("Global", "global a; a = 1"),
        ("Import", "import a"),
        ("MatchAs", "match 1:\n  case a: pass"),
        ("NamedExpr", "[(a := b) for b in 'ab']"),
        ("withitem", "with open('x') as a: pass"),
    ],
)
def test_a_statement_that_is_forgotten_would_be_seen(monkeypatch, binder, statement):
    text = f"def function():\n {statement}\n"
    assert _disagreements(text) == []

    monkeypatch.delitem(bindings._BINDERS, binder)

    assert _disagreements(text) == [(("function", 1), {"a"})]
