"""A small shop: the workflow that most tests of the engine run.

It is a module of its own so that child processes can import it too. The outside
world is a file to which the activity appends a line, so that its effects are
counted by nobody's database.
"""

import os
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy import ForeignKey
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column

from operon import RunCancelled
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from operon import transaction

LEDGER = "OPERON_TEST_LEDGER"
"""Environment variable: the file that stands for the outside world."""


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"

    sku: Mapped[str] = mapped_column(primary_key=True)
    stock: Mapped[int]


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"))
    quantity: Mapped[int]
    run_id: Mapped[str] = mapped_column(index=True)
    status: Mapped[str] = mapped_column(default="reserved")


class Payment(Base):
    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    reference: Mapped[str]


class OutOfStockError(Exception):
    pass


class PaymentDeclinedError(Exception):
    pass


class Checkout(Workflow):
    """Reserve, charge, settle: three operations, the middle one outside."""

    sku: str
    quantity: int = 1
    card: str = "good"

    @step
    def reserve(self, session: Session) -> int:
        product = session.get_one(Product, self.sku, with_for_update=True)
        if product.stock < self.quantity:
            raise OutOfStockError(self.sku)
        product.stock -= self.quantity
        order = Order(sku=self.sku, quantity=self.quantity, run_id=current().run_id)
        session.add(order)
        session.flush()
        return order.id

    @activity
    def charge(self, order_id: int) -> str:
        if self.card == "declined":
            raise PaymentDeclinedError(order_id)
        return happen(current().idempotency_key)

    @step
    def settle(self, session: Session, order_id: int, payment: str) -> str:
        session.add(Payment(order_id=order_id, reference=payment))
        session.get_one(Order, order_id).status = "paid"
        return payment

    @step
    def release(self, session: Session, order_id: int) -> None:
        order = session.get_one(Order, order_id)
        session.get_one(Product, order.sku).stock += order.quantity
        order.status = "cancelled"

    def run(self) -> int:
        order_id = self.reserve()
        try:
            payment = self.charge(order_id)
        except (PaymentDeclinedError, RunCancelled):
            self.release(order_id)
            raise
        self.settle(order_id, payment)
        return order_id


class ThreeSteps(Workflow):
    """Three transactional steps and nothing else."""

    sku: str

    @step
    def take(self, session: Session) -> int:
        session.get_one(Product, self.sku, with_for_update=True).stock -= 1
        order = Order(sku=self.sku, quantity=1, run_id=current().run_id)
        session.add(order)
        session.flush()
        return order.id

    @step
    def pay(self, session: Session, order_id: int) -> int:
        payment = Payment(order_id=order_id, reference=current().run_id)
        session.add(payment)
        session.flush()
        return payment.id

    @step
    def close(self, session: Session, order_id: int) -> None:
        session.get_one(Order, order_id).status = "paid"

    def run(self) -> int:
        order_id = self.take()
        self.pay(order_id)
        self.close(order_id)
        return order_id


@transaction
def place(session: Session, sku: str) -> int:
    """Write an order in one commit."""
    order = Order(sku=sku, quantity=1, run_id=current().run_id)
    session.add(order)
    session.flush()
    return order.id


def happen(what: str) -> str:
    """Let *what* happen in the outside world: once more each time it is called."""
    path = os.environ.get(LEDGER)
    if path is not None:
        with Path(path).open("a", encoding="utf-8") as ledger:
            ledger.write(f"{what}\n")
            ledger.flush()
            os.fsync(ledger.fileno())
    return f"paid {what}"


def happened(path: Path) -> list[str]:
    """Return everything that happened in the outside world, in order."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def create_shop(engine: Engine, *skus: str, stock: int = 100) -> None:
    """Create the shop's tables and put *stock* of each sku on its shelves."""
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        known = set(session.scalars(select(Product.sku)))
        session.add_all(
            Product(sku=sku, stock=stock) for sku in skus if sku not in known
        )
