"""A declared operation and a call of it: what the engine executes.

Nothing is executed here: an operation that is called asks the current frame to
execute its `Call`. How operations are declared, and typed, is `operon.step`'s.
"""

import copy
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from functools import update_wrapper
from types import FunctionType
from types import MethodType
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import cast
from typing import get_args

from sqlalchemy import inspect as inspect_instance
from sqlalchemy.orm import Session

from operon.annotations import Annotations
from operon.annotations import Scope
from operon.annotations import check_bound
from operon.annotations import is_mapped
from operon.annotations import substituted
from operon.annotations import type_arguments
from operon.codec import TypeCodec
from operon.codec import can_be_found
from operon.codec import type_codec
from operon.context import require_frame
from operon.errors import DeclarationError
from operon.errors import MisuseError
from operon.errors import SignatureError
from operon.retry import ONCE
from operon.retry import Retry
from operon.signature import Shape
from operon.signature import checked_function
from operon.signature import described

Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
Kind = Literal[
    "step",
    "activity",
    "transaction",
    "cancel",
    "sleep",
    "receive",
    "send",
    "publish",
    "event",
    "write",
    "start",
    "result",
    "annotate",
    "patch",
]
"""What an operation can be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a decorator was told; one that lacks an option keeps its default."""

    name: str | None = None
    isolation: Isolation | None = None
    retry: Retry | None = None
    timeout: timedelta | None = None
    errors: tuple[type[Exception], ...] = ()

    def check(self, subject: str) -> None:
        """Refuse options that cannot work.

        Raises:
            DeclarationError: One is of another type or out of its range.
        """
        for holds, option, cure in (
            (_is_name(self.name), "name", "give it a text that is not empty"),
            (self.isolation in {None, *get_args(Isolation)}, "isolation", _ISOLATION),
            (_is_retry(self.retry), "retry", "use Retry(attempts=…)"),
            (_is_positive(self.timeout), "timeout", "use a timedelta longer than zero"),
            (_are_errors(self.errors), "errors", "give a tuple of Exception classes"),
        ):
            if not holds:
                value = getattr(self, option)
                problem = f"has {option}={value!r}, which is no such option"
                raise DeclarationError(subject, problem, cure=cure)


_ISOLATION = f"use one of {', '.join(get_args(Isolation))}"


def _is_name(name: object) -> bool:
    return name is None or (isinstance(name, str) and name.strip() != "")


def _is_positive(timeout: object) -> bool:
    return timeout is None or (
        isinstance(timeout, timedelta) and timeout > timedelta(0)
    )


def _is_retry(retry: object) -> bool:
    return retry is None or isinstance(retry, Retry)


def _are_errors(errors: object) -> bool:
    return isinstance(errors, tuple) and all(
        isinstance(each, type) and issubclass(each, Exception)
        for each in cast("tuple[object, ...]", errors)
    )


@dataclass(frozen=True, slots=True)
class _Resolved:
    """What the annotations of an operation say."""

    result: TypeCodec
    mapped: frozenset[str]


class Operation:
    """A declared step, activity or transaction.

    Attributes:
        function: The decorated function; also its `__wrapped__`, for unit tests.
        name: Recorded with each checkpoint, and matched on replay.
        isolation: None stands for the Operon's own.
    """

    kind: Kind
    takes_owner: ClassVar[bool]
    takes_session: ClassVar[bool]
    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __init__(self, function: FunctionType, options: Options) -> None:
        options.check(described(function))
        update_wrapper(cast("Any", self), function, updated=())
        self.function: Callable[..., Any] = function
        self.name = function.__name__ if options.name is None else options.name
        self.isolation = options.isolation
        self.retry = ONCE if options.retry is None else options.retry
        self.timeout = options.timeout
        self.errors = options.errors
        self.shape = Shape(
            function, method=self.takes_owner, session=self.takes_session
        )
        session = () if self.shape.session is None else (self.shape.session,)
        scope = Scope.of(function)
        self.annotations = Annotations.of_function(function, scope, lenient=session)
        self._origin: type | None = None
        self._class: type | None = None
        self._special: dict[type, Operation] = {}
        self._resolved: _Resolved | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the first class that holds this operation."""
        del name
        self._origin = owner if self._origin is None else self._origin

    def __repr__(self) -> str:
        return f"<{self.subject} of {described(self)}>"

    @property
    def subject(self) -> str:
        """What messages call it."""
        return f"{self.kind} {self.name!r}"

    @property
    def result(self) -> TypeCodec:
        """How what it returns is stored."""
        return self._resolution().result

    @property
    def mapped_parameters(self) -> frozenset[str]:
        """The names of the parameters annotated with a mapped class."""
        return self._resolution().mapped

    def resolve(self) -> None:
        """Resolve the annotations, if that has not been done.

        Raises:
            DeclarationError: They name what is not defined or cannot be stored, or
                an error in `errors` could not be raised again from its record.
            SignatureError: Something else stands in the session's place.
        """
        self._resolution()
        for error in self.errors:
            if not can_be_found(error):
                raise DeclarationError(
                    described(self),
                    f"has errors= with {error.__qualname__}, which its module "
                    f"{error.__module__!r} does not hold under that name",
                    cure="define the class at the top of its module",
                )

    def _resolution(self) -> _Resolved:
        """Return what the annotations say, resolving them at the first call."""
        if self._resolved is None:
            hints = self.annotations.resolve()
            self.shape.check_session(hints)
            parameters = self.shape.signature.parameters
            mapped = frozenset(
                each for each in parameters if is_mapped(hints.get(each))
            )
            self._resolved = _Resolved(self._result_codec(hints), mapped)
        return self._resolved

    def _result_codec(self, hints: Mapping[str, Any]) -> TypeCodec:
        """Return how results are stored, in the class this operation stands for."""
        arguments: dict[Any, Any] = {}
        if self._class is not None and self._origin is not None:
            arguments = type_arguments(self._class, self._origin)
        returned = substituted(hints.get("return", Any), arguments)
        check_bound(returned, described(self))
        return type_codec(returned, subject=f"the result of {described(self)}")

    def for_class(self, cls: type) -> "Operation":
        """Return the operation as *cls* has it: with its type parameters bound."""
        if not getattr(self._origin, "__parameters__", ()):
            return self
        if cls not in self._special:
            special = copy.copy(self)
            vars(special).update(_class=cls, _resolved=None, _special={})
            self._special.setdefault(cls, special)
        return self._special[cls]

    def invoke(
        self, owner: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Let the current frame execute a call of this operation.

        Raises:
            NoCurrentRunError: No run is executing here.
            TypeError: The arguments do not fit; no position is used.
        """
        frame = require_frame(self.name)
        self.shape.bind(args, kwargs)
        call = Call(self, owner, args, kwargs)
        if self.kind == "activity":
            return frame.execute_activity(call)
        return frame.execute_step(call)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation, not yet executed."""

    operation: Operation
    owner: object
    """The instance whose method was called; None for a plain function."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def subject(self) -> str:
        """What messages call it."""
        return self.operation.subject

    def in_session(self, session: Session) -> Any:
        """Run the function in *session* and return what it returns.

        Mapped instances given to parameters of a mapped class are loaded afresh.
        """
        args, kwargs = self._loaded(session)
        if self.operation.takes_owner:
            return self.operation.function(self.owner, session, *args, **kwargs)
        return self.operation.function(session, *args, **kwargs)

    def outside(self) -> Any:
        """Run the function without a session and return what it returns."""
        if self.operation.takes_owner:
            return self.operation.function(self.owner, *self.args, **self.kwargs)
        return self.operation.function(*self.args, **self.kwargs)

    def _loaded(self, session: Session) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments, with mapped instances as *session* has them."""
        mapped = self.operation.mapped_parameters
        if not mapped:
            return self.args, self.kwargs
        bound = self.operation.shape.bind(self.args, self.kwargs)
        for name in mapped & bound.arguments.keys():
            bound.arguments[name] = _in_session(session, bound.arguments[name])
        return bound.args, bound.kwargs


def _in_session(session: Session, value: Any) -> Any:
    """Return the row that *value* is a snapshot of, loaded in *session*.

    What is no row yet, or is in *session* already, is returned as it is.
    """
    state: Any = inspect_instance(value, raiseerr=False)
    identity = getattr(state, "identity", None)
    if identity is None or state.session is session:
        return value
    return session.get_one(state.class_, identity)


@dataclass(frozen=True, slots=True)
class BoundOperation:
    """An operation and the instance it was taken from; calling it executes it."""

    operation: Operation
    owner: object

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Execute the operation as the current frame demands."""
        return self.operation.invoke(self.owner, args, kwargs)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The decorated method, bound; takes the session first."""
        return MethodType(self.operation.function, self.owner)

    def __getattr__(self, name: str) -> Any:
        """Return what the operation says about itself."""
        return getattr(self.operation, name)


def call_of(operation: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Return the call of *operation*, a step or an activity, that is to be spawned.

    Raises:
        MisuseError: It is neither.
        TypeError: The arguments do not fit.
    """
    bound = operation if isinstance(operation, BoundOperation) else None
    declared = operation if bound is None else bound.operation
    if not isinstance(declared, Operation) or declared.kind == "transaction":
        raise MisuseError(
            f"self.spawn({operation!r}, …)",
            "spawns neither a step nor an activity",
            cure="pass a step or activity without calling it, such as "
            "self.spawn(self.charge, 7)",
        )
    declared.shape.bind(args, kwargs)
    return Call(declared, None if bound is None else bound.owner, args, kwargs)


def undecorated(candidate: object, decorator: str) -> FunctionType:
    """Return *candidate* if it is a plain function that nothing has declared yet.

    Raises:
        SignatureError: It cannot be decorated.
    """
    if isinstance(candidate, Operation):
        raise SignatureError(
            described(candidate),
            f"is already a {candidate.kind}, so {decorator} cannot decorate it",
            cure="use one of @step, @activity and @transaction, once",
        )
    return checked_function(candidate, decorator)
