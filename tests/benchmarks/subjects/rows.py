"""The business row that every subject writes, and how it is written."""

from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column

ISOLATION = "SERIALIZABLE"
"""Of every business transaction, Operon's default and DBOS's; the others' by choice."""


class Base(DeclarativeBase):
    pass


class BenchmarkOrder(Base):
    """A small row of an application."""

    __tablename__ = "benchmark_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str]
    """Whose it is: the run, or what stands for it."""
    sku: Mapped[str]
    quantity: Mapped[int]


def place(session: Session, reference: str) -> int:
    """Write one order and return its id: the work of one step."""
    order = BenchmarkOrder(reference=reference, sku="book", quantity=1)
    session.add(order)
    session.flush()
    return order.id


def create_tables(engine: Engine) -> None:
    """Create the business table, unless it is there."""
    Base.metadata.create_all(engine)
