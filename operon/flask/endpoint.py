"""Endpoints: a method and a rule, what they lead to, and on which terms."""

import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any
from typing import Literal
from typing import Protocol
from typing import TypedDict
from typing import TypeVar
from typing import cast

from flask import Request
from pydantic import TypeAdapter

from operon.errors import DeclarationError
from operon.flask.access import Access
from operon.flask.idempotency import Idempotency
from operon.flask.parameters import Parameters
from operon.flask.parameters import adapter_of
from operon.registry import Declared
from operon.transaction import is_transaction
from operon.workflow import Workflow

T = TypeVar("T")

_WAIT = timedelta(seconds=10)
_PATH_PARAMETER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

Location = str | Callable[[Any], str] | None
"""Where the result is to be found: a template such as `/orders/{id}`, or a function."""

NaturalKey = Callable[[Request], str | None]
"""Finds the idempotency key in a request that carries one of its own."""


class EndpointOptions(TypedDict, total=False):
    """What an endpoint may say of itself; who may use it, it has to."""

    scopes: Collection[str]
    """What the client has to be allowed, all of them."""
    roles: Collection[str]
    """What the user has to be, one of them; the workflow's own roles hold as well."""
    public: bool
    """Nobody is asked who they are."""
    idempotency: Idempotency
    """Whether it takes, or asks for, an idempotency key."""
    key: NaturalKey
    """Finds the key in requests that carry one of their own."""
    status: int
    """200, or 201 if it makes something."""
    location: Location
    """Where the result is found: a template of its members, or a function of it."""
    wait: timedelta
    """How long a workflow is waited for before the answer is 202."""
    errors: Mapping[type[Exception], int]
    """The statuses of errors that a caller should be told."""


class Serves(Protocol):
    """A decorator that serves what it decorates, and returns it as it is."""

    def __call__(self, target: T, /) -> T:
        """Serve *target*."""
        ...


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """What is served at one method and rule."""

    method: Method
    rule: str
    declared: Declared
    access: Access
    idempotency: Idempotency
    key: NaturalKey | None
    status: int
    location: Location
    wait: timedelta
    errors: Mapping[type[Exception], int]

    @property
    def name(self) -> str:
        """The endpoint's name in Flask, and its operation's in OpenAPI."""
        return f"{self.method.lower()}_{self.declared.name}"

    @property
    def reads(self) -> bool:
        """Whether it makes no run and takes no key."""
        return self.method == "GET"

    def serves(self, workflow: str) -> bool:
        """Whether runs of *workflow* are what it makes."""
        return self.declared.name == workflow

    @cached_property
    def parameters(self) -> Parameters:
        """What a request has to say."""
        return Parameters(self.declared, in_path=_PATH_PARAMETER.findall(self.rule))

    @cached_property
    def result(self) -> TypeAdapter[Any]:
        """How what comes of it is written."""
        hint = self.declared.result.declared
        return adapter_of(hint, f"the result of {self.declared.name!r}")

    def resolve(self) -> None:
        """Resolve the annotations, so that what cannot be served stops the start.

        Raises:
            DeclarationError: They name what is not defined, or has no JSON Schema.
        """
        self.declared.resolve()
        _ = self.parameters, self.result


def path_template(rule: str) -> str:
    """Return Flask's *rule* as OpenAPI writes it: `/orders/{order_id}`."""
    return _PATH_PARAMETER.sub(r"{\1}", rule)


def declared_endpoint(
    target: object, method: Method, rule: str, options: EndpointOptions
) -> Endpoint:
    """Return the endpoint that serves *target* at *method* and *rule*.

    Raises:
        DeclarationError: It cannot be served, or says nothing of who may use it.
    """
    subject = f"the endpoint {method} {rule}"
    return Endpoint(
        method=method,
        rule=rule,
        declared=_declaration_of(target, method),
        access=Access.declared(
            subject,
            scopes=options.get("scopes", ()),
            roles=options.get("roles", ()),
            public=options.get("public", False),
        ),
        idempotency=options.get("idempotency", "optional"),
        key=options.get("key"),
        status=_checked_status(options.get("status", 200), subject),
        location=options.get("location"),
        wait=options.get("wait", _WAIT),
        errors=_checked_errors(options.get("errors", {}), subject),
    )


def _declaration_of(target: object, method: str) -> Declared:
    """Return the declaration of *target* if it can be served by *method*.

    Raises:
        DeclarationError: It is no workflow or transaction, or GET would change things.
    """
    if is_transaction(target):
        if method == "GET" and not target.read_only:
            raise DeclarationError(
                repr(target.name),
                "writes, and GET must not",
                cure="declare it @transaction(read_only=True), or serve it by POST",
            )
        return target
    declared = _workflow_declaration(target)
    if declared is None:
        raise DeclarationError(
            str(getattr(cast("Any", target), "__qualname__", "what is decorated")),
            "is no Workflow class and no @transaction, so it cannot be served",
            cure="serve a workflow or a transaction; other views belong to Flask",
        )
    if method == "GET":
        raise DeclarationError(
            repr(declared.name),
            "is a workflow, and GET must change nothing",
            cure="serve it by POST; the run it starts is read at /runs/{id}",
        )
    return declared


def _workflow_declaration(target: object) -> Declared | None:
    if not isinstance(target, type) or not issubclass(cast("Any", target), Workflow):
        return None
    return getattr(cast("Any", target), "__operon__", None)


def _checked_status(status: int, subject: str) -> int:
    """Return *status* if work that was done can be answered by it.

    Raises:
        DeclarationError: It says something else.
    """
    if status not in {200, 201}:
        raise DeclarationError(
            subject,
            f"has status={status!r}",
            cure="use 200 or 201; without a result it is 204, and 202 while it goes on",
        )
    return status


def _checked_errors(
    errors: Mapping[type[Exception], int], subject: str
) -> Mapping[type[Exception], int]:
    """Return *errors* if each can be told to a caller.

    Raises:
        DeclarationError: A status is none of those, or a key no exception class.
    """
    for kind, status in cast("Mapping[object, object]", errors).items():
        is_error = isinstance(kind, type) and issubclass(kind, Exception)
        if not is_error or status not in _TOLD:
            raise DeclarationError(
                subject,
                f"has errors= with {kind!r}: {status!r}",
                cure="map exception classes to statuses from 400 to 422, but 401",
            )
    return dict(errors)


_TOLD: Collection[int] = frozenset(range(400, 423)) - {401}
