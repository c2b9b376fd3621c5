"""The README's code runs, and its tables are complete."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from operon import errors

README = Path(__file__).parent.parent / "README.md"


def _blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_its_code_runs_twice_and_leaves_one_order_for_each_id(tmp_path):
    program = tmp_path / "quickstart.py"
    query = "SELECT count(*) FROM orders"
    count = f"print(operon.engine.connect().exec_driver_sql({query!r}).scalar())"
    program.write_text("\n".join([*_blocks("python"), count]), encoding="utf-8")

    outputs = [
        subprocess.run(
            [sys.executable, program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]

    assert outputs == [["1", "1", "3"], ["1", "1", "3"]]


def test_the_tests_it_shows_pass(tmp_path):
    quickstart, *others = _blocks("python")
    (tests,) = (each for each in others if each.startswith("def test_"))
    (tmp_path / "shop.py").write_text(quickstart, encoding="utf-8")
    (tmp_path / "test_shop.py").write_text(
        f"from shop import Checkout, Order\n\n{tests}", encoding="utf-8"
    )
    (tmp_path / "conftest.py").write_text(
        "import pytest\n"
        "from shop import Base\n\n"
        "@pytest.fixture(scope='session')\n"
        "def operon_metadata():\n"
        "    return Base.metadata\n",
        encoding="utf-8",
    )

    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stdout
    assert "2 passed" in told.stdout


def test_the_quickstart_is_thirty_lines_of_code():
    code = [
        line
        for line in _blocks("python")[0].splitlines()
        if line.strip() and "import" not in line
    ]

    assert len(code) <= 30


def _error_classes() -> list[type[errors.OperonError]]:
    return [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.OperonError)
    ]


@pytest.mark.parametrize("error", _error_classes())
def test_every_error_is_explained(error):
    assert error is errors.OperonError or f"| `{error.code}` |" in README.read_text(
        encoding="utf-8"
    )


def test_every_link_leads_somewhere():
    for page in [README, *README.parent.glob("docs/*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
