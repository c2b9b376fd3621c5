"""What Operon knows of one workflow class: its options, and how its values are stored.

Annotations are resolved at the first launch, start or run. How a class comes to
be declared is `operon.workflow`'s.
"""

import dataclasses
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from typing import Any
from typing import cast

from operon.annotations import Annotations
from operon.annotations import Scope
from operon.annotations import check_bound
from operon.annotations import class_parameters
from operon.annotations import substituted
from operon.annotations import type_arguments
from operon.codec import FieldsCodec
from operon.codec import TypeCodec
from operon.codec import Undecodable
from operon.codec import type_codec
from operon.errors import DeclarationError
from operon.errors import DuplicateNameError
from operon.errors import SignatureError
from operon.invariant import invariants_of
from operon.operation import Operation
from operon.registry import Key
from operon.registry import Runnable
from operon.signature import checked_roles
from operon.signature import checked_version
from operon.signature import described


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkflowOptions:
    """What the class statement says besides the bases."""

    name: str | None
    version: int
    queue: str
    timeout: timedelta | None
    max_recoveries: int
    roles: Collection[str]
    abstract: bool
    ignore_unknown: bool

    def check(self, subject: str) -> None:
        """Refuse options that cannot work.

        Raises:
            DeclarationError: One is of another type or out of its range.
        """
        checked_version(self.version, subject)
        checked_roles(self.roles, subject)
        for holds, option, cure in (
            (self.name is None or _is_text(self.name), "name", "give it a text"),
            (_is_text(self.queue), "queue", "name a queue"),
            (_is_positive(self.timeout), "timeout", "use a timedelta longer than zero"),
            (_is_count(self.max_recoveries), "max_recoveries", "use a count from 0"),
        ):
            if not holds:
                value = getattr(self, option)
                problem = f"has {option}={value!r}, which is no such option"
                raise DeclarationError(subject, problem, cure=cure)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_positive(value: object) -> bool:
    return value is None or (isinstance(value, timedelta) and value > timedelta(0))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True, slots=True)
class _Resolved:
    """What the annotations of a workflow say."""

    fields: FieldsCodec
    result: TypeCodec


class WorkflowDeclaration:
    """What Operon knows of one workflow class; found as its `__operon__`."""

    def __init__(self, cls: type[Any], options: WorkflowOptions) -> None:
        self.cls = cls
        self.name = cls.__name__ if options.name is None else options.name
        self.version = options.version
        self.queue = options.queue
        self.timeout = options.timeout
        self.max_recoveries = options.max_recoveries
        self.roles = checked_roles(options.roles, described(cls))
        self.ignore_unknown = options.ignore_unknown
        self.startable = not options.abstract and not class_parameters(cls)
        self.operations = operations_of(cls)
        self.invariants = invariants_of(_attributes(cls))
        scope = Scope.of(cls)
        self.own_fields = Annotations.of_class(cls, _own_fields(cls), scope)
        body = vars(cls).get("run")
        self.own_body = (
            Annotations.of_function(body, scope.within(cls))
            if isinstance(body, FunctionType)
            else None
        )
        self._dataclass = vars(cls)["__dataclass_params__"]
        self._resolved: _Resolved | None = None

    def __repr__(self) -> str:
        return f"<declaration of {described(self.cls)}>"

    @property
    def key(self) -> Key:
        """Its name and version, together unique."""
        return self.name, self.version

    @property
    def module(self) -> str:
        """Where the class is defined."""
        return self.cls.__module__

    @property
    def qualname(self) -> str:
        """What the class is called there."""
        return self.cls.__qualname__

    @property
    def input(self) -> FieldsCodec:
        """How the fields are stored."""
        return self._resolution().fields

    def make(self, values: Mapping[str, Any]) -> Runnable[Any]:
        """Return an instance whose fields have *values*."""
        return cast("Runnable[Any]", self.cls(**values))

    @property
    def result(self) -> TypeCodec:
        """How what `run` returns is stored."""
        return self._resolution().result

    def resolve(self) -> None:
        """Resolve the annotations of class and operations, if that has not been done.

        Raises:
            DeclarationError: They name what is not defined or cannot be stored, or
                the class cannot be started.
        """
        self._resolution()
        for operation in self.operations.values():
            operation.for_class(self.cls).resolve()

    def encode(self, runnable: Any) -> str:
        """Return the fields of *runnable* as they are stored.

        Raises:
            NotEncodable: One does not fit its declared type.
        """
        names = [each.name for each in _fields(self.cls)]
        values = {name: getattr(runnable, name) for name in names}
        return self._resolution().fields.encode(values)

    def decode(self, text: str) -> Runnable[Any]:
        """Return an instance equal to the one that `encode` turned into *text*.

        Raises:
            Undecodable: It does not fit what the class declares today.
        """
        values = self._resolution().fields.decode(text)
        try:
            return cast("Runnable[Any]", self.cls(**values))
        except Exception as error:
            reason = f"{self.cls.__name__} refuses it: {error!r}"
            raise Undecodable(reason) from error

    def _resolution(self) -> _Resolved:
        """Return what the annotations say, resolving them at the first call."""
        if self._resolved is None:
            self.check_startable()
            self._resolved = _Resolved(self._fields_codec(), self._result_codec())
        return self._resolved

    def check_startable(self) -> None:
        """Refuse a class whose runs would have no body, or fields of no type.

        Raises:
            DeclarationError: It is abstract, generic, or decorated with @dataclass.
        """
        if vars(self.cls)["__dataclass_params__"] is not self._dataclass:
            raise second_dataclass(self.cls)
        if not self.startable:
            raise DeclarationError(
                described(self.cls),
                "is abstract or leaves type parameters open, so it cannot be started",
                cure="start a subclass that binds them: class Concrete(Base[int])",
            )

    def _fields_codec(self) -> FieldsCodec:
        """Return how the fields are stored."""
        hints = {each.name: self._field_hint(each) for each in _fields(self.cls)}
        for hint in hints.values():
            check_bound(hint, described(self.cls))
        defaults = {each.name: _default(each) for each in _fields(self.cls)}
        return FieldsCodec(
            {name: (hint, defaults[name]) for name, hint in hints.items()},
            subject=described(self.cls),
            ignore_unknown=self.ignore_unknown,
        )

    def _field_hint(self, wanted: "dataclasses.Field[Any]") -> Any:
        """Return the type of a field, with the class's type parameters bound."""
        origin = _origin(self.cls, wanted)
        declared = _declared_by(origin)
        own = (
            Annotations.of_class(origin, _own_fields(origin), Scope())
            if declared is None
            else declared.own_fields
        )
        hint = own.resolve()[wanted.name]
        return substituted(hint, type_arguments(self.cls, origin))

    def _result_codec(self) -> TypeCodec:
        """Return how what `run` returns is stored."""
        origin = next(each for each in self.cls.__mro__ if "run" in vars(each))
        declared = _declared_by(origin)
        own = declared.own_body if declared is not None else None
        if own is None:
            own = Annotations.of_function(vars(origin)["run"], Scope())
        hint = own.resolve().get("return", Any)
        hint = substituted(hint, type_arguments(self.cls, origin))
        subject = f"{described(self.cls)}.run"
        check_bound(hint, subject)
        return type_codec(hint, subject=f"the result of {subject}")


def _declared_by(cls: type) -> WorkflowDeclaration | None:
    """Return the declaration made for *cls* itself, not for a base of it."""
    return vars(cls).get("__operon__")


def _fields(cls: type) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(cast("Any", cls))


def _origin(cls: type, wanted: "dataclasses.Field[Any]") -> type:
    """Return the class whose body defines the field *wanted* of *cls*."""
    *_, origin = (
        each
        for each in cls.__mro__
        if vars(each).get("__dataclass_fields__", {}).get(wanted.name) is wanted
    )
    return origin


def _own_fields(cls: type) -> dict[str, Any]:
    """Return the annotations of the fields that the body of *cls* defines."""
    return {each.name: each.type for each in _fields(cls) if _origin(cls, each) is cls}


def _default(field: "dataclasses.Field[Any]") -> Any:
    """Return what stands for *field* in a stored input that lacks it, or MISSING."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory  # the class calls it; only its presence counts
    return field.default


def second_dataclass(cls: type) -> DeclarationError:
    """Return the error for a workflow class that is decorated with @dataclass."""
    return DeclarationError(
        described(cls),
        "is decorated with @dataclass, and a workflow is a frozen dataclass already",
        cure="remove the decorator",
    )


def operations_of(cls: type) -> dict[str, Operation]:
    """Return the steps and activities of *cls* by attribute, overrides applied.

    Raises:
        SignatureError: One is a static or class method.
        DuplicateNameError: Two have one declared name.
    """
    found: dict[str, Operation] = {}
    for attribute, value in _attributes(cls).items():
        if isinstance(value, Operation):
            found[attribute] = value
        elif isinstance(getattr(value, "__func__", None), Operation):
            raise SignatureError(
                f"{described(cls)}.{attribute}",
                "is a static or class method, which no operation can be",
                cure="make it a plain method, or a function outside the class",
            )
    _check_unique(cls, found)
    return found


def _attributes(cls: type) -> dict[str, Any]:
    """Return what stands in the bodies of *cls* and its bases, undisturbed."""
    found: dict[str, Any] = {}
    for each in reversed(cls.__mro__):
        found.update(vars(each))
    return found


def _check_unique(cls: type, operations: Mapping[str, Operation]) -> None:
    """Refuse two operations of *cls* that checkpoints could not tell apart."""
    holders: dict[str, Operation] = {}
    for operation in operations.values():
        holder = holders.setdefault(operation.name, operation)
        if holder is not operation:
            raise DuplicateNameError(
                described(cls),
                f"has two operations named {operation.name!r}: {described(holder)} "
                f"and {described(operation)}",
                cure="give one of them another name=",
            )
