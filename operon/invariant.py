"""Invariants: what must hold whenever a run commits, declared on its workflow.

A declaration costs nothing in production. The testing kit asserts it before every
COMMIT, so that the step which breaks it is the one that fails.
"""

import inspect
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from sqlalchemy.orm import Session

from operon.errors import SignatureError
from operon.signature import Shape
from operon.signature import checked_function
from operon.signature import described

Invariant = Callable[[Any, Session], object]
"""A method of a workflow that asserts; it takes the instance and a session."""

F = TypeVar("F", bound=Invariant)

_MARK = "__operon_invariant__"


def invariant(method: F, /) -> F:
    """Let the testing kit call *method* before every COMMIT of a run of its workflow.

    It asserts what must hold of the rows that the session sees, which are those that
    the COMMIT would make last. Outside the kit nobody calls it.

    Raises:
        SignatureError: It is not a plain method `(self, session)`.
    """
    plain = checked_function(method, "@invariant")
    shape = Shape(plain, method=True, session=True)
    required = [
        each
        for each in shape.signature.parameters.values()
        if each.default is inspect.Parameter.empty
    ]
    if required:
        raise SignatureError(
            described(plain),
            f"asks for {required[0].name!r}, which nobody gives an invariant",
            cure=f"define it as def {plain.__name__}(self, session: Session) -> None",
        )
    setattr(method, _MARK, True)
    return method


def invariants_of(attributes: Mapping[str, Any]) -> tuple[Invariant, ...]:
    """Return the invariants among the *attributes* of a class."""
    return tuple(each for each in attributes.values() if hasattr(each, _MARK))
