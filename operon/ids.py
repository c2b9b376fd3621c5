"""Ids: time-ordered ones made here, and the rules for those that callers bring."""

import secrets
import time
import uuid

from operon.errors import MisuseError

_LONGEST = 255  # characters; an id travels in URLs, headers and index entries


def new_id() -> str:
    """Return a new UUIDv7: its first 48 bits are the time in milliseconds.

    Source:
        RFC 9562, section 5.7.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76  # version 7
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant of RFC 9562
    return str(uuid.UUID(int=value))


def checked_id(run_id: object) -> str:
    """Return *run_id* if it can be one.

    Raises:
        MisuseError: It is not 1 to 255 printable characters.
    """
    if isinstance(run_id, str) and 0 < len(run_id) <= _LONGEST and run_id.isprintable():
        return run_id
    raise MisuseError(
        f"id={run_id!r}",
        "cannot be a run's id",
        cure=f"use text of 1 to {_LONGEST} printable characters",
    )
