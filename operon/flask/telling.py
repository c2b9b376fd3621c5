"""Telling: what errors of the work, and of Operon below it, mean to a caller."""

import re
from collections.abc import Generator
from contextlib import contextmanager

from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.errors import DatabaseUnavailableError
from operon.errors import ExecutorStoppedError
from operon.errors import MisuseError
from operon.flask.endings import declared_status
from operon.flask.endpoint import Endpoint
from operon.flask.problem import CONTENTION
from operon.flask.problem import INVALID
from operon.flask.problem import UNAVAILABLE
from operon.flask.problem import Kind
from operon.flask.problem import Problem

_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_SOON = {"Retry-After": "1"}


@contextmanager
def told(endpoint: Endpoint) -> Generator[None, None, None]:
    """Raise the problem that an error within the block means, if it means one.

    Raises:
        Problem: The endpoint declares the error, or the database or process is away.
        Exception: Any other error: nobody has foreseen it.
    """
    try:
        yield
    except DatabaseUnavailableError as error:
        cause = error.__cause__
        fault = Fault.AWAY if cause is None else classify(cause)
        kind = CONTENTION if fault in {Fault.CONFLICT, Fault.BUSY} else UNAVAILABLE
        raise Problem(kind, "Nothing was done", headers=_SOON) from error
    except ExecutorStoppedError as error:
        raise Problem(UNAVAILABLE, "The process is stopping", headers=_SOON) from error
    except MisuseError as error:
        raise Problem(INVALID, "A value cannot be stored") from error
    except Exception as error:
        status = declared_status(endpoint, error)
        if status is None:
            raise
        raise Problem(_kind_of(error, status), "Nothing was done") from error


def _kind_of(error: Exception, status: int) -> Kind:
    """Return the kind that is called like the error: `OutOfStock`, `out-of-stock`."""
    name = type(error).__name__.removesuffix("Error")
    return Kind(_WORD.sub("-", name).lower(), status, "Refused")
