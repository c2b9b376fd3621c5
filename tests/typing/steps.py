"""What the checkers make of steps: on methods, on functions, inherited, refused."""

from collections.abc import Callable
from typing import Any
from typing import Generic
from typing import TypeVar
from typing import assert_type

from sqlalchemy.orm import Session

from operon.retry import Retry
from operon.step import FunctionStep
from operon.step import Step
from operon.step import step
from operon.workflow import Workflow

T = TypeVar("T")


class Audited:
    @step
    def audit(self, session: Session, line: str) -> int:
        return len(line)


class Checkout(Audited, Workflow):
    sku: str
    quantity: int = 1

    @step
    def reserve(self, session: Session, quantity: int) -> int:
        return quantity

    @step(isolation="READ COMMITTED", retry=Retry(attempts=2), errors=(ValueError,))
    def settle(self, session: Session, *, order: int, note: str = "") -> str:
        return f"{order} {note}"

    @step
    def otherwise_named(self, db: Session, value: Any) -> bytes:
        return bytes(value)

    @step(name="nothing")
    def nothing(self, session: Session) -> None: ...

    def run(self) -> int:
        assert_type(self.reserve(3), int)
        assert_type(self.reserve(quantity=3), int)
        assert_type(self.settle(order=1), str)
        assert_type(self.otherwise_named("x"), bytes)
        assert_type(self.audit("line"), int)
        assert_type(self.reserve, Callable[[int], int])  # type: ignore[assert-type]  # mypy tells names apart # pyright: ignore[reportAssertTypeFailure]
        self.nothing()
        self.reserve()  # type: ignore[call-arg]  # one is missing # pyright: ignore[reportCallIssue]
        self.reserve("3")  # type: ignore[arg-type]  # no int # pyright: ignore[reportArgumentType]
        self.reserve(1, 2)  # type: ignore[call-arg]  # one too many # pyright: ignore[reportCallIssue]
        self.settle(1)  # type: ignore[call-arg]  # by keyword only # pyright: ignore[reportCallIssue]
        text: str = self.reserve(3)  # type: ignore[assignment]  # it is an int # pyright: ignore[reportAssignmentType]
        return len(text)


class Special(Checkout):
    @step
    def reserve(self, session: Session, quantity: int, note: str = "") -> bool:
        assert_type(super().reserve(quantity), int)
        return super().reserve(quantity=quantity) > len(note)

    def run(self) -> int:
        assert_type(self.reserve(3), bool)
        assert_type(self.reserve(3, note="x"), bool)
        assert_type(super().run(), int)
        return 1


class Narrowed(Checkout):
    @step
    def reserve(self, session: Session, quantity: str) -> int:  # type: ignore[override]  # takes less # pyright: ignore[reportIncompatibleVariableOverride]
        return len(quantity)


class OtherResult(Checkout):
    @step
    def reserve(self, session: Session, quantity: int) -> str:  # type: ignore[override]  # gives another # pyright: ignore[reportIncompatibleVariableOverride]
        return str(quantity)


class Keeper(Workflow, Generic[T], abstract=True):
    item: T

    @step
    def keep(self, session: Session, item: T) -> list[T]:
        return [item]

    def run(self) -> list[T]:
        return self.keep(self.item)


class Numbers(Keeper[int]):
    @step
    def keep(self, session: Session, item: int) -> list[int]:
        assert_type(super().keep(item), list[int])
        return [item]

    def total(self) -> int:
        assert_type(self.keep(3), list[int])
        assert_type(self.item, int)
        self.keep("3")  # type: ignore[arg-type]  # T is int # pyright: ignore[reportArgumentType]
        return sum(self.run())


@step
def audit(session: Session, line: str) -> int:
    return len(line)


@step(retry=Retry(attempts=2))
def anything(session: Session, value: Any, times: int = 1) -> str:
    return str(value) * times


@step
def nothing(session: Session) -> None: ...


def test_functions() -> None:
    assert_type(audit("line"), int)
    assert_type(audit(line="line"), int)
    assert_type(anything({}, times=2), str)
    nothing()
    audit()  # type: ignore[call-arg]  # one is missing # pyright: ignore[reportCallIssue]
    audit(3)  # type: ignore[arg-type]  # no str # pyright: ignore[reportArgumentType]


def test_declarations(session: Session) -> None:
    steps: list[Step[Callable[[int], int]]] = [Checkout.reserve, Special.reserve]
    declared: FunctionStep[[str], int] = audit
    assert_type(steps[0].name, str)
    assert_type(declared.retry, Retry)
    step(isolation="SERIALISABLE")  # type: ignore[call-overload]  # no such level # pyright: ignore[reportArgumentType]
    step(errors=(KeyboardInterrupt,))  # type: ignore[arg-type]  # no Exception # pyright: ignore[reportArgumentType]
    audit.__wrapped__(session, "line")


@step  # type: ignore[arg-type]  # no session # pyright: ignore[reportUntypedFunctionDecorator, reportCallIssue, reportArgumentType]
def without_session() -> None: ...
