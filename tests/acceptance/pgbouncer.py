"""A real PgBouncer in transaction mode, in front of the tests' PostgreSQL server.

It knows nothing of Operon. Debian's package `pgbouncer` puts it into /usr/sbin.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import Self

from sqlalchemy import make_url

from tests.postgres import _free_port
from tests.postgres import _unprivileged_account
from tests.processes import eventually

CONFIGURATION = """
[databases]
* = host={host} port={server_port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 500
"""


class PgBouncerNotFoundError(Exception):
    """There is no PgBouncer on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "there is no pgbouncer on PATH or in /usr/sbin: install the package "
            "pgbouncer (apt-get install -y pgbouncer)"
        )


class PgBouncer:
    """Gives clients one of few server connections, for one transaction at a time.

    Raises:
        PgBouncerNotFoundError: It is not installed.
    """

    def __init__(self, server_url: str, *, connections: int) -> None:
        self._program = _program()
        self._server = make_url(server_url)
        self._connections = connections
        self.port = _free_port()

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="operon-pgbouncer-"))
        self._home.chmod(0o755)
        configuration = self._home / "pgbouncer.ini"
        configuration.write_text(self._configuration())
        self._log = (self._home / "log").open("wb")
        # it refuses to run as root, as PostgreSQL does
        account: dict[str, Any] = _unprivileged_account()
        self._process = subprocess.Popen(
            [self._program, configuration],
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **account,
        )
        eventually(self._answers, saying="pgbouncer does not answer")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)  # at once, as SIGINT would not
        self._process.wait(10)
        self._log.close()
        shutil.rmtree(self._home)

    def url(self, server_url: str) -> str:
        """Return *server_url* leading through it."""
        url = make_url(server_url).set(host="127.0.0.1", port=self.port)
        return url.render_as_string(hide_password=False)

    def _configuration(self) -> str:
        return CONFIGURATION.format(
            host=self._server.host,
            server_port=self._server.port or 5432,
            user=self._server.username,
            port=self.port,
            connections=self._connections,
        )

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            said = (self._home / "log").read_text(errors="replace")
            raise AssertionError(f"pgbouncer ended at its start:\n{said}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


def _program() -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which("pgbouncer", path=path)
    if found is None:
        raise PgBouncerNotFoundError
    return found
