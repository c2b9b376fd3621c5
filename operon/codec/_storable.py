"""Which declared types can be stored, decided once, before any value exists.

msgspec describes the type, this file judges the description. It must not know
values, and it makes no text.
"""

import types
from collections.abc import Iterator
from enum import Flag
from typing import Annotated
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import ParamSpec
from typing import TypeVar
from typing import Union
from typing import cast
from typing import get_args
from typing import get_origin

from msgspec import inspect

from operon.codec._mapped import find_mapper
from operon.codec._models import is_model
from operon.codec._snapshots import is_stand_in
from operon.codec._snapshots import stand_in


class Unstorable(Exception):  # noqa: N818 - a refusal; the caller knows the subject
    """A declared type cannot be stored.

    Attributes:
        problem: What cannot be stored, and why.
        cure: What to declare instead.
    """

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure


class Storable(NamedTuple):
    """A declared type that can be stored."""

    type: Any
    """The type as msgspec is told it: stand-ins in place of mapped classes."""
    has_mapped: bool
    """Whether instances of mapped classes can be among its values."""


def storable(declared: Any) -> Storable:
    """Return how values of the type *declared* are stored.

    Raises:
        Unstorable: Its values could not all come back as they were.
    """
    swapped = _swapped(declared)
    try:
        described = inspect.type_info(swapped)
    except Exception as error:
        cure = "declare a type whose JSON can be told apart; tag msgspec.Struct unions"
        raise Unstorable(f"cannot be stored: {error}", cure) from error
    nodes = list(_nodes(described, set()))
    for node in nodes:
        _judge(node)
    return Storable(swapped, any(_is_stand_in(node) for node in nodes))


def _swapped(declared: Any) -> Any:
    """Return *declared* with a stand-in for each mapped class, containers included."""
    _refuse_unbound(declared)
    if find_mapper(declared) is not None:
        return stand_in(declared)
    origin, args = get_origin(declared), get_args(declared)
    if not args or origin is Literal:
        return declared
    if origin is Annotated:
        return Annotated[(_swapped(args[0]), *args[1:])]
    inner = tuple(arg if arg is Ellipsis else _swapped(arg) for arg in args)
    if inner == args:
        return declared
    if origin in (Union, types.UnionType):
        return Union[inner]  # noqa: UP007 - the members are only known here
    return origin[inner]


def _refuse_unbound(declared: Any) -> None:
    """Refuse *declared* if it is a type parameter or leaves one open."""
    unbound = isinstance(declared, TypeVar | ParamSpec)
    if isinstance(declared, type) and get_origin(declared) is None:
        unbound = bool(getattr(declared, "__parameters__", ()))
    if unbound:
        problem = f"leaves a type parameter open ({declared!r})"
        raise Unstorable(problem, "bind every type parameter to a concrete type")


def _nodes(node: object, seen: set[int]) -> Iterator[inspect.Type]:
    """Yield *node*, a part of a description, and all types below it, once each."""
    kind = type(node)
    if kind is tuple:
        for part in cast("tuple[object, ...]", node):
            yield from _nodes(part, seen)
    elif isinstance(node, inspect.Type | inspect.Field) and id(node) not in seen:
        seen.add(id(node))
        if isinstance(node, inspect.Type):
            yield node
        for name in node.__struct_fields__:
            yield from _nodes(getattr(node, name), seen)


def _judge(node: inspect.Type) -> None:
    """Refuse the type that *node* describes, if its values could not come back."""
    if isinstance(node, inspect.LiteralType):
        if any(isinstance(value, bool) for value in node.values):
            raise Unstorable("has a literal True or False", "declare bool")
    elif isinstance(node, inspect.DictType):
        if isinstance(node.key_type, inspect.BoolType | inspect.NoneType):
            raise Unstorable("has keys that JSON cannot hold", "declare str keys")
    elif isinstance(node, inspect.EnumType):
        if issubclass(node.cls, Flag):
            problem = f"has the flags {node.cls.__qualname__}"
            raise Unstorable(f"{problem}, whose combinations are lost", "declare int")
    else:
        _judge_class(node)


def _judge_class(node: inspect.Type) -> None:
    """Refuse the class that *node* describes, if nothing here can rebuild it."""
    cls: Any = getattr(node, "cls", None)
    if cls is None or _is_stand_in(node):
        return
    if find_mapper(cls) is not None:
        problem = f"holds the mapped class {cls.__qualname__} inside another class"
        cure = (
            "return the instance itself, in a list, tuple or dict, or its primary key"
        )
        raise Unstorable(problem, cure)
    if isinstance(node, inspect.CustomType) and not is_model(cls):
        problem = f"has the class {cls.__qualname__}, of which no fields are known"
        cure = "declare a dataclass, msgspec.Struct, pydantic model or a plain type"
        raise Unstorable(problem, cure)


def _is_stand_in(node: inspect.Type) -> bool:
    """Tell whether *node* describes the stand-in of a mapped class."""
    return isinstance(node, inspect.CustomType) and is_stand_in(node.cls)
