"""Parameters: what a request has to say, read from what an endpoint's target declares.

pydantic validates every part strictly by JSON's own types and collects all flaws; its
JSON Schema is OpenAPI's. Members of the path and, of reading endpoints, of the query
are texts, so each may stand for itself or for the JSON value it spells.
"""

import json
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import MISSING
from typing import Any

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import PydanticUserError
from pydantic import TypeAdapter
from pydantic import ValidationError
from pydantic import create_model
from pydantic.errors import PydanticSchemaGenerationError
from sqlalchemy import inspect

from operon.errors import DeclarationError
from operon.flask.problem import INVALID
from operon.flask.problem import Flaw
from operon.flask.problem import Problem
from operon.flask.strict_json import MalformedJSON
from operon.flask.strict_json import escaped
from operon.flask.strict_json import is_storable
from operon.flask.strict_json import parse
from operon.flask.strict_json import unstorable
from operon.registry import Declared

_UNSTORABLE = "Text cannot hold NUL or a lone surrogate"
_MOST_TOLD = 100  # flaws; an answer is not to be longer than what was sent
_CUSTOM = {"value_error", "assertion_error"}  # their messages may quote the value


class Parameters:
    """Of one target: what comes with the path, and what with query or body."""

    def __init__(self, declared: Declared, *, in_path: Collection[str]) -> None:
        """Read what *declared* declares; its members *in_path* come with the path.

        Raises:
            DeclarationError: A member has no JSON Schema, is a mapped class, or the
                path has one that is not declared.
        """
        subject = f"{declared.name!r}"
        fields = declared.input.fields
        unknown = set(in_path) - set(fields)
        if unknown:
            raise DeclarationError(
                subject,
                f"has no {min(unknown)!r}, which the path names",
                cure="name path parameters like fields or parameters",
            )
        self.path = {
            name: adapter_of(fields[name][0], f"{name!r} of {subject}")
            for name in fields
            if name in in_path
        }
        rest = {name: each for name, each in fields.items() if name not in in_path}
        self.members = {
            name: adapter_of(hint, f"{name!r} of {subject}")
            for name, (hint, _) in rest.items()
        }
        self.required = {name for name, (_, given) in rest.items() if given is MISSING}
        self.body = _model(rest, declared.name)

    def from_body(self, path: Mapping[str, str], body: Any) -> dict[str, Any]:
        """Return the values of a request with the JSON value *body*.

        Raises:
            Problem: It does not fit; everything that is wrong is told.
        """
        values, flaws = self._from_path(path)
        strange = [Flaw(pointer, _UNSTORABLE) for pointer in unstorable(body)]
        try:
            if not strange:
                values |= _given(self.body.model_validate_json(_ascii(body)))
        except ValidationError as error:
            flaws += _flaws(error)
        _refuse(flaws + strange)
        return values

    def from_query(
        self, path: Mapping[str, str], query: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Return the values of a request whose other members are in the query.

        Raises:
            Problem: It does not fit; everything that is wrong is told.
        """
        values, flaws = self._from_path(path)
        for name, given in query.items():
            adapter, place = self.members.get(name), f"query/{escaped(name)}"
            if adapter is None:
                flaws.append(Flaw(place, "There is no such parameter"))
            elif len(given) > 1:
                flaws.append(Flaw(place, "It is given more than once"))
            else:
                flaws += _read(adapter, name, given[0], place, values)
        flaws += [
            Flaw(f"query/{escaped(name)}", "It is required")
            for name in sorted(self.required - query.keys())
        ]
        _refuse(flaws)
        return values

    def _from_path(self, path: Mapping[str, str]) -> tuple[dict[str, Any], list[Flaw]]:
        values: dict[str, Any] = {}
        flaws: list[Flaw] = []
        for name, adapter in self.path.items():
            place = f"path/{escaped(name)}"
            flaws += _read(adapter, name, str(path[name]), place, values)
        return values, flaws


def adapter_of(hint: Any, subject: str) -> TypeAdapter[Any]:
    """Return how values of the type *hint* are validated, written and described.

    Raises:
        DeclarationError: pydantic knows no schema of it, or it is a mapped class.
    """
    if isinstance(hint, type) and inspect(hint, raiseerr=False) is not None:
        raise DeclarationError(
            subject,
            f"is the mapped class {hint.__qualname__}, which the web must not see",
            cure="use a dataclass or a pydantic model that shows what is public",
        )
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
        adapter.json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise DeclarationError(
            subject,
            f"is of a type that JSON Schema cannot describe: {hint}",
            cure="use JSON's types, dataclasses or pydantic models",
        ) from error
    return adapter


def _model(fields: Mapping[str, tuple[Any, Any]], name: str) -> type[BaseModel]:
    """Return the model of an object with *fields* and no other members.

    Its attributes are numbered, so that a field may be called like a method of models.
    """
    members: dict[str, Any] = {
        f"field_{number}": (hint, _field(each, default))
        for number, (each, (hint, default)) in enumerate(fields.items())
    }
    config = ConfigDict(extra="forbid", strict=True)
    return create_model(name, __config__=config, **members)


def _field(name: str, default: object) -> Any:
    if default is MISSING:
        return Field(alias=name)
    return Field(alias=name, default_factory=lambda: None)  # the target's own is used


def _given(values: BaseModel) -> dict[str, Any]:
    """Return the members that were given, by name."""
    fields = type(values).model_fields
    return {
        str(fields[each].alias): getattr(values, each)
        for each in values.model_fields_set
    }


def _read(
    adapter: TypeAdapter[Any],
    name: str,
    text: str,
    place: str,
    values: dict[str, Any],
) -> list[Flaw]:
    """Put what *text* stands for into *values*; return what is wrong with it."""
    if not is_storable(text):
        return [Flaw(place, _UNSTORABLE)]
    try:
        values[name] = adapter.validate_json(_ascii(text), strict=True)
    except ValidationError as error:
        spelled = _spelled(text)
        if spelled is None:
            return [Flaw(place, each.detail) for each in _flaws(error)]
        try:
            values[name] = adapter.validate_json(spelled, strict=True)
        except ValidationError as second:
            return [Flaw(place, each.detail) for each in _flaws(second)]
    return []


def _spelled(text: str) -> bytes | None:
    """Return the number, truth value or null that *text* spells in JSON, if any."""
    try:
        value = parse(text.encode())
    except (MalformedJSON, UnicodeEncodeError):
        return None
    is_spelled = text == text.strip() and not isinstance(value, str | list | dict)
    return _ascii(value) if is_spelled else None


def _ascii(value: Any) -> bytes:
    return json.dumps(value).encode()


def _flaws(error: ValidationError) -> list[Flaw]:
    return list(_each_flaw(error))


def _each_flaw(error: ValidationError) -> Iterator[Flaw]:
    for each in error.errors(
        include_url=False, include_context=False, include_input=False
    ):
        pointer = "".join(f"/{escaped(part)}" for part in each["loc"])
        custom = each["type"] in _CUSTOM
        yield Flaw(pointer, "The value is not allowed" if custom else each["msg"])


def _refuse(flaws: Sequence[Flaw]) -> None:
    if flaws:
        count = len(flaws)
        detail = "One thing is wrong" if count == 1 else f"{count} things are wrong"
        raise Problem(INVALID, detail, errors=flaws[:_MOST_TOLD])
