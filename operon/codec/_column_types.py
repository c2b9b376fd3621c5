"""The Python types of mapped columns, as declared or as SQLAlchemy knows them.

This file must not know how values are stored.
"""

import sys
from types import SimpleNamespace
from typing import Any
from typing import get_args
from typing import get_origin
from typing import get_type_hints

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Mapper


def column_types(mapper: Mapper[Any]) -> dict[str, list[Any]]:
    """Return the types of each column attribute of *mapper*, the best one first.

    A `Mapped[X]` annotation is better than the type that the column's SQL type
    names; where neither is known the list is empty.
    """
    return {
        prop.key: _known(mapper.class_, prop.key, prop.columns[0].type)
        for prop in mapper.column_attrs
    }


def _known(cls: type, name: str, sql_type: Any) -> list[Any]:
    """Return the types known for *name* of *cls*, which is stored as *sql_type*."""
    if isinstance(sql_type, JSON):
        return []
    known = [*_annotated(cls, name), *_python_type(sql_type)]
    return [found for found in known if found is not Any]


def _annotated(cls: type, name: str) -> list[Any]:
    """Return the X of the annotation `Mapped[X]` of *name* in *cls*, if any."""
    for base in cls.__mro__:
        annotation = vars(base).get("__annotations__", {}).get(name)
        if annotation is not None:
            hint = _resolved(annotation, base)
            is_mapped = get_origin(hint) is not None and issubclass(
                get_origin(hint), Mapped
            )
            return list(get_args(hint)[:1]) if is_mapped else []
    return []


def _resolved(annotation: Any, owner: type) -> Any:
    """Return *annotation* of the class *owner* with its names looked up, or None."""
    lone = SimpleNamespace(__annotations__={"it": annotation})
    names = vars(sys.modules[owner.__module__]) | {owner.__name__: owner}
    try:
        return get_type_hints(lone, globalns=names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - a name only the type checker sees, or worse
        return None


def _python_type(sql_type: Any) -> list[type]:
    """Return the Python type that *sql_type* says it gives, if it says so."""
    try:
        return [sql_type.python_type]
    except NotImplementedError:  # so do SQLAlchemy's types that have no one answer
        return []
