"""The repository's own workflows and its docs have no findings; the guide is true."""

import re
from pathlib import Path

import pytest

from operon.lint import Code
from operon.lint import lint_path
from operon.lint import lint_source
from operon.lint.rules import RULES
from tests.lint.table import WRONG

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "lint.md"
PAGES = sorted({ROOT / "README.md", *ROOT.glob("docs/*.md")})


def _blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("path", ["sample_app", "operon", "tests/shop.py"])
def test_the_repositorys_own_workflows_have_no_findings(path):
    assert lint_path(ROOT / path) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_workflows_of_the_docs_have_no_findings_but_those_they_show(page):
    shown = _blocks(page, "text") if page == GUIDE else []

    found = [
        str(each)
        for block in _blocks(page, "python")
        for each in lint_source(f"from operon import Workflow\n{block}", "shop.py")
    ]

    assert len(found) == sum(len(each.splitlines()) for each in shown)


def test_a_planted_fault_in_the_sample_app_is_found():
    path = ROOT / "sample_app" / "checkout.py"
    text = path.read_text(encoding="utf-8")
    line = "        order = self.reserve()\n"
    faults = [each for bodies in WRONG.values() for each in bodies]
    planted = [each for each in faults if isinstance(each, str) and "\n" not in each]
    imports = "import builtins, os, random, secrets, threading, time, uuid\n"
    for fault in ("time.time()", "uuid.uuid4()", "os.getenv('A')", "threading.Lock()"):
        assert f"return {fault}".replace("'A'", "'HOME'") in planted

        [found] = lint_source(imports + text.replace(line, f"{line}        {fault}\n"))

        assert found.via == ("Checkout.run",)


def test_the_guide_shows_what_its_example_really_says():
    [said] = _blocks(GUIDE, "text")

    found = lint_source(_blocks(GUIDE, "python")[0], "shop.py")

    assert [str(each) for each in found] == said.splitlines()


@pytest.mark.parametrize("code", Code)
def test_the_guide_explains_every_code(code):
    assert f"| `{code}` |" in GUIDE.read_text(encoding="utf-8")


def test_every_name_of_the_rules_is_written_as_one_can_be():
    names = [name.replace("()", "") for name in RULES]

    assert [name for name in names if not re.fullmatch(r"\w+(\.\w+)+", name)] == []
