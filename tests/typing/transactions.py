"""What the checkers make of transactions and their invocations."""

from typing import TypeVar
from typing import assert_type

from sqlalchemy.orm import Session

from operon.registry import Declared
from operon.registry import Runnable
from operon.retry import Retry
from operon.transaction import Invocation
from operon.transaction import Transaction
from operon.transaction import transaction

R = TypeVar("R")


def run(runnable: Runnable[R]) -> R:
    return runnable.run()


@transaction
def register(session: Session, email: str, *, vip: bool = False) -> int:
    return len(email) + vip


@transaction(read_only=True, roles={"auditor"}, retry=Retry(attempts=2), version=2)
def total(session: Session) -> float:
    return 0.0


def test_invocations(session: Session) -> None:
    assert_type(register("a@example.org"), Invocation[int])
    assert_type(register(email="a@example.org", vip=True).run(), int)
    assert_type(run(register("a@example.org")), int)
    assert_type(run(total()), float)
    declared: Declared = register
    again: Transaction[[], float] = total
    assert_type(declared.roles, frozenset[str])
    assert_type(again.decode("{}"), Invocation[float])
    register.__wrapped__(session, "a@example.org")
    register()  # type: ignore[call-arg]  # one is missing # pyright: ignore[reportCallIssue]
    register(3)  # type: ignore[arg-type]  # no str # pyright: ignore[reportArgumentType]
    register(session, "a")  # type: ignore[call-arg, arg-type]  # without session # pyright: ignore[reportCallIssue]
    run(register)  # type: ignore[arg-type]  # not called # pyright: ignore[reportArgumentType]
    transaction(version="2")  # type: ignore[call-overload]  # no int # pyright: ignore[reportArgumentType]


@transaction  # type: ignore[arg-type]  # no session # pyright: ignore[reportArgumentType]
def without_session(email: int) -> None: ...
