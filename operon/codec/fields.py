"""The codec of named values: a workflow's input, a transaction's arguments.

One JSON object with a member for each name. This file must not know what owns
the names, nor where the text is kept.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import MISSING
from typing import Any

import msgspec

from operon.codec._refusals import NotEncodable
from operon.codec._refusals import Undecodable
from operon.codec.types import TypeCodec
from operon.codec.types import type_codec
from operon.errors import DeclarationError

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class FieldsCodec:
    """Writes and reads values by name, each by its declared type."""

    def __init__(
        self,
        fields: Mapping[str, tuple[Any, Any]],
        subject: str,
        *,
        ignore_unknown: bool = False,
        path_prefix: str = "",
    ) -> None:
        """Make the codec of *fields*, which belong to *subject*.

        Args:
            fields: Of each name the declared type and the default, or MISSING.
            subject: What declares them, such as `workflow 'checkout'`.
            ignore_unknown: Whether members of a text that have no field are dropped.
            path_prefix: What stands before the names in refusals, such as `input.`.

        Raises:
            DeclarationError: A field's type cannot be stored.
        """
        self.fields = dict(fields)
        """Of each name the declared type and the default, or MISSING."""
        self._codecs = {
            name: _field_codec(declared, f"field {name!r} of {subject}")
            for name, (declared, _) in fields.items()
        }
        self._required = {
            name for name, (_, default) in fields.items() if default is MISSING
        }
        self._ignore_unknown = ignore_unknown
        self._prefix = path_prefix

    def encode(self, values: Mapping[str, object]) -> str:
        """Return the JSON text of *values*, in the order of the fields.

        Raises:
            NotEncodable: A value would not come back, is missing or has no field.
        """
        problem = self._misfit(values.keys(), ignore_unknown=False)
        if problem is not None:
            raise NotEncodable(*problem)
        texts = {
            name: msgspec.Raw(codec.encode(values[name], self._prefix + name).encode())
            for name, codec in self._codecs.items()
            if name in values
        }
        return msgspec.json.encode(texts).decode()

    def decode(self, text: str) -> dict[str, Any]:
        """Return the values that *text* holds, by name.

        A field with a default that has no member is left out.

        Raises:
            Undecodable: A member does not fit, is missing or has no field.
        """
        members = _split(text)
        problem = self._misfit(members.keys(), ignore_unknown=self._ignore_unknown)
        if problem is not None:
            raise Undecodable(" ".join(problem))
        return {
            name: self._decoded(name, codec, members[name])
            for name, codec in self._codecs.items()
            if name in members
        }

    def _decoded(self, name: str, codec: TypeCodec, member: msgspec.Raw) -> Any:
        """Return what *codec* makes of *member*, the text of the field *name*."""
        try:
            return codec.decode(bytes(member))
        except Undecodable as error:
            raise Undecodable(f"{self._prefix}{name}: {error.reason}") from error

    def _misfit(
        self, names: AbstractSet[str], *, ignore_unknown: bool
    ) -> tuple[str, str] | None:
        """Return the path of a name missing from or unknown in *names*, and why."""
        for name in sorted(self._required - names):
            return self._prefix + name, "is missing and has no default"
        for name in sorted(names - self._codecs.keys()):
            if not ignore_unknown:
                return self._prefix + name, "is not declared"
        return None


def _field_codec(declared: Any, subject: str) -> TypeCodec:
    """Return the codec of a field's type *declared*, which is no mapped class."""
    codec = type_codec(declared, subject)
    if codec.has_mapped:
        raise DeclarationError(
            subject,
            "is declared as a mapped class, and rows are no input",
            cure="declare its primary key and load the row in a step",
        )
    return codec


def _split(text: str) -> dict[str, msgspec.Raw]:
    """Return the members of the JSON object *text*, still as texts."""
    try:
        return _MEMBERS.decode(text)
    except Exception as error:
        raise Undecodable(f"it is no JSON object: {error}") from error
