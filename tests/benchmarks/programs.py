"""Subjects as seen by who measures them: processes that answer questions."""

import json
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import Self

from tests.processes import ROOT

PATIENCE = 300.0  # seconds for one answer
SHOWN = 2_000  # characters of what a subject said before it failed


class SubjectError(Exception):
    """A subject could not do what it was asked."""


class Program:
    """A subject's process; it ends with the with-block, or with this process.

    Args:
        subject: Its module in `tests.benchmarks.subjects`.
        arguments: What it is given on its command line.
        python: The interpreter of the environment it needs; by default this one.
    """

    def __init__(
        self, subject: str, *arguments: str, python: Path | None = None
    ) -> None:
        module = f"tests.benchmarks.subjects.{subject}"
        self.subject = subject
        self._command = [str(python or sys.executable), "-m", module, *arguments]

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def ask(self, scenario: str, **parameters: Any) -> dict[str, Any]:
        """Let it do *scenario* and return what it answers.

        Raises:
            SubjectError: It failed, ended, or took too long.
        """
        assert self._process.stdin
        question = json.dumps({"scenario": scenario, **parameters})
        try:
            self._process.stdin.write(f"{question}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure(scenario, "it has ended") from None
        answer: dict[str, Any] = json.loads(self._heard(scenario))
        if "error" in answer:
            raise self._failure(scenario, answer["error"])
        return answer

    def kill(self) -> None:
        """End it at once (SIGKILL), with no chance to clean up."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _heard(self, scenario: str) -> bytes:
        assert self._process.stdout
        spoken, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        if not spoken:
            raise self._failure(scenario, f"no answer in {PATIENCE:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._failure(scenario, "it ended")
        return line

    def _failure(self, scenario: str, why: str) -> SubjectError:
        self._log.seek(0)
        said = self._log.read().decode(errors="replace")[-SHOWN:]
        return SubjectError(f"{self.subject}, asked for {scenario!r}: {why}\n{said}")
