"""Statements made once and handed to the driver: the hot path's few.

SQLAlchemy writes their SQL and converts their values, as everywhere. What is spared
is what it does anew for each execution: looking the statement up, the machinery of a
result, a connection's coming and going, which cost more than the statement.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import Dialect
from sqlalchemy import exc

_Converter = Callable[[Any], Any] | None


class Statement:
    """A statement, ready for the driver.

    Attributes:
        clause: The same for SQLAlchemy.
        names: The parameters that each execution gives a value.
        text: What the driver is sent.
    """

    def __init__(self, clause: Any, dialect: Dialect, names: Collection[str]) -> None:
        """Make it from *clause*, whose executions are given values for *names*."""
        self.clause = clause
        self.names = list(names)
        compiled = clause.compile(dialect=dialect, column_keys=self.names)
        self.text = str(compiled)
        self._constants = {
            name: value for name, value in compiled.params.items() if value is not None
        }
        self._to_driver: list[tuple[str, Callable[[Any], Any]]] = [
            (name, convert)
            for each, name in compiled.bind_names.items()
            if (convert := each.type.dialect_impl(dialect).bind_processor(dialect))
        ]
        self._from_driver: list[_Converter] = [
            each.type.dialect_impl(dialect).result_processor(dialect, None)
            for each in clause.exported_columns
        ]

    def rows(
        self, where: "Connection | Direct", values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Execute it with *values*; return what it returns."""
        if isinstance(where, Direct):
            return where.rows(self, values)
        return [tuple(row) for row in where.execute(self.clause, values)]

    def parameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the driver is to be given for *values*."""
        given = {**self._constants, **values}
        for name, convert in self._to_driver:
            given[name] = convert(given[name])
        return given

    def converted(self, row: Any) -> tuple[Any, ...]:
        """Return *row* as the driver gave it, in the types of the columns."""
        return tuple(
            value if convert is None else convert(value)
            for value, convert in zip(row, self._from_driver, strict=True)
        )


class Direct:
    """A connection of the driver's, in whatever transaction it is."""

    def __init__(self, driver: Any, dialect: Dialect) -> None:
        self.driver = driver
        self.dialect = dialect

    def rows(
        self, statement: Statement, values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Execute *statement* with *values*; return what it returns.

        Raises:
            DBAPIError: As SQLAlchemy would have raised it.
        """
        try:
            found = self.send(statement, values)
        except self.dialect.loaded_dbapi.Error as error:
            raise self.wrapped(error, statement.text) from error
        return [statement.converted(row) for row in found]

    def send(self, statement: Statement, values: Mapping[str, Any]) -> list[Any]:
        """Execute it by a cursor; return the rows as the driver gives them."""
        cursor = self.driver.cursor()
        given = statement.parameters(values)
        self.dialect.do_execute(cursor, statement.text, given)
        rows: list[Any] = cursor.fetchall()
        return rows

    def begin(self) -> None:
        """Begin a transaction, unless that has been done."""

    def wrapped(self, error: Any, text: str) -> BaseException:
        """Return *error* as SQLAlchemy's: it knows whether the connection is gone."""
        gone = self.dialect.is_disconnect(error, self.driver, None)
        instance: Any = exc.DBAPIError.instance
        wrapped: BaseException = instance(
            text,
            None,
            error,
            self.dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=gone,
            dialect=self.dialect,
        )
        return wrapped
