"""Snapshots of mapped instances: a class and its columns, as JSON and back.

What comes back is detached: it holds what the row held, and no session. This
file must not know which types can be stored; it is given a codec for each.
"""

import types
from abc import ABCMeta
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from typing import ClassVar
from typing import Protocol
from typing import cast
from weakref import WeakKeyDictionary

import msgspec
from sqlalchemy.orm import Mapper
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from operon.codec._column_types import column_types
from operon.codec._mapped import columns
from operon.codec._mapped import find_mapper
from operon.codec._mapped import find_state
from operon.codec._refusals import NotEncodable
from operon.codec._refusals import Undecodable
from operon.errors import DeclarationError


class StandIn(metaclass=ABCMeta):
    """What a mapped class is called in types given to msgspec.

    msgspec would take a mapped dataclass for a plain one. A stand-in is a class it
    does not know, and the mapped class is registered as its subclass.
    """

    declared: ClassVar[type]
    """The mapped class."""


@lru_cache(maxsize=1024)
def stand_in(cls: type) -> type[StandIn]:
    """Return the stand-in of the mapped class *cls*."""
    made: type[StandIn] = types.new_class(
        cls.__name__, (StandIn,), exec_body=lambda body: body.update(declared=cls)
    )
    ABCMeta.register(made, cls)
    return made


def is_stand_in(cls: type) -> bool:
    """Tell whether *cls* is a stand-in itself, not the mapped class behind it."""
    return StandIn in cls.__mro__


class ColumnCodec(Protocol):
    """What writes and reads the values of one column."""

    def encode(self, value: Any, path: str = "result") -> str:
        """Return the text of *value*, which stands at *path*."""
        ...

    def decode(self, text: str | bytes) -> Any:
        """Return the value that *text* holds."""
        ...


class _Snapshot(msgspec.Struct):
    """How a mapped instance is written."""

    cls: str = msgspec.field(name="class")
    """The class, as `module:qualname`."""
    columns: dict[str, msgspec.Raw]
    """The values of all column attributes."""


class Snapshots:
    """Writes and rebuilds mapped instances, their columns by *codec_of* their types."""

    def __init__(self, codec_of: Callable[[Any], ColumnCodec]) -> None:
        self._codec_of = codec_of
        self._codecs: WeakKeyDictionary[Mapper[Any], dict[str, ColumnCodec]] = (
            WeakKeyDictionary()
        )

    def swap(self, value: object, path: str) -> object:
        """Return *value*, at *path*, with snapshots in place of mapped instances."""
        if find_state(value) is not None:
            return self._dump(value, path)
        kind = type(value)
        if kind is list or kind is tuple:
            items = enumerate(cast("list[object]", value))
            swapped = [self.swap(item, f"{path}[{i}]") for i, item in items]
            return swapped if kind is list else tuple(swapped)
        if kind is dict:
            pairs = cast("dict[object, object]", value).items()
            return {key: self.swap(item, f"{path}[{key!r}]") for key, item in pairs}
        return value

    def load(self, declared: type, recorded: Any) -> Any:
        """Return a detached instance of *declared* that holds what is *recorded*.

        Columns that were added to the class since are not loaded.

        Raises:
            ValueError: It is no snapshot of *declared* or of a mapped subclass.
        """
        snapshot = msgspec.convert(recorded, _Recorded)
        mapper = _among(declared, snapshot.cls)
        instance = mapper.class_manager.new_instance()
        for name, codec in self._codecs_of(mapper).items():
            if name in snapshot.columns:
                column = _decoded(name, codec, snapshot.columns[name])
                set_committed_value(instance, name, column)
        make_transient_to_detached(instance)
        return instance

    def _dump(self, instance: object, path: str) -> _Snapshot:
        """Return the snapshot of *instance*, which stands at *path*."""
        state = find_state(instance)
        if state is None or state.key is None:
            cure = "add it to the session of the step, which flushes it"
            raise NotEncodable(path, f"has no row in the database; {cure}")
        codecs = self._codecs_of(state.mapper)
        values = columns(state)
        absent = sorted(codecs.keys() - values.keys())
        if absent:
            cure = "refresh it in its session"
            raise NotEncodable(
                path, f"has columns that are not loaded {absent}; {cure}"
            )
        texts = {
            name: msgspec.Raw(codec.encode(values[name], f"{path}.{name}").encode())
            for name, codec in codecs.items()
        }
        return _Snapshot(_name(type(instance)), texts)

    def _codecs_of(self, mapper: Mapper[Any]) -> dict[str, ColumnCodec]:
        """Return the codec of each column attribute of *mapper*."""
        found = self._codecs.get(mapper)
        if found is None:
            declared = column_types(mapper)
            found = {name: self._first(known) for name, known in declared.items()}
            self._codecs[mapper] = found
        return found

    def _first(self, known: list[Any]) -> ColumnCodec:
        """Return the codec of the first of the *known* types that can be stored."""
        for declared in known:
            try:
                return self._codec_of(declared | None)
            except DeclarationError:
                continue
        return self._codec_of(Any)


class _Recorded(msgspec.Struct):
    """A snapshot whose text was already read as plain values."""

    cls: str = msgspec.field(name="class")
    columns: dict[str, Any]


def _among(declared: type, name: str) -> Mapper[Any]:
    """Return the mapper of the class *name*, if it is *declared* or below it."""
    top = find_mapper(declared)
    for mapper in top.self_and_descendants if top is not None else ():
        if _name(mapper.class_) == name:
            return mapper
    known = f"{_name(declared)} or a mapped subclass of it"
    raise ValueError(f"{name} is recorded, which is not {known} that is loaded")


def _decoded(name: str, codec: ColumnCodec, value: Any) -> Any:
    """Return what *codec* makes of the plain *value* of the column *name*."""
    try:
        return codec.decode(msgspec.json.encode(value))
    except Undecodable as error:
        raise ValueError(f"column {name!r} {error.reason}") from error


def _name(cls: type) -> str:
    """Return how the class *cls* is recorded."""
    return f"{cls.__module__}:{cls.__qualname__}"
