"""What the checkers make of activities: of methods and functions, and inherited."""

from datetime import timedelta
from typing import Generic
from typing import TypeVar
from typing import assert_type

from operon.retry import Retry
from operon.step import FunctionActivity
from operon.step import activity
from operon.workflow import Workflow

T = TypeVar("T")


class Pinging:
    @activity
    def ping(self, host: str) -> float:
        return len(host)


class Payment(Pinging, Workflow):
    order: int

    @activity
    def charge(self, amount: int, *, currency: str = "EUR") -> str:
        return f"{amount} {currency}"

    @activity(retry=Retry(attempts=5), timeout=timedelta(seconds=5))
    def refund(self, payment: str) -> None: ...

    def run(self) -> str:
        assert_type(self.charge(3), str)
        assert_type(self.charge(amount=3, currency="CHF"), str)
        assert_type(self.ping("host"), float)
        self.refund("p")
        self.charge()  # type: ignore[call-arg]  # one is missing # pyright: ignore[reportCallIssue]
        self.charge("3")  # type: ignore[arg-type]  # no int # pyright: ignore[reportArgumentType]
        self.refund(payment=3)  # type: ignore[arg-type]  # no str # pyright: ignore[reportArgumentType]
        return self.charge(3)


class Wider(Payment):
    @activity
    def charge(self, amount: int, note: str = "", *, currency: str = "EUR") -> str:
        assert_type(super().charge(amount, currency=currency), str)
        return note

    def run(self) -> str:
        return self.charge(3, "note")


class Narrowed(Payment):
    @activity
    def charge(self, amount: str, *, currency: str = "EUR") -> str:  # type: ignore[override]  # takes less # pyright: ignore[reportIncompatibleVariableOverride]
        return amount + currency


class Fetching(Workflow, Generic[T], abstract=True):
    @activity
    def fetch(self, key: T) -> list[T]:
        return [key]


class FetchingNumbers(Fetching[int]):
    @activity(retry=Retry(attempts=2))
    def fetch(self, key: int) -> list[int]:
        return super().fetch(key)

    def run(self) -> int:
        assert_type(self.fetch(3), list[int])
        return 1


@activity
def ping(host: str, times: int = 1) -> float:
    return len(host) * times


@activity(timeout=timedelta(seconds=1))
def clock() -> float:
    return 0.0


def test_functions() -> None:
    declared: FunctionActivity[[], float] = clock
    assert_type(ping("a", times=2), float)
    assert_type(ping(host="a"), float)
    assert_type(clock(), float)
    assert_type(declared(), float)
    ping()  # type: ignore[call-arg]  # one is missing # pyright: ignore[reportCallIssue]
    ping(3)  # type: ignore[arg-type]  # no str # pyright: ignore[reportArgumentType]
    activity(timeout=3)  # type: ignore[call-overload]  # no timedelta # pyright: ignore[reportArgumentType]
