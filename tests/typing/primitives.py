"""What the checkers make of what a body says by `self`, and of handles."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from random import Random
from typing import Any
from typing import Never
from typing import assert_type
from uuid import UUID

from sqlalchemy.orm import Session

from operon.bodies import Future
from operon.handle import Handle
from operon.step import activity
from operon.step import step
from operon.transaction import transaction
from operon.workflow import Workflow


@dataclass
class Order:
    sku: str


class Child(Workflow):
    sku: str

    def run(self) -> Order:
        return Order(self.sku)


class Silent(Workflow):
    def run(self) -> None: ...


@activity
def double(number: int) -> int:
    return 2 * number


@step
def note(session: Session, what: str, *, loud: bool = False) -> str:
    return what


@transaction
def register(session: Session, email: str) -> int:
    return len(email)


class Parent(Workflow):
    @activity
    def charge(self, amount: int, *, currency: str = "EUR") -> str:
        return f"{amount} {currency}"

    @step
    def reserve(self, session: Session, sku: str) -> Order:
        session.flush()
        return Order(sku)

    @step
    def release(self, session: Session) -> None: ...

    def run(self) -> Order:
        self.children()
        self.spawned()
        self.waiting("r")
        self.marks()
        return self.call(Child("book"))

    def children(self) -> None:
        assert_type(self.start(Child("book")), Handle[Order])
        assert_type(self.start(Child("book"), id="c", queue="q"), Handle[Order])
        assert_type(self.start(Child("book")).result(), Order)
        assert_type(self.start(Silent()), Handle[None])
        assert_type(self.call(Child("book")), Order)
        assert_type(self.start(register("a@example.org")), Handle[int])
        assert_type(self.call(register("a@example.org")), int)
        self.start(Child)  # type: ignore[arg-type]  # the class itself # pyright: ignore[reportArgumentType]
        self.call(3)  # type: ignore[arg-type]  # no workflow # pyright: ignore[reportArgumentType]
        self.start(Child("book"), on_conflict="join")  # type: ignore[arg-type]  # no such policy # pyright: ignore[reportArgumentType]
        self.start(Child("book"), delay=3)  # type: ignore[arg-type]  # no duration # pyright: ignore[reportArgumentType]

    def spawned(self) -> None:
        charged = self.spawn(self.charge, 7, currency="USD")
        reserved = self.spawn(self.reserve, "book")
        assert_type(charged, Future[str])
        assert_type(reserved, Future[Order])
        assert_type(self.spawn(self.release), Future[None])
        assert_type(self.spawn(double, 4), Future[int])
        assert_type(self.spawn(note, "a", loud=True), Future[str])
        assert_type(charged.result(), str)
        assert_type(self.gather(charged), tuple[str])
        assert_type(self.gather(charged, reserved), tuple[str, Order])
        three = self.gather(charged, reserved, self.spawn(double, 1))
        assert_type(three, tuple[str, Order, int])
        four = self.gather(charged, reserved, self.spawn(double, 1), charged)
        assert_type(four, tuple[str, Order, int, str])
        many = [self.spawn(double, number) for number in range(9)]
        assert_type(self.gather(*many), tuple[int, ...])
        self.spawn(self.charge)  # type: ignore[call-arg]  # amount is missing # pyright: ignore[reportCallIssue]
        self.spawn(self.charge, "7")  # type: ignore[arg-type]  # no int # pyright: ignore[reportArgumentType]
        self.spawn(self.charge, 7, 8)  # type: ignore[call-arg, arg-type]  # too many # pyright: ignore[reportCallIssue]
        self.spawn(self.charge(7))  # type: ignore[arg-type]  # it was called # pyright: ignore[reportArgumentType, reportCallIssue]
        self.gather(7)  # type: ignore[call-overload]  # no future # pyright: ignore[reportCallIssue, reportArgumentType]

    def waiting(self, run: str | Handle[Any]) -> None:
        assert_type(self.receive("approved", type=Order), Order | None)
        assert_type(self.receive("approved", type=bool), bool | None)
        soon = timedelta(hours=1)
        assert_type(self.receive("approved", type=int, timeout=soon), int | None)
        assert_type(self.receive("approved"), Any)
        assert_type(self.event(run, "progress", type=int), int | None)
        assert_type(self.event("r", "progress", type=Order), Order | None)
        assert_type(self.event(run, "progress", timeout=soon), Any)
        self.sleep(soon)
        self.send(run, "approved", Order("book"), idempotency_key="k")
        self.publish("progress", 7)
        self.write("log", "line")
        self.receive("approved", timeout=3)  # type: ignore[call-overload]  # no duration # pyright: ignore[reportArgumentType]
        self.sleep(3)  # type: ignore[arg-type]  # no duration # pyright: ignore[reportArgumentType]
        self.sleep_until("tomorrow")  # type: ignore[arg-type]  # no moment # pyright: ignore[reportArgumentType]

    def marks(self) -> None:
        assert_type(self.now(), datetime)
        assert_type(self.uuid(), UUID)
        assert_type(self.random(), Random)
        assert_type(self.patched("name"), bool)
        self.annotate(customer="c", number=7)
        self.annotate({"customer": "c"})  # type: ignore[call-arg]  # by keyword # pyright: ignore[reportCallIssue]


class Loop(Workflow):
    number: int = 0

    def run(self) -> int:
        if self.number < 3:
            self.continue_as(Loop(self.number + 1))
        return self.number  # reachable: only the branch above ends


class Forever(Workflow):
    def run(self) -> Never:
        self.continue_as(Forever())


def test_handles(handle: Handle[Order]) -> None:
    assert_type(handle.result(), Order)
    assert_type(handle.result(timedelta(seconds=1)), Order)
    assert_type(handle.event("progress", type=int), int | None)
    assert_type(handle.event("progress"), Any)
    assert_type(handle.events(), dict[str, Any])
    assert_type(handle.stream("log", type=str), Iterator[str])
    assert_type(handle.stream("log", type=Order, offset=3), Iterator[Order])
    assert_type(handle.stream("log"), Iterator[Any])
    assert_type(handle.fork(from_position=2), Handle[Order])
    handle.result(3)  # type: ignore[arg-type]  # no duration # pyright: ignore[reportArgumentType]
    handle.fork(2)  # type: ignore[call-arg]  # by keyword # pyright: ignore[reportCallIssue]
