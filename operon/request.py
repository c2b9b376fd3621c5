"""What somebody asks to have run: checked, encoded, and compared with what exists."""

import hashlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from typing import cast

from operon.arguments import checked_duration
from operon.arguments import checked_text
from operon.codec import NotEncodable
from operon.codec import Payloads
from operon.codec import Undecodable
from operon.codec import type_codec
from operon.context import CurrentRun
from operon.errors import MisuseError
from operon.errors import RoleMissingError
from operon.errors import RunConflictError
from operon.ids import checked_id
from operon.models import WorkflowRun
from operon.queue import LEAST_URGENT
from operon.queue import MOST_URGENT
from operon.registry import Declared
from operon.registry import find
from operon.store.starts import NewRun
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


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """What may be said when a run is started, besides what is to run."""

    id: str | None = None
    """The run's idempotency key; None for one that is made here."""
    queue: str | None = None
    """Where it waits; None for the queue its workflow declares."""
    priority: int = MOST_URGENT
    """The smaller, the sooner."""
    delay: timedelta = timedelta(0)
    """How long it is not claimed."""
    deduplicate: str | None = None
    """A key that no other live run of the queue may have."""
    debounce: timedelta | None = None
    """It begins so long after the last start with the same key."""
    partition: str | None = None
    """Which partition of a partitioned queue."""
    timeout: timedelta | None = None
    """How long it may take; None for what its workflow declares."""
    attributes: Mapping[str, Any] | None = None
    """Plain JSON values, for finding the run again."""
    principal: Mapping[str, Any] | None = None
    """Who asks; None for whoever asked for the run that starts this one."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        checked_duration("delay", "delay", self.delay)
        for name in ("timeout", "debounce"):
            value = getattr(self, name)
            if value is not None and not checked_duration(name, name, value):
                raise MisuseError(name, "is zero", cure="use a longer one, or none")
        for name in ("queue", "deduplicate", "partition"):
            if getattr(self, name) is not None:
                checked_text("start", name, getattr(self, name))
        self._check_priority()
        if self.debounce is not None and self.deduplicate is None:
            raise MisuseError(
                f"debounce={self.debounce!r}",
                "does not say which starts belong together",
                cure="also give deduplicate= the key that they share",
            )
        if self.debounce is not None and self.delay:
            raise MisuseError(
                f"debounce={self.debounce!r}",
                "was given together with a delay, which it is by itself",
                cure="give one of them",
            )

    def _check_priority(self) -> None:
        value: object = self.priority
        if type(value) is not int or not MOST_URGENT <= value <= LEAST_URGENT:
            raise MisuseError(
                f"priority={value!r}",
                "is no priority",
                cure=f"use a whole number from {MOST_URGENT} to {LEAST_URGENT}",
            )


def request(
    workflow: Any,
    options: StartOptions,
    *,
    parent: CurrentRun | None,
    default_id: Callable[[], str],
    payloads: Payloads,
    code_version: str | None,
    trace: Mapping[str, str],
) -> Request:
    """Check what is asked for and return it ready to be written.

    Args:
        workflow: A workflow instance, or a transaction with its arguments.
        options: What else was said.
        parent: The run that asks, if one does.
        default_id: Makes the run's id if the options have none.
        payloads: How values are wrapped.
        code_version: The application's version.
        trace: In which trace it is asked for, as headers of W3C Trace Context.

    Raises:
        MisuseError: It cannot be started, or a value cannot be stored.
        DeclarationError: Its annotations cannot be resolved.
        RoleMissingError: The principal may not have it run.
    """
    declared = declaration_of(workflow)
    declared.resolve()
    text = _encoded(declared, workflow)
    wrapped, codec = _wrapped(declared, text, payloads)
    principal = options.principal
    if principal is None and parent is not None:
        principal = parent.principal
    debounced = options.debounce is not None
    new = NewRun(
        id=default_id() if options.id is None else checked_id(options.id),
        workflow=declared.name,
        version=declared.version,
        input=wrapped,
        codec=codec,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        queue=declared.queue if options.queue is None else options.queue,
        priority=options.priority,
        partition=options.partition,
        deduplication_key=None if debounced else options.deduplicate,
        debounce_key=options.deduplicate if debounced else None,
        delay=options.delay if options.debounce is None else options.debounce,
        timeout=declared.timeout if options.timeout is None else options.timeout,
        principal=_plain("principal", principal),
        attributes=_plain("attributes", options.attributes),
        parent_id=None if parent is None else parent.run_id,
        root_id=None if parent is None else parent.root_id or parent.run_id,
        code_version=code_version,
        traceparent=trace.get("traceparent"),
        tracestate=trace.get("tracestate"),
    )
    refuse_unless_allowed(declared, new.id, new.principal)
    # a body never sees its caller's object, on the first pass as little as on replay
    return Request(declared, declared.decode(text), new)


def refuse_unless_allowed(
    declared: Declared, run_id: str, principal: Mapping[str, Any] | None
) -> None:
    """Refuse a run whose *principal* has none of the roles its workflow asks for.

    Without a principal the program itself asks, which may everything.

    Raises:
        RoleMissingError: It is refused.
    """
    if not declared.roles or principal is None:
        return
    roles: object = principal.get("roles")
    held = cast("Sequence[object]", roles) if isinstance(roles, list | tuple) else ()
    if declared.roles.isdisjoint(each for each in held if isinstance(each, str)):
        raise RoleMissingError(run_id, tuple(sorted(declared.roles)))


def plain_values(name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *values* if they are plain JSON values.

    Raises:
        MisuseError: One is not.
    """
    try:
        _PLAIN.encode(dict(values), name)
    except NotEncodable as problem:
        raise MisuseError(
            problem.path, problem.reason, cure="use plain JSON values"
        ) from None
    return dict(values)


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
    return None if values is None else plain_values(name, values)


_PLAIN = type_codec(dict[str, Any])
