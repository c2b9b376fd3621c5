"""Workflows: frozen dataclasses whose `run` orders steps, declared by subclassing.

What a subclass declares is kept in its `__operon__`, so that field names stay free.
Nothing is executed here.
"""

import dataclasses
import inspect
from collections.abc import Collection
from dataclasses import InitVar
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from types import MethodType
from typing import Any
from typing import ClassVar
from typing import cast
from typing import dataclass_transform

from operon.declaration import WorkflowDeclaration
from operon.declaration import WorkflowOptions
from operon.declaration import second_dataclass
from operon.errors import DeclarationError
from operon.errors import MisuseError
from operon.errors import SignatureError
from operon.operation import BoundOperation
from operon.operation import Operation
from operon.primitives import BODY_WORDS
from operon.primitives import Primitives
from operon.registry import Declared
from operon.registry import Runnable
from operon.registry import register
from operon.signature import check_synchronous
from operon.signature import described
from operon.transaction import Invocation
from operon.transaction import Transaction

__all__ = [
    "BODY_WORDS",
    "Runnable",
    "Workflow",
    "WorkflowDeclaration",
    "declaration_of",
]


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
class Workflow(Primitives):
    """A durable program: fields are its input, `run` is its body.

    A subclass becomes a frozen dataclass and is registered under its name and
    version. Its `run` calls steps and activities and is otherwise deterministic.
    """

    __operon__: ClassVar[WorkflowDeclaration]

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        queue: str = "default",
        timeout: timedelta | None = None,
        max_recoveries: int = 50,
        roles: Collection[str] = (),
        abstract: bool = False,
        ignore_unknown: bool = False,
    ) -> None:
        """Declare the subclass.

        Args:
            name: What its runs are recorded under; by default the class's name.
            version: Several versions of one name can be declared side by side.
            queue: Where its runs wait, unless their starter says otherwise.
            timeout: How long a run may take; None is without limit.
            max_recoveries: How often a run is taken over without progress.
            roles: A principal needs one of these to start it; empty lets everybody.
            abstract: It is a base of others: not registered and never started.
            ignore_unknown: Stored members without a field are dropped.

        Raises:
            DeclarationError: The class, or an option, cannot work.
        """
        super().__init_subclass__()
        options = WorkflowOptions(
            name=name,
            version=version,
            queue=queue,
            timeout=timeout,
            max_recoveries=max_recoveries,
            roles=roles,
            abstract=abstract,
            ignore_unknown=ignore_unknown,
        )
        _declare(cls, options)


def _declare(cls: type[Workflow], options: WorkflowOptions) -> None:
    """Check *cls*, make it a frozen dataclass, and register it if it can be started."""
    options.check(described(cls))
    _make_dataclass(cls)
    _check_fields(cls)
    _check_body(cls, abstract=options.abstract)
    cls.__operon__ = WorkflowDeclaration(cls, options)
    _check_names(cls, cls.__operon__.operations, "operation")
    if cls.__operon__.startable:
        register(cls.__operon__)


def _make_dataclass(cls: type) -> None:
    """Turn *cls* into a frozen dataclass.

    Raises:
        DeclarationError: It is one already, has its own `__init__`, or cannot be.
    """
    if "__dataclass_fields__" in vars(cls):
        raise second_dataclass(cls)
    if "__init__" in vars(cls):
        raise DeclarationError(
            described(cls),
            "defines __init__, which its fields define already",
            cure="declare fields; check them in __post_init__ or derive properties",
        )
    try:
        dataclass(frozen=True)(cls)
    except (TypeError, ValueError) as error:
        raise DeclarationError(
            described(cls),
            f"cannot be a frozen dataclass: {error}",
            cure="annotate every field, put those without a default first, and give "
            "mutable defaults by dataclasses.field(default_factory=…)",
        ) from error


def _check_fields(cls: type) -> None:
    """Refuse fields that are no input, or that hide what a body says.

    Raises:
        DeclarationError: One is declared so.
    """
    declared: dict[str, dataclasses.Field[Any]] = cast("Any", cls).__dataclass_fields__
    for name, each in declared.items():
        if not each.init or _is_init_only(each.type):
            raise DeclarationError(
                f"field {name!r} of {described(cls)}",
                "is not both given and kept, so the run's input would lack it",
                cure="make it a plain field, or a property derived from plain fields",
            )
    fields = {each.name: each for each in dataclasses.fields(cast("Any", cls))}
    _check_names(cls, fields, "field")


def _is_init_only(annotation: object) -> bool:
    """Tell whether *annotation* is an InitVar, also as text."""
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2] == "InitVar"
    return annotation is InitVar or isinstance(annotation, InitVar)


def _check_names(cls: type, names: Collection[str], role: str) -> None:
    """Refuse an attribute that is named like one of `Workflow`'s own.

    Raises:
        DeclarationError: One of *names* is.
    """
    reserved = BODY_WORDS.union(dir(Workflow), ["__operon__"])
    for name in sorted(reserved.intersection(names)):
        raise DeclarationError(
            f"{role} {name!r} of {described(cls)}",
            f"hides what self.{name} means in every workflow",
            cure="give it another name",
        )


def _check_body(cls: type, *, abstract: bool) -> None:
    """Refuse a `run` that is not a plain method of self alone.

    Raises:
        DeclarationError: There is none.
        SignatureError: It is something else.
    """
    body = inspect.getattr_static(cls, "run", None)
    if body is None:
        if abstract:
            return
        raise DeclarationError(
            described(cls),
            "has no body",
            cure="define def run(self), or declare the class with abstract=True",
        )
    subject = f"{described(cls)}.run"
    if not isinstance(body, FunctionType):
        raise SignatureError(
            subject,
            "is not a plain method, and the body must be one",
            cure="define def run(self), and call steps and activities in it",
        )
    check_synchronous(body, "a workflow's body")
    parameters = list(inspect.signature(body).parameters.values())
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    if len(parameters) != 1 or parameters[0].kind not in positional:
        raise SignatureError(
            subject,
            "takes other parameters than self",
            cure="define def run(self); the input is the fields, a session is a step's",
        )


def declaration_of(runnable: object) -> Declared:
    """Return what declares *runnable*, a workflow or a called transaction.

    Raises:
        MisuseError: It is neither; the message says what to pass instead.
        DeclarationError: Its class is abstract or generic.
    """
    if isinstance(runnable, Workflow):
        declared = type(runnable).__operon__
        declared.check_startable()
        return declared
    if isinstance(runnable, Invocation):
        transaction: Declared = cast("Any", runnable).transaction
        return transaction
    problem, cure = _mistake(runnable)
    raise MisuseError(repr(runnable), problem, cure=cure)


def _mistake(passed: Any) -> tuple[str, str]:
    """Return what *passed* is instead of something to run, and the cure."""
    if isinstance(passed, type) and issubclass(passed, Workflow):
        return "is a class, not a workflow to run", f"pass {passed.__name__}(…)"
    if isinstance(passed, Transaction):
        name = passed.__name__
        return (
            "is a transaction that was not called",
            f"pass {name}(…), without session",
        )
    if isinstance(passed, MethodType) and isinstance(passed.__self__, Workflow):
        return "is a method of a workflow", "pass the workflow itself"
    if isinstance(passed, Operation | BoundOperation):
        cure = "pass a workflow whose body calls it, or a @transaction"
        return f"is a {passed.kind}, which runs only inside a run", cure
    if isinstance(passed, FunctionType):
        return "is a plain function", "decorate it with @transaction and pass its call"
    cure = "pass a Workflow instance, or a @transaction called with its arguments"
    return "cannot be run", cure
