"""Exporting: from the rows of a run to its bundle, without what is to be redacted."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol
from typing import cast

import msgspec
from msgspec import UNSET
from msgspec import Raw

from operon.codec import NotEncodable
from operon.codec import Payloads
from operon.codec import Undecodable
from operon.config import Settings
from operon.engine.patience import insist
from operon.errors import DecodeError
from operon.errors import RunNotFoundError
from operon.replay.bundle import FORMAT
from operon.replay.bundle import Attempt
from operon.replay.bundle import Bundle
from operon.replay.bundle import Checkpoint
from operon.replay.bundle import Noted
from operon.replay.bundle import Payload
from operon.replay.bundle import Redacted
from operon.replay.bundle import Run
from operon.replay.bundle import Wait
from operon.replay.bundle import payload_of
from operon.replay.noting import note
from operon.replay.redaction import Redaction
from operon.replay.redaction import redacted
from operon.results import Results
from operon.status import RunStatus
from operon.store import whole
from operon.store.whole import Row
from operon.store.whole import Whole

_WHO = frozenset(("issuer", "subject", "tenant", "client", "scopes", "roles"))
"""What Operon's own edge stores of a principal: who it is, never the token."""


class Exports(Protocol):
    """What a run is exported from: an `Operon`."""

    @property
    def settings(self) -> Settings:
        """How its values are stored, and what its bodies are called within."""
        ...

    def results(self) -> Results:
        """Return what reads its database."""
        ...


def export(operon: Exports, run_id: str, *, redact: Sequence[str] = ()) -> Bundle:
    """Return the history of *run_id* as a bundle.

    If its workflow is declared in this process, the history is replayed, and the
    arguments of its operations are noted in the bundle; see `Bundle.noted`.

    Args:
        operon: On whose database the run is; nothing is written there.
        run_id: Which run.
        redact: Names of fields whose values are left out, at any depth of any value.
            `*` and `?` stand for any characters; upper and lower case are the same.

    Raises:
        RunNotFoundError: There is no such run.
        DecodeError: Something is to be redacted, and a value cannot be read here.
        DatabaseUnavailableError: It could not be read in time.
    """
    results = operon.results()

    def read() -> Whole | None:
        with results.database.reading() as connection:
            return whole.read(connection, run_id)

    found = insist(results.clock, results.patience, read)
    if found is None:
        raise RunNotFoundError(run_id)
    return note(_Exporting(found, results, Redaction(redact)).bundle(), operon.settings)


class _Exporting:
    """Makes the bundle of one run."""

    def __init__(self, rows: Whole, results: Results, redaction: Redaction) -> None:
        self._rows = rows
        self._results = results
        self._payloads: Payloads = results.payloads
        self._redaction = redaction

    def bundle(self) -> Bundle:
        """Return the bundle; arguments are not yet noted."""
        run = self._run(self._rows.run)
        checkpoints = [self._checkpoint(row) for row in self._rows.checkpoints]
        attempts = [self._attempt(row) for row in self._rows.attempts]
        names, fields = self._redaction.names, sorted(self._redaction.fields)
        return Bundle(
            format=FORMAT,
            exported_at=self._results.clock.now(),
            run=run,
            checkpoints=checkpoints,
            attempts=attempts,
            noted=Noted(done=False),
            redacted=Redacted(names=names, fields=fields),
        )

    def _run(self, row: Row) -> Run:
        names = (
            "id workflow version status codec outcome_codec queue parent_id root_id "
            "forked_from chain_id continued_as created_at started_at finished_at "
            "deadline_at cancel_requested_at code_version"
        )
        status = row["status"]
        return Run(
            **{name: row[name] for name in names.split()},
            input=self._value(row["input"], row["codec"]),
            output=self._value(row["output"], row["outcome_codec"]),
            error=self._error(row["error"], row["outcome_codec"]),
            principal=self._principal(row["principal"]),
            attributes=self._plain(row["attributes"]),
            wait=_wait(row) if status is RunStatus.WAITING else None,
        )

    def _checkpoint(self, row: Row) -> Checkpoint:
        names = "position kind name codec attempts open_from finished_at"
        return Checkpoint(
            **{name: row[name] for name in names.split()},
            output=self._value(row["output"], row["codec"]),
            error=self._error(row["error"], row["codec"]),
        )

    def _attempt(self, row: Row) -> Attempt:
        names = "position attempt kind name codec failed_at next_at"
        return Attempt(
            **{name: row[name] for name in names.split()},
            error=self._error(row["error"], row["codec"]),
        )

    def _value(self, stored: str | None, codec: str | None) -> Any:
        if stored is None or not self._redaction:
            return payload_of(stored, codec)
        return self._wrapped(self._redaction.text(self._text(stored, codec)), codec)

    def _error(self, stored: str | None, codec: str | None) -> Any:
        if stored is None or not self._redaction:
            return payload_of(stored, codec)
        return self._wrapped(self._redaction.error(self._text(stored, codec)), codec)

    def _text(self, stored: str, codec: str | None) -> str:
        try:
            return self._payloads.unwrap(stored, codec)
        except Undecodable as problem:
            subject = f"what is to be redacted in run {self._rows.run['id']!r}"
            raise DecodeError(subject, problem.reason) from problem

    def _wrapped(self, text: str, codec: str | None) -> Payload:
        """Return *text* as it was stored: by the payload codec, or as it is."""
        if codec is None:
            return Raw(text.encode())
        try:
            stored, _ = self._payloads.wrap(text, "it")
        except NotEncodable as problem:
            subject = f"what was redacted in run {self._rows.run['id']!r}"
            raise DecodeError(subject, problem.reason) from problem
        return payload_of(stored, codec)

    def _principal(self, principal: Mapping[str, Any] | None) -> Payload:
        """Return who asked; what only the application knows of it is redacted."""
        if principal is None:
            return UNSET
        members = {
            name: value if name in _WHO else redacted(value)
            for name, value in principal.items()
        }
        self._redaction.fields |= members.keys() - _WHO
        return self._plain(members)

    def _plain(self, value: Mapping[str, Any] | None) -> Payload:
        if value is None:
            return UNSET
        plain = cast("dict[str, Any]", self._redaction.value(dict(value)))
        return Raw(msgspec.json.encode(plain, order="sorted"))


def _wait(row: Row) -> Wait | None:
    """Return what a waiting run waits for, if its row still says."""
    if row["wait_kind"] is None or row["wait_position"] is None:
        return None
    names = ("kind", "position", "on", "key", "until")
    return Wait(**{name: row[f"wait_{name}"] for name in names})
