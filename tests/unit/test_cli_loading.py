"""Finding the application that `module:attr` names."""

import sys

import pytest

from operon import Operon
from operon.cli.loading import load
from operon.cli.loading import name_given
from operon.cli.loading import operon_of
from operon.errors import ConfigurationError

MODULE = """
from types import SimpleNamespace
from operon import Operon

operon = Operon("sqlite:///never_opened.db")
shop = SimpleNamespace(operon=operon)

flask_like = SimpleNamespace(extensions={"operon": operon})

def create_operon():
    return operon

def create_nothing():
    return None

def stumble():
    raise LookupError("no settings")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the module `given_app`, and the cwd; imports are undone."""
    (tmp_path / "given_app.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPERON_APP", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("given_"):
            del sys.modules[name]


def found(spec):
    name = name_given(spec)
    return operon_of(name, load(name))


def refusal(spec):
    with pytest.raises(ConfigurationError) as caught:
        found(spec)
    return str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        "given_app:operon",
        "given_app:shop.operon",
        "given_app:create_operon()",
        "given_app:flask_like",
    ],
    ids=["attribute", "dotted attribute", "factory", "Flask application"],
)
def test_loads_the_application_from_the_working_directory(spec):
    assert isinstance(found(spec), Operon)


@pytest.mark.parametrize("spec", ["given_app", "given_app:", ":operon", "a b:c", ""])
def test_refuses_what_is_no_module_and_attribute(spec):
    assert "is no module:attr; name it as module:attr, or module:factory()" in refusal(
        spec
    )


@pytest.mark.parametrize("module", ["given_other", "given_app.inner", "no.such.place"])
def test_a_module_that_is_not_there_is_named(module):
    assert f"names the module {module!r}, which is not found" in refusal(f"{module}:x")


def test_an_attribute_that_is_not_there_is_named():
    assert "has no attribute 'operator'" in refusal("given_app:operator")


def test_something_else_than_an_operon_is_refused():
    assert "is of type NoneType, no Operon" in refusal("given_app:create_nothing()")
    assert "write given_app:create_operon() if it makes" in refusal(
        "given_app:create_operon"
    )


def test_a_factory_that_raises_says_what_and_where(folder):
    assert (
        f"cannot be made: LookupError: no settings ({folder / 'given_app.py'}, line 17)"
        in refusal("given_app:stumble()")
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import operon\n1 / 0\n", "ZeroDivisionError: division by zero ("),
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_th"),
        ("def\n", "SyntaxError: "),
        ("raise SystemExit(3)\n", "SystemExit: 3 ("),
    ],
)
def test_a_module_that_cannot_be_imported_says_what_and_where(folder, source, expected):
    (folder / "given_broken.py").write_text(source, encoding="utf-8")

    message = refusal("given_broken:operon")

    assert f"cannot be imported: {expected}" in message
    assert "given_broken.py, line " in message


def test_the_option_wins_over_the_environment_and_that_over_pyproject(folder):
    text = '[tool.operon]\napp = "given_app:project"\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    environment = {"OPERON_APP": "given_app:environment"}

    assert name_given("given_app:option", environment).source == "--app"
    assert name_given(None, environment).spec == "given_app:environment"
    assert name_given(None, {}).spec == "given_app:project"


def test_the_nearest_pyproject_is_asked_and_its_folder_searched(folder, monkeypatch):
    text = '[tool.operon]\napp = "given_app:operon"\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    inner = folder / "inner" / "most"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)

    assert isinstance(load(name_given(None, {})), Operon)

    (inner / "pyproject.toml").write_text("[tool.other]\n", encoding="utf-8")
    assert name_given(None, {}) is None


def test_a_pyproject_that_cannot_be_read_is_named(folder):
    (folder / "pyproject.toml").write_text("app = = 1", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"pyproject\.toml cannot be read"):
        name_given(None, {})
