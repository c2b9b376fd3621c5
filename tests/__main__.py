"""Everything a change must pass, in one command: `python -m tests`.

What follows the command is given to pytest: `python -m tests -k replay`.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECKS = {
    "lint": ["ruff", "check"],
    "format": ["ruff", "format", "--check"],
    "spelling": ["codespell"],
    "types (mypy)": ["mypy"],
    "types (pyright)": ["pyright", "--warnings"],
    "import contracts": ["lint-imports", "--config", "setup.cfg"],
}


def main(options: list[str]) -> int:
    """Run every check and then the tests; return 0 if all of them passed."""
    failed = [name for name, command in CHECKS.items() if not passes(name, command)]
    if not passes("tests", ["pytest", "-n", "2", *options]):
        failed.append("tests")
    print(f"failed: {', '.join(failed)}" if failed else "all passed", flush=True)
    return 1 if failed else 0


def passes(name: str, command: list[str]) -> bool:
    """Run *command* from this environment's programs; return whether it passed."""
    print(f"== {name}", flush=True)
    program, *arguments = command
    program = str(Path(sys.executable).parent / program)
    return subprocess.run([program, *arguments], cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
