"""What the checkers infer from `operon.run` and `operon.start`."""

from typing import Generic
from typing import TypeVar
from typing import assert_type

from sqlalchemy.orm import Session

from operon import Operon
from operon import Workflow
from operon import step
from operon import transaction

T = TypeVar("T")


class Checkout(Workflow):
    sku: str

    @step
    def reserve(self, session: Session) -> int:
        return len(self.sku)

    def run(self) -> int:
        return self.reserve()


class Keeper(Workflow, Generic[T], abstract=True):
    item: T

    def run(self) -> list[T]:
        return [self.item]


class Numbers(Keeper[int]): ...


@transaction
def register(session: Session, email: str) -> str:
    return email


def test_inference(operon: Operon) -> None:
    assert_type(operon.run(Checkout("book"), id="order-42"), int)
    assert_type(operon.run(Numbers(3)), list[int])
    assert_type(operon.run(register("a@example.org")), str)
    assert_type(operon.start(Checkout("book")).result(), int)
    assert_type(operon.start(register("a@example.org")).result(), str)
    operon.run(Checkout)  # type: ignore[arg-type]  # the class itself # pyright: ignore[reportArgumentType]
    operon.run(register)  # type: ignore[arg-type]  # not called # pyright: ignore[reportArgumentType]
