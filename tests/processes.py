"""Child processes for tests that kill, freeze and watch real ones."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from typing import TypeVar

ROOT = Path(__file__).parents[1]
POLL = 0.02  # seconds between two looks

T = TypeVar("T")


class Child:
    """A Python program in a process of its own, where every warning is an error.

    *program* is a module's name or a script's path; *env* is added to this process's
    environment. Standard output and error go to one log. On leaving the with-block the
    process is killed, if it is still there. It also dies with the thread that started
    it, if that is the main one.
    """

    def __init__(
        self,
        program: str | Path,
        args: Sequence[object] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = _command(program, args)
        self._env = {**os.environ, **_environment(), **(env or {})}

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._process.wait()
        self._log.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended; a stopped process has not."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once (SIGKILL), with no chance to clean up."""
        self._process.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """Freeze it (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 30.0) -> int:
        """Return its exit code, or minus the signal that ended it.

        Raises:
            AssertionError: It still runs after *timeout* seconds.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            said = f"still runs after {timeout} s; it said:\n{self.output()}"
            raise AssertionError(said) from error

    def output(self) -> str:
        """Return what it has written so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")


def eventually(
    condition: Callable[[], T], *, timeout: float = 15.0, saying: str = ""
) -> T:
    """Ask *condition* until it is true, and return what it returned.

    Raises:
        AssertionError: It is not true after *timeout* seconds; *saying* tells what.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{saying or condition}: not after {timeout} s")
        time.sleep(POLL)
    return answer


def _command(program: str | Path, args: Sequence[object]) -> list[str]:
    """Return the command line, through `setpriv` where it can tie the child to us.

    The kernel sends the signal when the *thread* that started the child ends, so
    children of other threads go without.
    """
    is_script = isinstance(program, Path) or program.endswith(".py")
    what = [str(program)] if is_script else ["-m", program]
    command = [sys.executable, "-W", "error", *what, *map(str, args)]
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return command
    return [setpriv, "--pdeathsig", "KILL", "--", *command]


def _environment() -> dict[str, str]:
    """Return what lets a child import this repository and write without delay."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
