"""Bundles: one run's history as a JSON document, in a versioned format.

What the members mean, and which format has which, is told in docs/replay.md. This
file knows how a bundle is written and read; it must not know where its rows come
from, nor what is done with it.
"""

import json
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec import Raw
from msgspec import UnsetType

from operon.errors import DecodeError
from operon.status import RunStatus
from operon.store.checkpoints import Record

FORMAT = 1
"""The format that is written, and the only one that is read."""

Payload = Raw | UnsetType
"""A stored value as JSON; UNSET where the row has NULL.

It is the value itself, or, where a payload codec is named beside it, a text that
holds what the codec made.
"""

_Count = Annotated[int, msgspec.Meta(ge=1)]


class _Part(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A part of a bundle; members that say nothing are left out."""


class Wait(_Part, kw_only=True, omit_defaults=True):
    """What a waiting run waits for, as its row says."""

    kind: str
    position: _Count
    on: str | None = None
    key: str | None = None
    until: datetime | None = None


class Run(_Part, kw_only=True, omit_defaults=True):
    """A run's row, as far as a replay or its reader asks."""

    id: str
    workflow: str
    version: int
    status: RunStatus
    input: Raw
    codec: str | None = None
    """The payload codec of the input."""
    output: Payload = UNSET
    error: Payload = UNSET
    outcome_codec: str | None = None
    principal: Payload = UNSET
    """Who asked for it; members that Operon's own edge does not store are redacted."""
    attributes: Payload = UNSET
    queue: str = "default"
    parent_id: str | None = None
    root_id: str | None = None
    forked_from: str | None = None
    chain_id: str | None = None
    continued_as: str | None = None
    wait: Wait | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    code_version: str | None = None


class Checkpoint(_Part, kw_only=True, omit_defaults=True):
    """The outcome of one operation, and what it was asked for with."""

    position: _Count
    kind: str
    name: str
    arguments: Payload = UNSET
    """What the body asked with, by name; UNSET if that was not noted."""
    arguments_codec: str | None = None
    """The payload codec of the arguments."""
    output: Payload = UNSET
    error: Payload = UNSET
    codec: str | None = None
    """The payload codec of output and error."""
    attempts: _Count = 1
    open_from: int | None = None
    finished_at: datetime

    def record(self) -> Record:
        """Return it as the engine replays it."""
        return Record(
            position=self.position,
            kind=self.kind,
            name=self.name,
            output=text_of(self.output, self.codec),
            error=text_of(self.error, self.codec),
            codec=self.codec,
            attempts=self.attempts,
            open_from=self.open_from,
            finished_at=self.finished_at,
        )


class Attempt(_Part, kw_only=True, omit_defaults=True):
    """A failed attempt of an operation."""

    position: _Count
    attempt: _Count
    kind: str
    name: str
    error: Raw
    codec: str | None = None
    failed_at: datetime
    next_at: datetime | None = None


class Pending(_Part, kw_only=True, omit_defaults=True):
    """An operation that the body asked for and that has no checkpoint."""

    position: _Count
    kind: str
    name: str
    arguments: Payload = UNSET
    arguments_codec: str | None = None


class Noted(_Part, kw_only=True, omit_defaults=True):
    """Whether the arguments of operations are in the bundle."""

    done: bool
    reason: str | None = None
    """Why they are not."""


class Redacted(_Part, kw_only=True, omit_defaults=True):
    """What was taken out."""

    names: list[str]
    """The field names that were to be redacted, as they were asked for."""
    fields: list[str]
    """The names of the fields that were."""


class Bundle(_Part, kw_only=True, omit_defaults=True):
    """One run's history."""

    format: int
    exported_at: datetime
    run: Run
    checkpoints: list[Checkpoint]
    attempts: list[Attempt]
    pending: list[Pending] = msgspec.field(default_factory=list[Pending])
    noted: Noted
    redacted: Redacted

    def dump(self) -> str:
        """Return the bundle as JSON, indented for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n"


def load(source: "Bundle | dict[str, Any] | str | Path") -> Bundle:
    """Return the bundle that *source* is, or that the file of that name holds.

    Raises:
        OSError: There is no such file, or it cannot be read.
        DecodeError: It holds no bundle, or one of another format.
    """
    if isinstance(source, Bundle):
        return source
    if isinstance(source, dict):
        return _decoded("the bundle", json.dumps(source).encode())
    return _decoded(f"the bundle {str(source)!r}", Path(source).read_bytes())


def text_of(payload: Payload, codec: str | None) -> str | None:
    """Return *payload* as it is stored, or None if it is NULL."""
    if isinstance(payload, UnsetType):
        return None
    text = bytes(payload)
    if codec is None:
        return text.decode()
    return msgspec.json.decode(text, type=str)


def payload_of(stored: str | None, codec: str | None) -> Payload:
    """Return what is *stored* as a payload: what `text_of` turns back into it."""
    if stored is None:
        return UNSET
    return Raw(stored.encode() if codec is None else msgspec.json.encode(stored))


def _decoded(subject: str, text: bytes) -> Bundle:
    """Return the bundle that *text* holds; *subject* is what errors call it."""
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.format != FORMAT:
            raise DecodeError(
                subject,
                f"it has format {head.format}, and this Operon reads format {FORMAT}",
            )
        bundle = msgspec.json.decode(text, type=Bundle)
        _check(bundle)
    except (ValueError, RecursionError) as error:  # msgspec's and UnicodeDecodeError
        raise DecodeError(subject, f"it is no exported run: {error}") from error
    return bundle


class _Head(msgspec.Struct):
    """What every format begins with."""

    format: int


def _check(bundle: Bundle) -> None:
    """Refuse what no history can hold.

    Raises:
        ValueError: The bundle does.
    """
    positions = [each.position for each in bundle.checkpoints]
    if any(a >= b for a, b in pairwise(positions)):
        raise ValueError("its checkpoints are not in order of position")
    for each in bundle.checkpoints:
        if (each.output is UNSET) == (each.error is UNSET):
            where = f"its checkpoint at position {each.position}"
            raise ValueError(f"{where} has not exactly one of output and error")
        for payload in (each.output, each.error):
            text_of(payload, each.codec)
    for payload in (bundle.run.output, bundle.run.error):
        text_of(payload, bundle.run.outcome_codec)
    text_of(bundle.run.input, bundle.run.codec)
    asked: list[Checkpoint | Pending] = [*bundle.checkpoints, *bundle.pending]
    for part in asked:
        text_of(part.arguments, part.arguments_codec)
