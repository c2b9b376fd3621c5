"""What the checkers make of a workflow class: its constructor, fields and options."""

from dataclasses import field
from datetime import timedelta
from typing import Any
from typing import TypeVar
from typing import assert_type

from operon.registry import Declared
from operon.registry import Runnable
from operon.workflow import Workflow
from operon.workflow import declaration_of

R = TypeVar("R")


def run(runnable: Runnable[R]) -> R:
    return runnable.run()


class Order(Workflow, name="order", version=2, timeout=timedelta(hours=1)):
    sku: str
    quantity: int = 1
    tags: list[str] = field(default_factory=list[str])

    def run(self) -> int:
        return self.quantity


class Rush(Order, roles={"customer"}, queue="rush"):
    fee: int = 0


class Bodiless(Workflow, abstract=True):
    sku: str


def test_constructors() -> None:
    order = Order("book", quantity=2, tags=["a"])
    assert_type(order, Order)
    assert_type(order.sku, str)
    assert_type(order.tags, list[str])
    assert_type(Rush("book", fee=3).quantity, int)
    Order()  # type: ignore[call-arg]  # sku is missing # pyright: ignore[reportCallIssue]
    Order(3)  # type: ignore[arg-type]  # no str # pyright: ignore[reportArgumentType]
    Order("book", colour="red")  # type: ignore[call-arg]  # no such field # pyright: ignore[reportCallIssue]
    order.sku = "pen"  # type: ignore[misc]  # frozen # pyright: ignore[reportAttributeAccessIssue]


def test_results() -> None:
    assert_type(run(Order("book")), int)
    assert_type(run(Rush("book")), int)
    run(Order)  # type: ignore[arg-type]  # the class itself # pyright: ignore[reportArgumentType]
    run(Bodiless("book"))  # type: ignore[arg-type]  # no body # pyright: ignore[reportArgumentType]


def test_declarations() -> None:
    declared: Declared = Order.__operon__
    assert_type(declared.key, tuple[str, int])
    assert_type(declared.decode("{}"), Runnable[Any])
    assert_type(declaration_of(Order("book")), Declared)


class UnknownOption(Workflow, retries=3):  # type: ignore[call-arg]  # no such option # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]
    def run(self) -> None: ...


class WrongOption(Workflow, version="2"):  # type: ignore[arg-type]  # no int # pyright: ignore[reportGeneralTypeIssues, reportArgumentType]
    def run(self) -> None: ...
