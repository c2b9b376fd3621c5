"""Replaying exported runs in tests: a changed body against what production recorded.

A bundle is written by `operon runs export`; docs/replay.md tells how.
"""

from pathlib import Path
from typing import Any
from typing import Protocol

from operon.config import Settings
from operon.config import settings
from operon.replay import Bundle
from operon.replay import load
from operon.replay import replay as replay_bundle


class Configured(Protocol):
    """What has the settings of an application: its `Operon`."""

    @property
    def settings(self) -> Settings:
        """How it stores values, and what it calls bodies within."""
        ...


def replay(
    bundle: Bundle | dict[str, Any] | str | Path, *, operon: Configured | None = None
) -> None:
    """Replay *bundle* by today's code; return if that does what the bundle says.

    Nothing is executed and no database is opened. The module that declares the
    workflow must be imported.

    Args:
        bundle: An exported run: its file's name, or what the file holds.
        operon: The application's, if it has a payload codec or surroundings.

    Raises:
        NonDeterminismError: The body asks for something else than its history holds,
            or ends otherwise.
        DecodeError: It is no bundle, or a value does not fit today's types.
        ConfigurationError: The run's workflow is not declared.
        OSError: The file cannot be read.
    """
    replay_bundle(load(bundle), settings({}) if operon is None else operon.settings)
