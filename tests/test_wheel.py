"""What is installed: the package, its types and its migrations, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that no earlier build leaves traces in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("operon", "migrations"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, *build, "--wheel-dir", str(folder), str(source)],
        capture_output=True,
        check=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_module_its_types_and_its_migrations(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"operon/{each.relative_to(ROOT / 'operon')}" for each in _modules()}

    assert modules <= names
    assert {
        "operon/py.typed",
        "operon/migrations/env.py",
        "operon/migrations/script.py.mako",
        "operon/migrations/versions/0001_core.py",
    } <= names


def test_the_wheel_holds_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split("/")[0].split("-")[0] for name in names} == {"operon"}


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import operon
assert operon.__file__.startswith(sys.argv[1]), operon.__file__
from sqlalchemy.orm import Session

@operon.transaction
def two(session: Session) -> int:
    return 2

print(operon.Operon("sqlite:///fresh.db").run(two()))
"""


def test_the_installed_package_migrates_and_runs(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")

    assert _run(tmp_path / "site", tmp_path) == ("2\n", "")


def test_the_sources_migrate_and_run_from_a_checkout(wheel, tmp_path):
    """As they do for `python -m sample_app`, which finds `operon` beside it."""
    assert _run(wheel.parent / "source", tmp_path) == ("2\n", "")


def _run(package: Path, folder: Path) -> tuple[str, str]:
    """Run the program with *package* first on the path and no editable install."""
    program = _with_site_packages(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", program, str(package)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr


def _modules() -> list[Path]:
    return list((ROOT / "operon").rglob("*.py"))


def _with_site_packages(program: str) -> str:
    """Return *program* with the dependencies importable, but no editable install."""
    folders = [each for each in sys.path if each.endswith("site-packages")]
    return f"import sys; sys.path += {folders!r}\n{program}"
