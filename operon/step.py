"""Declarations of steps and activities, as users write them.

A method's declaration is typed by how it is called on an instance, a function's by
its parameters after the session; `tests/typing` holds what the checkers make of it.
What happens at a call is `operon.operation`'s and the current frame's.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from typing import Concatenate
from typing import Generic
from typing import ParamSpec
from typing import Protocol
from typing import Self
from typing import TypeVar
from typing import overload

from sqlalchemy.orm import Session

from operon.operation import BoundOperation
from operon.operation import Call
from operon.operation import Isolation
from operon.operation import Operation
from operon.operation import Options
from operon.operation import undecorated
from operon.retry import ONCE
from operon.retry import Retry
from operon.signature import is_method

__all__ = [
    "Activity",
    "ActivityDecorator",
    "BoundOperation",
    "Call",
    "FunctionActivity",
    "FunctionStep",
    "Isolation",
    "Operation",
    "Step",
    "StepDecorator",
    "activity",
    "step",
]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
C_co = TypeVar("C_co", bound=Callable[..., Any], covariant=True)


class _MethodOperation(Operation, Generic[C_co]):
    """An operation that is a method; *C_co* is how it is called on an instance."""

    takes_owner = True

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> C_co: ...
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Any:
        """Return the operation of *instance*, or itself when asked of the class."""
        if instance is None:
            return self
        return BoundOperation(self.for_class(type(instance)), instance)


class _FunctionOperation(Operation, Generic[P, R_co]):
    """An operation that is a plain function, called with all but the session."""

    takes_owner = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Execute the operation as the current frame demands.

        Raises:
            NoCurrentRunError: No run is executing here.
        """
        result: R_co = self.invoke(None, args, kwargs)
        return result


class Step(_MethodOperation[C_co]):
    """A method that is one unit of work: its rows and checkpoint commit together."""

    kind = "step"
    takes_session = True


class FunctionStep(_FunctionOperation[P, R_co]):
    """A plain function that is one unit of work of the run that calls it."""

    kind = "step"
    takes_session = True


class Activity(_MethodOperation[C_co]):
    """A method that calls the outside world: at least once, without a transaction."""

    kind = "activity"
    takes_session = False


class FunctionActivity(_FunctionOperation[P, R_co]):
    """A plain function that calls the outside world from the run that calls it."""

    kind = "activity"
    takes_session = False


class _StepMethod(Protocol[P, R_co]):
    """A method with its session where it is usually named so; told by `self`."""

    def __call__(
        _this,  # noqa: N805 - `self` is what is matched
        self: Any,
        session: Session,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R_co: ...


class _Method(Protocol[P, R_co]):
    """A method, told from a function by the name of its first parameter."""

    def __call__(_this, self: Any, *args: P.args, **kwargs: P.kwargs) -> R_co: ...  # noqa: N805 - `self` is what is matched


class StepDecorator(Protocol):
    """What `step(…)` returns: it decorates a method or a function."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]  # methods first
        self, function: _StepMethod[P, R], /
    ) -> Step[Callable[P, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Session, P], R], /
    ) -> FunctionStep[P, R]: ...
    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]  # other names
        self, function: _Method[Concatenate[Session, P], R], /
    ) -> Step[Callable[P, R]]: ...


class ActivityDecorator(Protocol):
    """What `activity(…)` returns: it decorates a method or a function."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]  # methods first
        self, function: _Method[P, R], /
    ) -> Activity[Callable[P, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> FunctionActivity[P, R]: ...


@overload
def step(  # pyright: ignore[reportOverlappingOverload]  # methods first
    function: _StepMethod[P, R], /
) -> Step[Callable[P, R]]: ...
@overload
def step(function: Callable[Concatenate[Session, P], R], /) -> FunctionStep[P, R]: ...
@overload
def step(  # pyright: ignore[reportOverlappingOverload]  # other names
    function: _Method[Concatenate[Session, P], R], /
) -> Step[Callable[P, R]]: ...
@overload
def step(
    *,
    isolation: Isolation | None = None,
    retry: Retry | None = None,
    name: str | None = None,
    errors: tuple[type[Exception], ...] = (),
) -> StepDecorator: ...
def step(
    function: Any = None,
    /,
    *,
    isolation: Isolation | None = None,
    retry: Retry | None = None,
    name: str | None = None,
    errors: tuple[type[Exception], ...] = (),
) -> Any:
    """Make a method or function one transactional unit of work of a run.

    It gets a session first, after self; callers leave it out. The rows it writes
    and the checkpoint that remembers it commit in one transaction.

    Args:
        function: What to decorate; its session is found by position.
        isolation: None means the Operon's own, SERIALIZABLE unless told otherwise.
        retry: None means one attempt; serialization failures always get another.
        name: What checkpoints call it; by default the function's name.
        errors: Which errors of the application it may raise and have recorded.

    Raises:
        SignatureError: The function cannot be a step.
        DeclarationError: An option is impossible.
    """
    options = Options(name=name, isolation=isolation, retry=retry, errors=errors)
    return _decorator(function, "@step", options, (Step, FunctionStep))


@overload
def activity(  # pyright: ignore[reportOverlappingOverload]  # methods first
    function: _Method[P, R], /
) -> Activity[Callable[P, R]]: ...
@overload
def activity(function: Callable[P, R], /) -> FunctionActivity[P, R]: ...
@overload
def activity(
    *,
    retry: Retry = ONCE,
    timeout: timedelta | None = None,
    name: str | None = None,
    errors: tuple[type[Exception], ...] = (),
) -> ActivityDecorator: ...
def activity(
    function: Any = None,
    /,
    *,
    retry: Retry = ONCE,
    timeout: timedelta | None = None,
    name: str | None = None,
    errors: tuple[type[Exception], ...] = (),
) -> Any:
    """Make a method or function one call of the outside world within a run.

    It runs at least once until its result is recorded, with the same
    `current().idempotency_key` on every attempt, and without a transaction.

    Args:
        function: What to decorate.
        retry: After which errors, how often and how far apart it is tried again.
        timeout: How long one attempt may take; None is without limit.
        name: What checkpoints call it; by default the function's name.
        errors: Which errors of the application it may raise and have recorded.

    Raises:
        SignatureError: The function cannot be an activity.
        DeclarationError: An option is impossible.
    """
    options = Options(name=name, retry=retry, timeout=timeout, errors=errors)
    return _decorator(function, "@activity", options, (Activity, FunctionActivity))


def _decorator(
    function: Any,
    decorator: str,
    options: Options,
    classes: tuple[type[Operation], type[Operation]],
) -> Any:
    """Return the declared *function*, or what declares one if there is none yet."""

    def declare(candidate: Any, /) -> Operation:
        plain = undecorated(candidate, decorator)
        return classes[0 if is_method(plain) else 1](plain, options)

    return declare if function is None else declare(function)
