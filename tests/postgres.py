"""PostgreSQL servers for tests; knows nothing of Operon or pytest.

A `PostgresServer` needs no installation as a service and no root: any PostgreSQL
binaries will do. It may be killed and started again on the same port and data. It
never outlives the process that made it, however that process ends.
"""

import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any
from typing import Self

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from tests.postgres_binaries import find_binaries
from tests.postgres_binaries import reachable

PATIENCE = 30.0  # seconds for a server to start, stop or die
POLL = 0.01  # seconds between two looks at a starting server

#: Older servers copy files without being told to; it is the fastest way.
FIRST_WITH_STRATEGY = 150_000

#: Below the range the kernel hands to clients, so that no client takes the port of a
#: server that is down for a moment (not even by connecting to itself).
PORTS = range(16_000, 32_000)

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # processes die here, machines do not
    "full_page_writes": "off",  # as above
    "synchronous_commit": "on",  # off loses commits when a process dies
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # in the data directory: nothing leaks
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "log_min_messages": "log",  # starts, stops and crashes; no failed statements
    "log_checkpoints": "off",
}

#: Waits for the end of standard input, which comes with the end of the test process.
LIFELINE = """
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
pid=${pid#-}
for signal in $2; do
    [ -n "$pid" ] && kill -s "$signal" "$pid" 2>/dev/null || break
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -s 0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
done
rm -rf "$1"
"""


class PostgresStartError(Exception):
    """A PostgreSQL program ended, or took too long; the message has its log."""


class DatabaseServer:
    """A PostgreSQL server in which tests may create databases."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")

    def url(self, dbname: str) -> str:
        """Return the SQLAlchemy URL of *dbname* on this server."""
        return self._url.set(database=dbname).render_as_string(hide_password=False)

    def connect(self, dbname: str = "postgres") -> psycopg.Connection[Any]:
        """Open an autocommitting psycopg connection to *dbname*."""
        url = self._url.set(drivername="postgresql", database=dbname)
        conninfo = url.render_as_string(hide_password=False)
        return psycopg.connect(conninfo, autocommit=True)

    def execute(
        self, statement: str | sql.Composed, dbname: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """Run *statement* in a connection of its own and return its rows, if any."""
        with self.connect(dbname) as connection:
            cursor = connection.execute(statement)
            return [] if cursor.description is None else cursor.fetchall()

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create the database *name*, as a copy of *template* if there is one."""
        origin = "template1" if template is None else template
        with self.connect() as connection:
            chosen = connection.info.server_version >= FIRST_WITH_STRATEGY
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}").format(
                sql.Identifier(name),
                sql.Identifier(origin),
                sql.SQL("STRATEGY file_copy" if chosen else ""),
            )
            connection.execute(create)

    def drop_database(self, name: str) -> None:
        """Drop the database *name*, ending whoever is connected to it."""
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self.execute(drop.format(sql.Identifier(name)))


class PostgresServer(DatabaseServer):
    """A private server on loopback that can be stopped, killed and started again."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
        segment: int = 1,
    ) -> None:
        """Prepare a server.

        Args:
            settings: What to change in `SETTINGS`.
            folder: Where its data lies; by default among the temporary files.
            segment: Megabytes of a file of its write-ahead log.
        """
        self.port = _free_port()
        self._folder = folder
        self._segment = segment
        super().__init__(f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/")
        self._settings = {**SETTINGS, **(settings or {}), "port": str(self.port)}
        self._base: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self._running().pid

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        path = self._home() / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server, on a new data directory the first time, and wait for it."""
        if self._process is not None:
            raise RuntimeError("the server is running: stop or kill it first")
        if self._base is None:
            self._create()
        self._alive, inherited = os.pipe()
        try:
            self._process = self._spawn(
                ["postgres", "-D", self._home() / "data"], pass_fds=(inherited,)
            )
        finally:
            os.close(inherited)
        self._await_ready(self._process)

    def stop(self) -> None:
        """Shut the server down in order; clients are disconnected at once."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the postmaster, and wait until its last backend is gone as well."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same port and data."""
        if self._process is not None:
            self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and forget its data."""
        if self._base is None:
            return
        if self._process is not None:
            self.stop()
        self._free_shared_memory()
        self._lifeline.kill()
        self._lifeline.communicate()
        shutil.rmtree(self._base)
        self._base = None

    def _home(self) -> Path:
        if self._base is None:
            raise RuntimeError("the server has no data: start it first")
        return self._base

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is down: start it first")
        return self._process

    def _create(self) -> None:
        """Make the data directory, owned by a user who may run PostgreSQL."""
        bindir = find_binaries()
        self._account = _unprivileged_account()
        self._base = Path(tempfile.mkdtemp(prefix="operon-postgres-", dir=self._folder))
        self._base.chmod(0o755)
        if self._account:
            os.chown(self._base, self._account["user"], self._account["group"])
        lifeline = ["/bin/sh", "-c", LIFELINE, "sh", self._base, "QUIT KILL"]
        self._lifeline = self._popen(lifeline, stdin=subprocess.PIPE)
        self._bindir = reachable(bindir, self._base, self._account)
        options = "-A trust -U postgres -E UTF8 --locale=C --no-sync --wal-segsize"
        segment = str(self._segment)
        initdb = ["initdb", *options.split(), segment, "-D", self._base / "data"]
        if self._spawn(initdb).wait(PATIENCE):
            raise PostgresStartError(f"initdb failed:\n{self.log}")
        configuration = "".join(f"{k} = '{v}'\n" for k, v in self._settings.items())
        with (self._base / "data" / "postgresql.conf").open("a") as file:
            file.write(configuration)

    def _spawn(
        self, command: list[str | Path], **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a PostgreSQL program that writes into the log."""
        program, *arguments = command
        with (self._home() / "server.log").open("ab") as log:
            return self._popen(
                [self._bindir / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **options,
            )

    def _popen(
        self, command: list[str | Path], **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start *command* as the server's user, out of reach of the terminal's ^C."""
        return subprocess.Popen(
            command,
            cwd=self._home(),
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            start_new_session=True,
            **self._account,
            **options,
        )

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until *process* says in its pid file that it takes connections."""
        pid_file = self._home() / "data" / "postmaster.pid"

        def ready() -> bool:
            if process.poll() is not None:
                self._forget()
                raise PostgresStartError(f"postgres ended at start:\n{self.log}")
            words: list[str] = []
            with suppress(FileNotFoundError):  # not yet there
                words = pid_file.read_text().split()
            return words[:1] == [str(process.pid)] and words[-1:] == ["ready"]

        if not _poll(ready):
            self.kill()
            raise PostgresStartError(f"postgres is not ready:\n{self.log}")

    def _end(self, how: signal.Signals) -> None:
        """End the postmaster by signal *how* and wait for all it has started.

        Every backend inherits one end of a pipe, so the other end closes when the
        last of them is gone; only then may the data directory be used again.
        """
        process = self._running()
        process.send_signal(how)
        process.wait(PATIENCE)
        gone, _, _ = select.select([self._alive], [], [], PATIENCE)
        self._forget()
        if not gone:
            raise PostgresStartError(f"backends outlive the postmaster:\n{self.log}")

    def _forget(self) -> None:
        os.close(self._alive)
        self._process = None

    def _free_shared_memory(self) -> None:
        """Remove the segment that a killed postmaster left behind."""
        with suppress(OSError, IndexError):  # there is none, or no ipcrm
            pid_file = self._home() / "data" / "postmaster.pid"
            segment = pid_file.read_text().splitlines()[6].split()[1]
            self._popen(
                ["ipcrm", "-m", segment],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ).wait(PATIENCE)


def _unprivileged_account() -> dict[str, Any]:
    """Return `Popen`'s options to drop root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise PostgresStartError(
        "PostgreSQL refuses to run as root and there is no user 'postgres' or "
        "'nobody': run the tests as another user, or set OPERON_TEST_DATABASE_URL"
    )


def _free_port() -> int:
    """Return a loopback port nobody listens on, the same for no two workers."""
    generator = SystemRandom()  # the seeded one repeats itself in every worker
    while True:
        port = generator.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _poll(condition: Callable[[], bool]) -> bool:
    """Ask *condition* again and again until it holds or patience ends."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(POLL)
    return False
