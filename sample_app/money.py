"""Amounts of money: exact on every database."""

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy import Dialect
from sqlalchemy import Numeric
from sqlalchemy import TypeDecorator
from sqlalchemy.types import TypeEngine


class Money(TypeDecorator[Decimal]):
    """An amount with two decimals; SQLite, which has no decimals, counts cents."""

    impl = Numeric(12, 2)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return what the column is on *dialect*."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(Numeric(12, 2))

    def process_bind_param(
        self, value: Decimal | None, dialect: Dialect
    ) -> Decimal | int | None:
        """Turn an amount into what the database stores."""
        if value is None or dialect.name != "sqlite":
            return value
        return int(value.scaleb(2).to_integral_value())

    def process_result_value(
        self, value: Decimal | int | None, dialect: Dialect
    ) -> Decimal | None:
        """Turn what the database stores into an amount."""
        if value is None or dialect.name != "sqlite":
            return value if value is None else Decimal(value)
        return Decimal(value).scaleb(-2)
