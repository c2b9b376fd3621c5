"""Telling: what errors of the work, and of Operon below it, mean to a caller."""

import re
import traceback
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import exc

from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.faults import sqlstate_of
from operon.errors import DatabaseUnavailableError
from operon.errors import ExecutorStoppedError
from operon.flask.endings import declared_status
from operon.flask.endpoint import Endpoint
from operon.flask.problem import CONTENTION
from operon.flask.problem import INVALID
from operon.flask.problem import OUTCOME_UNKNOWN
from operon.flask.problem import UNAVAILABLE
from operon.flask.problem import Kind
from operon.flask.problem import Problem

_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_SOON = {"Retry-After": "1"}
_TOO_LARGE = frozenset({"22001", "22003"})  # SQLSTATEs: text and number out of range


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
        raise unavailable(error) from error
    except ExecutorStoppedError as error:
        raise Problem(UNAVAILABLE, "The process is stopping", headers=_SOON) from error
    except Exception as error:
        status = declared_status(endpoint, error)
        if status is not None:
            raise Problem(kind_of(type(error), status), "Nothing was done") from error
        if _is_too_large(error):
            raise Problem(INVALID, "A value cannot be stored") from error
        raise


def unavailable(error: DatabaseUnavailableError) -> Problem:
    """Return what it means that the database could not be used."""
    if error.in_doubt:
        return outcome_unknown()
    cause = error.__cause__
    fault = Fault.AWAY if cause is None else classify(cause)
    kind = CONTENTION if fault in {Fault.CONFLICT, Fault.BUSY} else UNAVAILABLE
    return Problem(kind, "Nothing was done", headers=_SOON)


def outcome_unknown() -> Problem:
    """Return what is told when the answer to a COMMIT was lost."""
    detail = "Send the same again with the same key: it is not done twice"
    return Problem(OUTCOME_UNKNOWN, detail, headers=_SOON)


def trace_of(error: BaseException) -> str:
    """Return where *error* and its causes come from, for the log.

    A database quotes values in its messages, so only its code is told.
    """
    parts: list[str] = []
    each: BaseException | None = error
    while each is not None:
        said = str(each)
        if sqlstate_of(each) is not None or isinstance(each, exc.StatementError):
            said = sqlstate_of(each) or ""
        where = "".join(traceback.format_tb(each.__traceback__))
        parts.append(f"{where}{type(each).__qualname__}: {said}")
        each = each.__cause__ or (
            None if each.__suppress_context__ else each.__context__
        )
    return "\nbecause of\n".join(parts)


def _is_too_large(error: Exception) -> bool:
    """Whether a value is larger than its column; SQLite's driver has no code for it."""
    if isinstance(error, exc.DataError):
        return sqlstate_of(error) in _TOO_LARGE
    return isinstance(error, OverflowError) and "SQLite INTEGER" in str(error)


def kind_of(error: type[Exception], status: int) -> Kind:
    """Return the kind that is called like the error: `OutOfStock`, `out-of-stock`."""
    name = error.__name__.removesuffix("Error")
    return Kind(_WORD.sub("-", name).lower(), status, "Refused")
