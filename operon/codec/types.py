"""The codec of one declared type: values to JSON text and back, or a refusal.

A value is written, read back and compared with itself before its text is given
to anybody, so what is stored always decodes to an equal value of the same type.
This file must not know what a value is for, nor where its text is kept.
"""

from functools import lru_cache
from typing import Any
from typing import cast

import msgspec

from operon.codec._faithful import culprit
from operon.codec._faithful import difference
from operon.codec._mapped import find_state
from operon.codec._models import dump_model
from operon.codec._models import is_model
from operon.codec._models import load_model
from operon.codec._refusals import NotEncodable
from operon.codec._refusals import Undecodable
from operon.codec._snapshots import Snapshots
from operon.codec._snapshots import is_stand_in
from operon.codec._storable import Unstorable
from operon.codec._storable import storable
from operon.errors import DeclarationError

_TOO_DEEP = "is nested too deeply, or contains itself"


class TypeCodec:
    """Writes and reads the values of one declared type."""

    def __init__(self, declared: Any) -> None:
        self.declared = declared
        known = storable(declared)
        self.has_mapped = known.has_mapped
        """Whether mapped instances can be among the values; never changes."""
        self._decoder = msgspec.json.Decoder(known.type, dec_hook=_revive)

    def encode(self, value: Any, path: str = "result") -> str:
        """Return the JSON text of *value*, which stands at *path*.

        The text decodes to a value that is equal, part by part and by exact type.

        Raises:
            NotEncodable: There is no such text.
        """
        try:
            text = self._written(value, path)
            flaw = difference(value, self._read_back(text, value, path))
        except RecursionError as error:
            raise NotEncodable(path, _TOO_DEEP) from error
        if flaw is not None:
            raise NotEncodable(path + flaw.path, flaw.reason)
        return text.decode()

    def decode(self, text: str | bytes) -> Any:
        """Return the value that *text* holds.

        Raises:
            Undecodable: It does not fit the declared type.
        """
        try:
            return self._decoder.decode(text)
        except Exception as error:
            raise Undecodable(str(error)) from error

    def mapped(self, value: Any) -> list[Any]:
        """Return the mapped instances in *value*, each once, in order."""
        found: dict[int, Any] = {}
        if self.has_mapped:
            _collect(value, found)
        return list(found.values())

    def _written(self, value: Any, path: str) -> bytes:
        """Return the text of *value*, not yet compared."""
        plain = _SNAPSHOTS.swap(value, path) if self.has_mapped else value
        try:
            return _ENCODER.encode(plain)
        except Exception as error:
            raise _refused(plain, path, f"cannot be stored: {error}") from error

    def _read_back(self, text: bytes, value: Any, path: str) -> Any:
        """Return what *text*, written of *value*, decodes to."""
        try:
            return self._decoder.decode(text)
        except Exception as error:
            problem, _, place = str(error).partition(" - at ")
            inner = place.replace("`", "").removeprefix("key in ").removeprefix("$")
            reason = f"does not fit its declared type: {problem}"
            raise _refused(value, path, reason, inner) from error


def type_codec(declared: Any, subject: str = "a value") -> TypeCodec:
    """Return the codec of the type *declared*, made once for each type.

    Args:
        declared: A resolved annotation; `Any` stands for plain JSON values.
        subject: What is declared so, such as `result of step 'reserve'`.

    Raises:
        DeclarationError: Its values could not all come back as they were.
    """
    try:
        return _codec_of(declared)
    except Unstorable as error:
        problem = f"is declared as {_spelled(declared)}, which {error.problem}"
        raise DeclarationError(subject, problem, cure=error.cure) from error


def value_codec(value: object) -> TypeCodec:
    """Return the codec by which *value* is stored where no type is declared.

    A value of JSON's own, or a container, is plain JSON; another is of its class.
    """
    kind = type(value)
    plain = value is None or kind in {bool, int, float, str, list, dict}
    return type_codec(Any if plain else kind, subject="the value")


def _codec_of(declared: Any) -> TypeCodec:
    """Return the codec of *declared*, a new one if it cannot be remembered."""
    try:
        hash(declared)
    except TypeError:  # an Annotated with unhashable remarks
        return TypeCodec(declared)
    return _remembered(declared)


@lru_cache(maxsize=4096)
def _remembered(declared: Any) -> TypeCodec:
    """Return the one codec of *declared*."""
    return TypeCodec(declared)


def _refused(value: Any, path: str, reason: str, place: str = "") -> NotEncodable:
    """Return the refusal of *value*: of the part to blame, else of *place*."""
    flaw = culprit(value, _ENCODER.encode)
    if flaw is None:
        return NotEncodable(path + place, reason)
    return NotEncodable(path + flaw.path, flaw.reason)


def _collect(value: object, found: dict[int, Any]) -> None:
    """Add the mapped instances in *value* to *found*, by identity."""
    if find_state(value) is not None:
        found.setdefault(id(value), value)
        return
    kind = type(value)
    if kind is dict:
        kind, value = list, list(cast("dict[object, object]", value).values())
    if kind is list or kind is tuple:
        for item in cast("list[object]", value):
            _collect(item, found)


def _dump(value: object) -> msgspec.Raw:
    """Return what msgspec is to write for *value*, whose class it does not know."""
    if is_model(type(value)):
        return msgspec.Raw(dump_model(value).encode())
    raise TypeError(f"no fields of the class {type(value).__qualname__} are known")


def _revive(cls: Any, plain: Any) -> Any:
    """Return the instance of *cls*, unknown to msgspec, that *plain* was written of."""
    if is_stand_in(cls):
        return _SNAPSHOTS.load(cls.declared, plain)
    return load_model(cls, _ENCODER.encode(plain))


def _spelled(declared: Any) -> str:
    """Return how the type *declared* reads in a program."""
    if type(declared) is type:
        return declared.__qualname__
    return repr(declared).replace("typing.", "")


_ENCODER = msgspec.json.Encoder(enc_hook=_dump)
_SNAPSHOTS = Snapshots(type_codec)
