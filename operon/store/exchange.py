"""Several messages to PostgreSQL for one wait: libpq's pipeline, by way of psycopg.

What belongs to one transaction leaves in one write. Two messages on their own could be
torn apart by a process that is frozen between them, and the server would wait for the
second with the fence's lock held, which none of its timeouts counts as idle.

Source:
    PostgreSQL, "Pipeline Mode" (libpq); psycopg, "libpq wrapper module".
"""

import json
import weakref
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from datetime import timedelta
from functools import lru_cache
from itertools import count
from typing import Any

from psycopg import DataError
from psycopg import InterfaceError
from psycopg import errors
from psycopg import generators
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb
from sqlalchemy import Connection
from sqlalchemy import Dialect
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from operon.store.direct import Direct
from operon.store.direct import Statement

_FINE = {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}
_numbers = count(1)


@dataclass(frozen=True)
class Message:
    """A statement with `$1` for its first parameter; named if worth preparing."""

    text: bytes
    name: bytes = b""

    @classmethod
    def prepared(cls, text: str) -> "Message":
        """Return one that each connection parses and plans once."""
        return cls(text.encode(), b"operon_%d" % next(_numbers))


COMMIT = Message(b"COMMIT")
ALONE = (Message(b""), ())
"""What was sent before this commits by itself, whatever becomes of the rest."""


@dataclass
class _Known:
    """What is known of a connection."""

    encoding: str
    names: set[bytes] = field(default_factory=set[bytes])
    """Of the statements it has prepared."""
    is_unsure: bool = False
    """Whether they may be gone: psycopg drops all of them after a ROLLBACK."""


_connections: "weakref.WeakKeyDictionary[Any, _Known]" = weakref.WeakKeyDictionary()


def command(driver: Any, text: bytes) -> None:
    """Send *text*, which returns nothing.

    Raises:
        psycopg.Error: It was refused, or the connection is lost.
    """
    driver.pgconn.send_query(text)
    _raise_refusal(driver.wait(generators.execute(driver.pgconn)), _known(driver))


def exchange(driver: Any, *messages: tuple[Message, Sequence[Any]]) -> list[Any]:
    """Send *messages* with their parameters; return libpq's result of each.

    The server skips what follows one that it refuses, up to `ALONE`.

    Raises:
        psycopg.Error: The first refusal, or that the connection is lost.
    """
    known = _known(driver)
    if known.is_unsure:
        _ask_again(driver, known)
    pgconn, prepares = driver.pgconn, driver.prepare_threshold is not None
    ready = [
        (message, [_encoded(each, known.encoding) for each in values])
        for message, values in messages
    ]
    pgconn.enter_pipeline_mode()
    try:
        sent: list[bytes] = []
        for message, given in ready:
            sent += _send(pgconn, known, message, given, prepares=prepares)
        pgconn.pipeline_sync()
        parts = 1 + messages.count(ALONE)
        results = driver.wait(_answers(pgconn, parts))
    except BaseException:
        driver.close()  # what was answered to what is not known any more
        raise
    pgconn.exit_pipeline_mode()
    known.names.update(
        name
        for name, result in zip(sent, results, strict=False)
        if name and result.status in _FINE
    )
    _raise_refusal(results, known)
    return [result for name, result in zip(sent, results, strict=True) if not name]


def doubt_after_rollback(engine: Engine) -> None:
    """Let no connection of *engine*'s rely on what it prepared before a ROLLBACK.

    A step whose record is refused for that would be executed a second time.

    Source:
        psycopg, "Prepared statements": its cache, and the server's, end with ROLLBACK.
    """
    if not event.contains(engine, "rollback", _doubt):
        event.listen(engine, "rollback", _doubt)


def _doubt(connection: Connection) -> None:
    if connection.closed or connection.invalidated:
        return
    driver: Any = connection.connection.dbapi_connection
    if driver is None:
        return
    known = _connections.get(driver)
    if known is None or driver.info.transaction_status is TransactionStatus.IDLE:
        return  # there is nothing that psycopg would roll back
    known.is_unsure = True


def _ask_again(driver: Any, known: _Known) -> None:
    """Ask the server which of the statements are still prepared."""
    text = b"SELECT name FROM pg_prepared_statements"
    driver.pgconn.send_query(text)
    [result] = driver.wait(generators.execute(driver.pgconn))
    _raise_refusal([result], known)
    there = {result.get_value(row, 0) for row in range(result.ntuples)}
    known.names &= there
    known.is_unsure = False


class Opening(Direct):
    """A connection that is in no transaction: its first statement begins one."""

    def __init__(
        self, driver: Any, dialect: Dialect, level: str, *, read_only: bool
    ) -> None:
        super().__init__(driver, dialect)
        read = " READ ONLY" if read_only else ""
        self._begin = Message(f"BEGIN ISOLATION LEVEL {level}{read}".encode())

    def begin(self) -> None:
        """Begin the transaction without a statement."""
        try:
            command(self.driver, self._begin.text)
        except self.dialect.loaded_dbapi.Error as error:
            raise self.wrapped(error, "BEGIN") from error

    def send(self, statement: Statement, values: Mapping[str, Any]) -> list[Any]:
        """Execute BEGIN and *statement*, and return its rows."""
        sent = _sent(statement, values)
        [_, result] = exchange(self.driver, (self._begin, ()), sent)
        return _rows(self.driver, result)


class Ahead(Opening):
    """One whose first statement is a transaction by itself, right before BEGIN.

    libpq writes at the sync between them: there are two writes, and one wait. Nothing
    is torn by that, since the first is whole, and holds no lock afterwards.
    """

    def send(self, statement: Statement, values: Mapping[str, Any]) -> list[Any]:
        """Execute *statement*, then BEGIN, and return its rows."""
        sent = _sent(statement, values)
        [result, _] = exchange(self.driver, sent, ALONE, (self._begin, ()))
        return _rows(self.driver, result)


class Closing(Direct):
    """A connection whose next statement is the last of its transaction."""

    def send(self, statement: Statement, values: Mapping[str, Any]) -> list[Any]:
        """Execute *statement* and COMMIT, and return its rows."""
        sent = _sent(statement, values)
        [result, _] = exchange(self.driver, sent, (COMMIT, ()))
        return _rows(self.driver, result)


def _sent(
    statement: Statement, values: Mapping[str, Any]
) -> tuple[Message, Sequence[Any]]:
    """Return *statement* and its parameters in order."""
    message, names = _numbered(statement)
    given = statement.parameters(values)
    return message, [given[name] for name in names]


def _rows(driver: Any, result: Any) -> list[Any]:
    """Return the rows of *result* as a cursor of psycopg's would."""
    if not result.ntuples:
        return []
    loader = Transformer(driver)
    loader.set_pgresult(result, set_loaders=True)
    return loader.load_rows(0, result.ntuples, tuple)


@lru_cache(maxsize=256)
def _numbered(statement: Statement) -> tuple[Message, Sequence[str]]:
    """Return *statement* with numbered parameters, and their names in order."""
    untyped: Any = PGDialect_psycopg
    dialect = untyped(paramstyle="numeric_dollar")
    compiled = statement.clause.compile(dialect=dialect, column_keys=statement.names)
    return Message.prepared(str(compiled)), compiled.positiontup


def _known(driver: Any) -> _Known:
    known = _connections.get(driver)
    if known is None:
        known = _connections[driver] = _Known(driver.info.encoding)
    return known


def _send(
    pgconn: Any,
    known: _Known,
    message: Message,
    given: Sequence[bytes | None],
    *,
    prepares: bool,
) -> list[bytes]:
    """Send *message*; for each command, return the name it prepares, if any."""
    if message is ALONE[0]:
        pgconn.pipeline_sync()
        return []
    if not (message.name and prepares):
        pgconn.send_query_params(message.text, given)
        return [b""]
    fresh = message.name not in known.names
    if fresh:
        pgconn.send_prepare(message.name, message.text)
    pgconn.send_query_prepared(message.name, given)
    return [message.name, b""] if fresh else [b""]


def _answers(pgconn: Any, parts: int) -> Generator[Any, Any, list[Any]]:
    """Receive the results of all *parts* of the pipeline."""
    results: list[Any] = []
    while parts:
        for found in (yield from generators.fetch_many(pgconn)):
            if found.status == ExecStatus.PIPELINE_SYNC:
                parts -= 1
            else:
                results.append(found)
    return results


def _encoded(value: Any, encoding: str) -> bytes | None:
    """Return *value* as PostgreSQL reads it, of the types that Operon writes."""
    match value:
        case None:
            return None
        case str():
            data = value.encode(encoding)
            if b"\0" in data:
                raise DataError(
                    "PostgreSQL text fields cannot contain NUL (0x00) bytes"
                )
            return data
        case int():
            return b"%d" % value
        case datetime():
            return value.isoformat().encode()
        case timedelta():
            exact = f"{value.days} d {value.seconds} s {value.microseconds} us"
            return exact.encode()
        case Jsonb():
            return json.dumps(value.obj).encode(encoding)
        case _:
            raise TypeError(f"no way to send a {type(value).__name__}")


def _raise_refusal(results: Sequence[Any], known: _Known) -> None:
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            error = errors.error_from_result(result, encoding=known.encoding)
            known.is_unsure = True
            raise error
        if result.status not in _FINE:
            raise InterfaceError(f"unexpected {ExecStatus(result.status).name}")
