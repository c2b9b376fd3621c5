"""The shape of the code: sizes, and who may speak SQL, HTTP or telemetry."""

import ast
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "operon"
MODULES = sorted(PACKAGE.rglob("*.py"))
STATEMENTS = {"select", "insert", "update", "delete", "text"}
SPEAKS_SQL = {
    "store",
    "models",  # the predicates of partial indexes
    "schema.py",  # Alembic's version table
}


def _name(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def _functions(module: Path) -> Iterator[tuple[str, int]]:
    """Yield the functions of *module* and how many lines of code each has."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node
            yield f"{_name(module)}:{node.name}", node.end_lineno - first.lineno + 1


def _imports(module: Path) -> Iterator[tuple[str, str]]:
    """Yield the modules that *module* imports from, and what."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from ((node.module, each.name) for each in node.names)


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_module_is_one_noun_of_at_most_400_lines(module):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 400


def test_functions_are_short():
    sizes = dict(each for module in MODULES for each in _functions(module))

    assert {name: size for name, size in sizes.items() if size > 40} == {}
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= 20


def test_only_the_store_speaks_sql():
    speakers = {
        _name(module)
        for module in MODULES
        if module.relative_to(PACKAGE).parts[0] not in SPEAKS_SQL
        for source, name in _imports(module)
        if source.startswith("sqlalchemy") and name in STATEMENTS
    }

    assert speakers == set()


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("opentelemetry", {"telemetry"}),
        ("flask", {"flask", "testing"}),  # the kit hands out Flask's test client
        ("jose", {"flask"}),
    ],
    ids=["opentelemetry", "flask", "jose"],
)
def test_a_library_of_the_edges_stays_at_its_edge(library, home):
    users = {
        _name(module)
        for module in MODULES
        if module.relative_to(PACKAGE).parts[0] not in home
        for source, _ in _imports(module)
        if source.split(".")[0] == library
    }

    assert users == set()


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_every_suppression_carries_its_reason(module):
    with module.open("rb") as source:
        comments = [
            token.string
            for token in tokenize.tokenize(source.readline)
            if token.type == tokenize.COMMENT
        ]
    silent = [
        each
        for each in comments
        if ("noqa" in each or "type: ignore" in each or "pyright: ignore" in each)
        and " - " not in each
        and each.count("#") < 2
    ]

    assert silent == []
