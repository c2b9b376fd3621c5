"""Operon: durable workflows on SQLAlchemy.

A step's business rows and the checkpoint that remembers the step commit in one
transaction, so a program resumes exactly where it left off after any failure.

Modules that only declare workflows import no engine: `Operon`, and with it engine,
executor and tables, is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING
from typing import Any

from operon.bodies import Future
from operon.context import current
from operon.errors import RunCancelled
from operon.handle import Handle
from operon.invariant import invariant
from operon.queue import Queue
from operon.queue import Rate
from operon.retry import Retry
from operon.status import RunStatus
from operon.step import activity
from operon.step import step
from operon.transaction import Invocation
from operon.transaction import transaction
from operon.workflow import Workflow

if TYPE_CHECKING:
    from operon.app import Operon

__all__ = [
    "Future",
    "Handle",
    "Invocation",
    "Operon",
    "Queue",
    "Rate",
    "Retry",
    "RunCancelled",
    "RunStatus",
    "Workflow",
    "activity",
    "current",
    "invariant",
    "step",
    "transaction",
]


def __getattr__(name: str) -> Any:
    if name != "Operon":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from operon.app import Operon  # noqa: PLC0415 - on first use, as said above

    globals()[name] = Operon  # the next access does not come here
    return Operon


def __dir__() -> list[str]:
    return __all__
