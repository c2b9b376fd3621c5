"""What somebody asks to have run: checked, encoded, and compared with what exists."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operon.codec import NotEncodable
from operon.codec import Payloads
from operon.codec import Undecodable
from operon.codec import type_codec
from operon.context import Frame
from operon.errors import MisuseError
from operon.errors import RunConflictError
from operon.ids import checked_id
from operon.ids import new_id
from operon.models import WorkflowRun
from operon.registry import Declared
from operon.registry import find
from operon.store.runs import NewRun
from operon.workflow import declaration_of


@dataclass(frozen=True)
class Request:
    """A workflow with its input, and the row that a run of it gets."""

    declared: Declared
    workflow: Any
    new: NewRun

    def refuse_unless_same(self, found: WorkflowRun, payloads: Payloads) -> None:
        """Refuse an id that belongs to another workflow, or to other input.

        Raises:
            RunConflictError: It does.
        """
        if found.workflow != self.new.workflow:
            raise RunConflictError(
                found.id,
                f"is a run of workflow {found.workflow!r}, not {self.new.workflow!r}",
            )
        if found.fingerprint == self.new.fingerprint:
            return
        declared = find(found.workflow, found.version) or self.declared
        try:
            theirs = declared.decode(payloads.unwrap(found.input, found.codec))
        except Undecodable as error:
            problem = f"has an input that does not decode today: {error.reason}"
            raise RunConflictError(found.id, problem) from error
        if theirs != self.workflow:
            raise RunConflictError(found.id, "was started with another input")


def request(
    workflow: Any,
    *,
    run_id: str | None,
    attributes: Mapping[str, Any] | None,
    principal: Mapping[str, Any] | None,
    frame: Frame | None,
    payloads: Payloads,
    code_version: str | None,
) -> Request:
    """Check what is asked for and return it ready to be written.

    Args:
        workflow: A workflow instance, or a transaction with its arguments.
        run_id: The caller's id, or None for a new one.
        attributes: Plain JSON values, for finding the run again.
        principal: Who asks; by default whoever asked for the current run.
        frame: The step or activity that asks, if one does: it is the parent, and
            the id derives from it, the same on every attempt.
        payloads: How values are wrapped.
        code_version: The application's version.

    Raises:
        MisuseError: It cannot be started, or a value cannot be stored.
        DeclarationError: Its annotations cannot be resolved.
    """
    declared = declaration_of(workflow)
    declared.resolve()
    text = _encoded(declared, workflow)
    wrapped, codec = _wrapped(declared, text, payloads)
    parent = None if frame is None else frame.current
    if principal is None and parent is not None:
        principal = parent.principal
    new = NewRun(
        id=_id(run_id, frame),
        workflow=declared.name,
        version=declared.version,
        input=wrapped,
        codec=codec,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        queue=declared.queue,
        principal=_plain("principal", principal),
        attributes=_plain("attributes", attributes),
        parent_id=None if parent is None else parent.run_id,
        root_id=None if parent is None else parent.root_id or parent.run_id,
        code_version=code_version,
    )
    # a body never sees its caller's object, on the first pass as little as on replay
    return Request(declared, declared.decode(text), new)


def _id(run_id: str | None, frame: Frame | None) -> str:
    if run_id is not None:
        return checked_id(run_id)
    return new_id() if frame is None else frame.derived_id()


def _encoded(declared: Declared, workflow: Any) -> str:
    try:
        return declared.encode(workflow)
    except NotEncodable as problem:
        raise MisuseError(
            f"{declared.name}: {problem.path}",
            problem.reason,
            cure="pass what the field or parameter declares",
        ) from None


def _wrapped(
    declared: Declared, text: str, payloads: Payloads
) -> tuple[str, str | None]:
    try:
        return payloads.wrap(text, "the input")
    except NotEncodable as problem:
        raise MisuseError(
            f"{declared.name}: {problem.path}",
            problem.reason,
            cure="pass less, or raise payload_max",
        ) from None


def _plain(name: str, values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if values is None:
        return None
    try:
        _PLAIN.encode(dict(values), name)
    except NotEncodable as problem:
        raise MisuseError(
            problem.path, problem.reason, cure="use plain JSON values"
        ) from None
    return dict(values)


_PLAIN = type_codec(dict[str, Any])
