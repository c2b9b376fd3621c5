"""Noting at the export what the body asks its operations with.

A history holds no arguments: an executed step needs none. So they are taken from a
replay by the code at hand, which is best the code that made the history.
"""

from msgspec.structs import replace

from operon import registry
from operon.codec import NotEncodable
from operon.codec import Payloads
from operon.config import Settings
from operon.errors import OperonError
from operon.replay import arguments
from operon.replay.bundle import Bundle
from operon.replay.bundle import Checkpoint
from operon.replay.bundle import Noted
from operon.replay.bundle import Payload
from operon.replay.bundle import Pending
from operon.replay.bundle import payload_of
from operon.replay.playing import Played
from operon.replay.playing import play
from operon.replay.verdict import Judge
from operon.replay.witness import Asked

_NO_LIMIT = 2**62  # bytes: what is noted is no payload of a run


def note(bundle: Bundle, settings: Settings) -> Bundle:
    """Return *bundle* with the arguments of its operations, or why it has none."""
    workflow, version = bundle.run.workflow, bundle.run.version
    declared = registry.find(workflow, version)
    if declared is None:
        return _without(
            bundle, f"workflow {workflow!r} version {version} is not declared here"
        )
    payloads = Payloads(settings.codec, _NO_LIMIT, _NO_LIMIT)
    try:
        played = play(bundle, declared, settings)
        Judge(bundle, played, declared, payloads).judge()
        return _with(bundle, played, payloads)
    except (OperonError, NotEncodable) as error:
        return _without(bundle, f"the code at hand does not replay it: {error}")


def _without(bundle: Bundle, reason: str) -> Bundle:
    return replace(bundle, noted=Noted(done=False, reason=reason))


def _with(bundle: Bundle, played: Played, payloads: Payloads) -> Bundle:
    """Return *bundle* with what was asked for, beside and after the checkpoints."""
    asked, begun = played.asked, _begun(bundle)
    fields = sorted({*bundle.redacted.fields, *played.redacted})
    return replace(
        bundle,
        checkpoints=[
            _told(each, asked.get(each.position), payloads)
            for each in bundle.checkpoints
        ],
        pending=[
            _pending(each, payloads)
            for position, each in sorted(asked.items())
            if position in begun
            or (each.kind == "continue_as" and bundle.run.continued_as is not None)
        ],
        noted=Noted(done=True),
        redacted=replace(bundle.redacted, fields=fields),
    )


def _begun(bundle: Bundle) -> set[int]:
    """Return the positions without a checkpoint at which something has begun.

    What comes after them was never asked for, and may still be changed.
    """
    tried = {each.position for each in bundle.attempts}
    waits = {bundle.run.wait.position} if bundle.run.wait is not None else set[int]()
    return (tried | waits) - {each.position for each in bundle.checkpoints}


def _told(
    checkpoint: Checkpoint, asked: Asked | None, payloads: Payloads
) -> Checkpoint:
    """Return *checkpoint* with what was *asked* there."""
    if asked is None or checkpoint.kind == "cancel":
        return checkpoint
    told, codec = _stored(asked, payloads)
    return replace(checkpoint, arguments=told, arguments_codec=codec)


def _pending(asked: Asked, payloads: Payloads) -> Pending:
    """Return what was *asked* and has no checkpoint."""
    told, codec = _stored(asked, payloads)
    return Pending(
        position=asked.position,
        kind=asked.kind,
        name=asked.name,
        arguments=told,
        arguments_codec=codec,
    )


def _stored(asked: Asked, payloads: Payloads) -> tuple[Payload, str | None]:
    """Return the arguments as the application stores values, and the codec's name."""
    stored, codec = payloads.wrap(arguments.encoded(asked.arguments), "the arguments")
    return payload_of(stored, codec), codec
