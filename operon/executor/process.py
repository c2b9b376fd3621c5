"""Which process this is, and whether another one on this machine still lives.

A process is known by its host, the boot of its kernel, its pid namespace, its pid
and its start time. Where the kernel does not tell, other processes are never taken
for dead by anything but their lease.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Identified(Protocol):
    """What is known of a process, here or elsewhere."""

    @property
    def host(self) -> str:
        """The machine's name."""
        ...

    @property
    def boot_id(self) -> str | None:
        """The boot of its kernel."""
        ...

    @property
    def pid_namespace(self) -> str | None:
        """The namespace in which its pid counts."""
        ...

    @property
    def pid(self) -> int:
        """Its number in that namespace."""
        ...

    @property
    def process_started(self) -> str | None:
        """Its start time in the kernel's units."""
        ...


@dataclass(frozen=True, kw_only=True)
class Process:
    """What a process can say of itself."""

    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    process_started: str | None


def this_process() -> Process:
    """Return what there is to know about this process."""
    pid = os.getpid()
    return Process(
        host=socket.gethostname(),
        boot_id=_read(Path("/proc/sys/kernel/random/boot_id")),
        pid_namespace=_namespace(),
        pid=pid,
        process_started=started(pid),
    )


def is_gone(process: Identified, *, here: Process) -> bool:
    """Tell whether *process* certainly does not live any more.

    Only for a process of the same kernel and pid namespace as *here*; of any other
    nothing is certain.
    """
    same_kernel = (
        here.boot_id is not None
        and here.pid_namespace is not None
        and process.host == here.host
        and process.boot_id == here.boot_id
        and process.pid_namespace == here.pid_namespace
    )
    return same_kernel and started(process.pid) != process.process_started


def started(pid: int) -> str | None:
    """Return the start time of process *pid* in clock ticks since boot, or None.

    Source:
        proc(5), `/proc/[pid]/stat`, field 22; the command in field 2 may hold blanks.
    """
    stat = _read(Path(f"/proc/{pid}/stat"))
    if stat is None:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def _namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - Path.readlink would parse it
    except OSError:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
