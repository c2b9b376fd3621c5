"""Where a folder lies: on a disk, or only in memory, where a sync costs nothing."""

from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
IN_MEMORY = {"tmpfs", "ramfs"}


def is_in_memory(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Tell whether *folder* is known to lie in memory only."""
    if not mounts.exists():  # not Linux
        return False
    found = [line.split()[1:3] for line in mounts.read_text("utf-8").splitlines()]
    where = folder.resolve()
    around = [
        (len(Path(point).parts), kind)
        for point, kind in reversed(found)  # the newest hides the others
        if where.is_relative_to(point)
    ]
    return max(around, default=(0, ""), key=lambda each: each[0])[1] in IN_MEMORY
