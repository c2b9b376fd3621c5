"""Replaying a bundle by today's code, and saying what came of it."""

from dataclasses import dataclass

from operon import registry
from operon.codec import Payloads
from operon.config import Settings
from operon.engine.flow import Continued
from operon.engine.flow import Unrecorded
from operon.errors import ConfigurationError
from operon.registry import Declared
from operon.replay.bundle import Bundle
from operon.replay.playing import Played
from operon.replay.playing import play
from operon.replay.verdict import Judge


@dataclass(frozen=True)
class Replayed:
    """A replay in which today's code did what the history says."""

    run_id: str
    workflow: str
    version: int
    operations: int
    """How many were answered from their checkpoints."""
    ending: str
    """How the replay ended, in words."""
    arguments: bool
    """Whether arguments were compared: the bundle may hold none."""


def declared_of(bundle: Bundle) -> Declared:
    """Return the declaration that the run in *bundle* is of.

    Raises:
        ConfigurationError: Nothing is declared under its name and version.
    """
    name, version = bundle.run.workflow, bundle.run.version
    declared = registry.find(name, version)
    if declared is not None:
        return declared
    known = ", ".join(f"{each} {number}" for each, number in registry.known())
    raise ConfigurationError(
        f"the workflow {name!r} version {version} of run {bundle.run.id!r}",
        f"is not declared; declared are: {known or 'none'}",
        cure="import the module that declares it, or name the application by --app",
    )


def replay(bundle: Bundle, settings: Settings) -> Replayed:
    """Replay the run in *bundle* by the code that is declared now.

    Nothing is executed and no database is opened. Where the history ends, the replay
    does; that is right unless the run had ended.

    Args:
        bundle: As `load` returns it.
        settings: Of the application: its payload codec and surroundings count.

    Raises:
        NonDeterminismError: The code does not do what the history says, or it ends
            otherwise.
        DecodeError: A recorded value does not fit today's types.
        ConfigurationError: The run's workflow is not declared.
        OperonError: The run cannot go on with this code for another reason.
    """
    declared = declared_of(bundle)
    played = play(bundle, declared, settings)
    payloads = Payloads(settings.codec, settings.payload_warn, settings.payload_max)
    Judge(bundle, played, declared, payloads).judge()
    return Replayed(
        run_id=bundle.run.id,
        workflow=bundle.run.workflow,
        version=bundle.run.version,
        operations=len(bundle.checkpoints),
        ending=_ending(played),
        arguments=bundle.noted.done,
    )


def _ending(played: Played) -> str:
    """Return how a replay ended, in words."""
    ending = played.ending
    if isinstance(ending, Continued):
        return f"continued as {ending.request.new.id}"
    if isinstance(ending, Unrecorded):
        return f"stopped at {ending.kind} {ending.name!r}, position {ending.position}"
    if played.left_open:
        first = played.left_open[0]
        return f"stopped at {first.words}, position {first.position}"
    return ending.status.value
