"""What the annotations of a declared function or class mean.

They are resolved when they are first needed, since they may name what is defined
later, and type parameters are replaced by what a subclass binds them to. This file
knows nothing of steps and workflows.
"""

import inspect
import sys
import types
from collections.abc import Collection
from collections.abc import Mapping
from types import FrameType
from types import FunctionType
from typing import Any
from typing import TypeVar
from typing import Union
from typing import cast
from typing import get_args
from typing import get_origin
from typing import get_type_hints

from sqlalchemy import inspect as inspect_mapping

from operon.errors import DeclarationError
from operon.errors import SignatureError
from operon.signature import described


class Scope:
    """The local names a declaration's annotations may use: of its class and function.

    Frames are kept, not copies, so that names bound after the declaration count.
    """

    def __init__(self, places: Collection[FrameType | Mapping[str, Any]] = ()) -> None:
        self._places = tuple(places)

    @classmethod
    def of(cls, declared: Any) -> "Scope":
        """Find what is executing around *declared*, which is just being defined."""
        wanted = _enclosing(declared.__qualname__)
        places: list[FrameType | Mapping[str, Any]] = []
        frame = inspect.currentframe() if wanted else None
        while frame is not None and wanted:
            name = frame.f_code.co_qualname
            if (
                name in wanted
                and frame.f_globals.get("__name__") == declared.__module__
            ):
                wanted.discard(name)
                is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED
                places.append(frame if is_function else frame.f_locals)
            frame = frame.f_back
        return cls(places)

    def names(self) -> dict[str, Any]:
        """Return the names and what they mean now; inner ones hide outer ones."""
        merged: dict[str, Any] = {}
        for place in reversed(self._places):
            is_function = isinstance(place, FrameType)
            merged.update(place.f_locals if is_function else _class_names(place))
        return merged

    def within(self, owner: type) -> "Scope":
        """Return the scope of what stands in the body of *owner*."""
        return Scope([vars(owner), *self._places])


def _class_names(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names in a class body that an annotation may mean: not its fields."""
    fields = namespace.get("__annotations__", {})
    return {
        name: value
        for name, value in namespace.items()
        if name not in fields and not inspect.isroutine(value)
    }


def _enclosing(qualname: str) -> set[str]:
    """Return the qualified names of the classes and functions around *qualname*."""
    names: set[str] = set()
    while qualname:
        qualname = qualname.rpartition(".")[0]
        if qualname and not qualname.endswith("<locals>"):
            names.add(qualname)
    return names


class Annotations:
    """The annotations of one function or class, resolved when first asked for."""

    def __init__(
        self,
        subject: str,
        raw: Mapping[str, Any],
        names: dict[str, Any],
        scope: Scope,
        *,
        lenient: Collection[str] = (),
    ) -> None:
        self._subject = subject
        self._raw = dict(raw)
        self._globals = names
        self._scope: Scope | None = scope
        self._lenient = lenient
        self._hints: dict[str, Any] | None = None

    @classmethod
    def of_function(
        cls, function: FunctionType, scope: Scope, *, lenient: Collection[str] = ()
    ) -> "Annotations":
        """Return the annotations of *function*; *lenient* ones may stay unresolved."""
        inner = cast("FunctionType", inspect.unwrap(function))
        raw = inner.__annotations__
        return cls(described(function), raw, inner.__globals__, scope, lenient=lenient)

    @classmethod
    def of_class(
        cls, owner: type, raw: Mapping[str, Any], scope: Scope
    ) -> "Annotations":
        """Return the annotations *raw* that stand in the body of *owner*."""
        names = getattr(sys.modules.get(owner.__module__), "__dict__", {})
        return cls(described(owner), raw, names, scope.within(owner))

    def resolve(self) -> Mapping[str, Any]:
        """Return what each annotation means; the defining frames are let go.

        Raises:
            DeclarationError: A name in an annotation is not defined.
        """
        scope = self._scope
        if self._hints is None and scope is not None:
            local = scope.names()
            hints = {
                name: self._resolved(name, raw, local)
                for name, raw in self._raw.items()
            }
            self._hints = {
                name: hint for name, hint in hints.items() if hint is not ...
            }
            self._scope = None
        return self._hints or {}

    def _resolved(self, name: str, raw: Any, local: dict[str, Any]) -> Any:
        """Return what one annotation means, or `...` if that does not matter."""
        holder = types.ModuleType("annotations")
        holder.__annotations__ = {name: raw}
        try:
            hints = get_type_hints(holder, self._globals, local, include_extras=True)
        except Exception as error:
            if name in self._lenient:
                return ...
            place = "return value" if name == "return" else repr(name)
            raise DeclarationError(
                self._subject,
                f"has an annotation for {place} that cannot be resolved: {error}",
                cure="define or import its names where they exist at run time, at "
                "the top of the module and not only under TYPE_CHECKING",
            ) from error
        return hints[name]


def type_arguments(cls: type, origin: type) -> dict[Any, Any]:
    """Return what the type parameters of *origin* stand for in its subclass *cls*."""
    for base in getattr(cls, "__dict__", {}).get("__orig_bases__", cls.__bases__):
        base_class = get_origin(base) or base
        if cls is origin or not _descends(base_class, origin):
            continue
        parameters = getattr(base_class, "__parameters__", ())
        given = dict(zip(parameters, get_args(base), strict=False))
        if base_class is origin:
            return given
        inner = type_arguments(base_class, origin)
        return {key: substituted(hint, given) for key, hint in inner.items()}
    return {}


def _descends(candidate: object, origin: type) -> bool:
    """Tell whether *candidate* is a class below or at *origin*."""
    return isinstance(candidate, type) and issubclass(candidate, origin)


def substituted(hint: Any, arguments: Mapping[Any, Any]) -> Any:
    """Return *hint* with type parameters replaced by what they stand for."""
    if isinstance(hint, TypeVar):
        return arguments.get(hint, hint)
    parameters = open_parameters(hint)
    if not parameters:
        return hint
    return hint[tuple(arguments.get(each, each) for each in parameters)]


def open_parameters(hint: Any) -> tuple[Any, ...]:
    """Return the type parameters in *hint* that stand for nothing yet."""
    if isinstance(hint, TypeVar):
        return (hint,)
    return () if isinstance(hint, type) else getattr(hint, "__parameters__", ())


def class_parameters(cls: type) -> tuple[Any, ...]:
    """Return the type parameters that *cls*, which is just being made, leaves open."""
    bases = vars(cls).get("__orig_bases__", ())
    return tuple(each for base in bases for each in open_parameters(base))


def check_bound(hint: Any, subject: str) -> None:
    """Refuse a *hint* whose type is not known.

    Raises:
        SignatureError: It holds a type parameter.
    """
    for parameter in open_parameters(hint):
        raise SignatureError(
            subject,
            f"is annotated with the type parameter {parameter}, which is not bound",
            cure="bind it in a subclass, such as class Concrete(Base[int]), or "
            "annotate with a type",
        )


def is_mapped(hint: Any) -> bool:
    """Tell whether *hint* is a class mapped by SQLAlchemy, or such a class or None."""
    members = (hint,)
    if get_origin(hint) in {Union, types.UnionType}:
        members = tuple(each for each in get_args(hint) if each is not type(None))
    if len(members) != 1 or not isinstance(members[0], type):
        return False
    return inspect_mapping(members[0], raiseerr=False) is not None
