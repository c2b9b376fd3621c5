"""Declarations of transactions: one step, one commit, no class needed.

Calling a transaction runs nothing; it gives an `Invocation` that `operon.run` and
`operon.start` take. This file knows no engine and no database.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from inspect import BoundArguments
from inspect import Parameter
from types import FunctionType
from typing import Any
from typing import Concatenate
from typing import Generic
from typing import ParamSpec
from typing import Protocol
from typing import TypeGuard
from typing import TypeVar
from typing import cast
from typing import overload

from sqlalchemy.orm import Session

from operon.annotations import check_bound
from operon.codec import MISSING
from operon.codec import FieldsCodec
from operon.errors import MisuseError
from operon.errors import SignatureError
from operon.operation import Call
from operon.operation import Isolation
from operon.operation import Kind
from operon.operation import Operation
from operon.operation import Options
from operon.operation import undecorated
from operon.registry import Key
from operon.registry import register
from operon.retry import Retry
from operon.signature import checked_roles
from operon.signature import checked_version
from operon.signature import described
from operon.signature import is_method

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class Transaction(Operation, Generic[P, R_co]):
    """A function that is a whole run: its rows, its result and the run commit together.

    Attributes:
        read_only: It runs READ ONLY and, without an explicit id, makes no run.
    """

    kind: Kind = "transaction"
    takes_owner = False
    takes_session = True
    queue = "default"
    max_recoveries = 50
    timeout: timedelta | None = None
    invariants = ()

    def __init__(
        self,
        function: FunctionType,
        options: Options,
        *,
        read_only: bool,
        roles: Collection[str],
        version: int,
    ) -> None:
        super().__init__(function, options)
        subject = described(function)
        for each in self.shape.signature.parameters.values():
            if each.kind in _VARIADIC:
                raise SignatureError(
                    subject,
                    f"takes any number of arguments by {each}",
                    cure="declare each parameter; they are the run's stored input",
                )
        self.read_only = read_only
        self.roles = checked_roles(roles, subject)
        self.version = checked_version(version, subject)
        self._fields: FieldsCodec | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> "Invocation[R_co]":
        """Return what `operon.run` and `operon.start` take; nothing runs here.

        Raises:
            TypeError: The arguments do not fit.
        """
        return self._invocation(self.shape.bind(args, kwargs))

    @property
    def key(self) -> Key:
        """Its name and version, together unique."""
        return self.name, self.version

    @property
    def module(self) -> str:
        """Where it is defined."""
        return self.function.__module__

    @property
    def qualname(self) -> str:
        """What it is called there."""
        return self.function.__qualname__

    def resolve(self) -> None:
        """Resolve the annotations, if that has not been done.

        Raises:
            DeclarationError: They name what is not defined or cannot be stored.
        """
        super().resolve()
        _ = self.input

    def make(self, values: Mapping[str, Any]) -> "Invocation[R_co]":
        """Return the invocation whose arguments are *values*, by name."""
        arguments = {
            name: values[name]
            for name in self.shape.signature.parameters
            if name in values
        }
        return self._invocation(
            BoundArguments(self.shape.signature, cast("Any", arguments))
        )

    def encode(self, runnable: "Invocation[Any]") -> str:
        """Return the arguments of *runnable* as they are stored.

        Raises:
            NotEncodable: One does not fit its declared type.
        """
        return self.input.encode(runnable.arguments)

    def decode(self, text: str) -> "Invocation[R_co]":
        """Return what `encode` turned into *text*.

        Raises:
            Undecodable: It does not fit what is declared today.
        """
        return self.make(self.input.decode(text))

    def _invocation(self, bound: BoundArguments) -> "Invocation[R_co]":
        """Return the invocation of *bound*, with defaults for what was not passed.

        So the same call is the same input, however it was spelled.
        """
        bound.apply_defaults()
        return Invocation(self, dict(bound.arguments))

    @property
    def input(self) -> FieldsCodec:
        """How the arguments are stored."""
        if self._fields is None:
            hints = self.annotations.resolve()
            fields = {
                name: (hints.get(name, Any), _default(each))
                for name, each in self.shape.signature.parameters.items()
            }
            for hint, _ in fields.values():
                check_bound(hint, described(self))
            self._fields = FieldsCodec(
                fields, subject=described(self), ignore_unknown=False
            )
        return self._fields


def _default(parameter: Parameter) -> object:
    """Return what stands for *parameter* where it is not passed."""
    return MISSING if parameter.default is Parameter.empty else parameter.default


@dataclass(frozen=True)
class Invocation(Generic[R_co]):
    """A transaction and the arguments it was called with; equal by both."""

    transaction: Transaction[..., R_co]
    arguments: Mapping[str, Any]
    """By parameter name, defaults included."""

    @property
    def call(self) -> Call:
        """The call that runs it in a session."""
        bound = BoundArguments(
            self.transaction.shape.signature, cast("Any", dict(self.arguments))
        )
        return Call(self.transaction, None, bound.args, bound.kwargs)

    def run(self) -> R_co:
        """Refuse to run: a transaction is run by Operon.

        Raises:
            MisuseError: Always.
        """
        raise MisuseError(
            f"transaction {self.transaction.name!r}",
            "cannot be run by itself",
            cure="pass it to operon.run or operon.start; in a plain unit test call "
            "its __wrapped__ function with a session",
        )


def is_invocation(runnable: object) -> TypeGuard[Invocation[Any]]:
    """Tell whether *runnable* is a transaction with its arguments."""
    return isinstance(runnable, Invocation)


def is_transaction(declared: object) -> TypeGuard[Transaction[..., Any]]:
    """Tell whether *declared* is a transaction, without arguments."""
    return isinstance(declared, Transaction)


class TransactionDecorator(Protocol):
    """What `transaction(…)` returns: it decorates a function."""

    def __call__(
        self, function: Callable[Concatenate[Session, P], R], /
    ) -> Transaction[P, R]:
        """Declare *function* a transaction."""
        ...


@overload
def transaction(
    function: Callable[Concatenate[Session, P], R], /
) -> Transaction[P, R]: ...
@overload
def transaction(
    *,
    isolation: Isolation | None = None,
    retry: Retry | None = None,
    name: str | None = None,
    errors: tuple[type[Exception], ...] = (),
    read_only: bool = False,
    roles: Collection[str] = (),
    version: int = 1,
) -> TransactionDecorator: ...
def transaction(
    function: Any = None,
    /,
    *,
    isolation: Isolation | None = None,
    retry: Retry | None = None,
    name: str | None = None,
    errors: tuple[type[Exception], ...] = (),
    read_only: bool = False,
    roles: Collection[str] = (),
    version: int = 1,
) -> Any:
    """Make a function a whole run of one step, committed at once.

    Args:
        function: What to decorate; its session is its first parameter.
        isolation: None means the Operon's own, SERIALIZABLE unless told otherwise.
        retry: None means one attempt; serialization failures always get another.
        name: What its runs are recorded under; by default the function's name.
        errors: Which errors of the application it may raise and have recorded.
        read_only: It runs READ ONLY and, without an explicit id, makes no run.
        roles: A principal needs one of these to start it; empty lets everybody.
        version: Several versions of one name can be declared side by side.

    Raises:
        SignatureError: The function cannot be a transaction.
        DuplicateNameError: Another function or workflow has its name and version.
        DeclarationError: An option is impossible.
    """
    options = Options(name=name, isolation=isolation, retry=retry, errors=errors)

    def declare(candidate: Any, /) -> Transaction[Any, Any]:
        plain = _checked(candidate)
        declared: Transaction[Any, Any] = Transaction(
            plain, options, read_only=read_only, roles=roles, version=version
        )
        register(declared)
        return declared

    return declare if function is None else declare(function)


def _checked(candidate: object) -> FunctionType:
    """Return *candidate* if it can be a transaction.

    Raises:
        SignatureError: It is a method, or no plain function at all.
    """
    plain = undecorated(candidate, "@transaction")
    if is_method(plain):
        raise SignatureError(
            described(plain),
            "is a method, which @transaction cannot decorate",
            cure="use @step, or move the function out of the class",
        )
    return plain
