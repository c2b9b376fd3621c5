"""Exported histories: a run as a bundle, and its replay by today's code.

`export` reads a run, `load` a bundle from a file, `replay` plays it. None of them
writes anything or has any effect.
"""

from operon.replay.bundle import FORMAT
from operon.replay.bundle import Bundle
from operon.replay.bundle import load
from operon.replay.exporting import Exports
from operon.replay.exporting import export
from operon.replay.replaying import Replayed
from operon.replay.replaying import declared_of
from operon.replay.replaying import replay

__all__ = [
    "FORMAT",
    "Bundle",
    "Exports",
    "Replayed",
    "declared_of",
    "export",
    "load",
    "replay",
]
