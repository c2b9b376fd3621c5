"""Operon: durable workflows on SQLAlchemy.

A step's business rows and the checkpoint that remembers the step commit in one
transaction, so a program resumes exactly where it left off after any failure.

Modules that only declare workflows import no engine: `Operon`, and with it engine,
executor and tables, is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING

from operon.bodies import Future
from operon.context import current
from operon.errors import RunCancelled
from operon.handle import Handle
from operon.invariant import invariant
from operon.on_demand import on_demand
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


__getattr__ = on_demand(__name__, {"Operon": ".app"})


def __dir__() -> list[str]:
    return __all__
