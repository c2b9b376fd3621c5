"""The judges' programs, and how they are called."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from operon.flask.problem import KINDS
from tests.processes import ROOT

HERE = Path(__file__).parent
PATIENCE = 240.0  # seconds for one run of a tool


@dataclass(frozen=True)
class Tools:
    """Where the judges' programs are, and how hard they try."""

    folder: Path
    examples: int

    def schemathesis(
        self,
        url: str,
        token: str,
        *options: str,
        environment: Mapping[str, str] | None = None,
    ) -> str | None:
        """Let schemathesis judge what is served at *url*; return what it found."""
        told = {
            "SCHEMATHESIS_HOOKS": "tests.judges.hooks",
            "OPERON_JUDGES_SLUGS": " ".join(kind.slug for kind in KINDS),
            **(environment or {}),
        }
        command = [
            *(str(self.folder / "schemathesis"), "--config-file"),
            *(str(HERE / "schemathesis.toml"), "run", f"{url}/api/openapi.json"),
            *("--header", f"Authorization: Bearer {token}", "--checks", "all"),
            *("--phases", "coverage,fuzzing,stateful", "--no-color"),
            *("--generation-database", "none", "--warnings", "off"),
            *("--max-examples", str(self.examples), *options),
        ]
        return _found(command, told)

    def client(self, url: str, token: str, folder: Path) -> str | None:
        """Let a client that is generated from the document work; return its error."""
        document = folder / "openapi.json"
        document.write_bytes(httpx.get(f"{url}/api/openapi.json").content)
        generate = [
            *(str(self.folder / "openapi-python-client"), "generate"),
            *("--path", str(document), "--meta", "none", "--fail-on-warning"),
            *("--output-path", str(folder / "judged_client")),
        ]
        path = os.pathsep.join([str(self.folder), os.environ.get("PATH", "")])
        found = _found(generate, {"PATH": path})  # it calls ruff
        if found is not None:
            return found
        drive = [str(self.folder / "python"), str(HERE / "driver.py"), url, token]
        return _found(drive, {"PYTHONPATH": str(folder)})


def _found(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Return what *command* says if it fails."""
    with tempfile.TemporaryDirectory() as scratch:  # tools leave things behind
        done = subprocess.run(
            command,
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    return done.stdout + done.stderr if done.returncode else None
