import functools
import re
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from typing import Any
from typing import Generic
from typing import TypeVar

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import scoped_session

from operon.context import entered
from operon.errors import DeclarationError
from operon.errors import NoCurrentRunError
from operon.errors import SignatureError
from operon.retry import ONCE
from operon.retry import Retry
from operon.step import Activity
from operon.step import Call
from operon.step import FunctionActivity
from operon.step import FunctionStep
from operon.step import Step
from operon.step import activity
from operon.step import step

T = TypeVar("T")


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    sku: Mapped[str] = mapped_column(primary_key=True)
    stock: Mapped[int] = mapped_column(default=0)


@dataclass
class Recorder:
    """A frame that remembers what it was asked to execute."""

    calls: list[tuple[str, Call]] = field(default_factory=list)

    def execute_step(self, call):
        self.calls.append(("step", call))
        return "stepped"

    def execute_activity(self, call):
        self.calls.append(("activity", call))
        return "acted"


class Shop:
    @step
    def reserve(self, session: Session, sku: str, quantity: int = 1) -> int:
        """Take *quantity* of *sku* from the shelf."""
        return len(sku) * quantity

    @activity(retry=Retry(attempts=3), timeout=timedelta(seconds=5), name="bill")
    def charge(self, order_id: int) -> str:
        return f"paid {order_id}"

    @step
    def stock(self, db: Session, product: Product, other: Product | None = None) -> int:
        assert product in db
        return product.stock


@step(isolation="READ COMMITTED", retry=Retry(attempts=2), errors=(ValueError,))
def audit(session: Session, line: str) -> str:
    return line


@activity
def ping(host: str) -> str:
    return host


@pytest.fixture
def recorder():
    found = Recorder()
    with entered(found):
        yield found


@pytest.fixture
def session():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as found:
        yield found
    engine.dispose()


def test_a_decorated_method_is_told_from_a_function_by_its_qualified_name():
    class Local:
        @step
        def method(self, session: Session) -> None: ...

    @step
    def function(session: Session) -> None: ...

    assert isinstance(Local.method, Step)
    assert isinstance(Shop.charge, Activity)
    assert isinstance(function, FunctionStep)
    assert isinstance(audit, FunctionStep)
    assert isinstance(ping, FunctionActivity)


def test_options_are_kept_and_default_to_one_attempt_under_the_function_s_name():
    reserve = Shop.reserve

    assert (reserve.name, reserve.kind, reserve.retry) == ("reserve", "step", ONCE)
    assert (reserve.isolation, reserve.timeout, reserve.errors) == (None, None, ())
    assert (audit.isolation, audit.errors) == ("READ COMMITTED", (ValueError,))
    assert audit.retry == Retry(attempts=2)
    assert Shop.charge.name == "bill"
    assert Shop.charge.timeout == timedelta(seconds=5)


def test_a_decorated_function_keeps_its_name_docstring_and_function():
    assert Shop.reserve.__name__ == "reserve"
    assert Shop.reserve.__doc__ == "Take *quantity* of *sku* from the shelf."
    assert Shop.reserve.__wrapped__(Shop(), None, "book", 2) == 8
    assert Shop().reserve.__wrapped__(None, "book") == 4
    assert audit.__wrapped__(None, "line") == "line"


def test_the_current_frame_executes_what_is_called(recorder):
    shop = Shop()

    assert shop.reserve("book", quantity=2) == "stepped"
    assert shop.charge(7) == "acted"
    assert audit("line") == "stepped"
    assert ping(host="a") == "acted"

    assert recorder.calls == [
        ("step", Call(Shop.reserve, shop, ("book",), {"quantity": 2})),
        ("activity", Call(Shop.charge, shop, (7,), {})),
        ("step", Call(audit, None, ("line",), {})),
        ("activity", Call(ping, None, (), {"host": "a"})),
    ]


def test_super_reaches_the_overridden_step(recorder):
    class Special(Shop):
        @step
        def reserve(self, session: Session, sku: str, quantity: int = 1) -> int:
            return super().reserve(sku, quantity)

    special = Special()
    special.reserve.__wrapped__(None, "book")

    assert recorder.calls == [("step", Call(Shop.reserve, special, ("book", 1), {}))]


@pytest.mark.parametrize(
    "call", [lambda: Shop().reserve("book"), lambda: ping("a"), lambda: audit("x")]
)
def test_a_call_outside_a_run_names_the_cure(call):
    with pytest.raises(NoCurrentRunError, match="__wrapped__"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: Shop().reserve(),
        lambda: Shop().reserve("book", session=None),
        lambda: Shop().charge(1, 2),
        lambda: Shop().charge(),
    ],
)
def test_arguments_that_do_not_fit_are_a_type_error_before_anything_runs(
    call, recorder
):
    with pytest.raises(TypeError, match=r"reserve\(\)|charge\(\)"):
        call()

    assert recorder.calls == []


def test_a_call_runs_its_function_in_the_session_it_is_given(session):
    shop = Shop()

    assert (
        Call(Shop.reserve, shop, ("book",), {"quantity": 3}).in_session(session) == 12
    )
    assert Call(audit, None, ("line",)).in_session(session) == "line"
    assert Call(Shop.charge, shop, (7,)).outside() == "paid 7"
    assert Call(ping, None, ("a",)).outside() == "a"
    assert Call(Shop.charge, shop, (7,)).subject == "activity 'bill'"


def test_a_mapped_argument_is_loaded_afresh_in_the_step_s_session(session):
    session.add(Product(sku="book", stock=1))
    session.commit()
    snapshot = session.get_one(Product, "book")
    session.expunge(snapshot)
    session.get_one(Product, "book").stock = 5
    session.commit()

    assert frozenset({"product", "other"}) == Shop.stock.mapped_parameters
    assert Call(Shop.stock, Shop(), (snapshot,)).in_session(session) == 5
    assert snapshot not in session


def test_a_new_mapped_argument_and_one_of_the_same_session_stay_what_they_are(session):
    @step
    def same(session: Session, product: Product | None) -> Any:
        return product

    new = Product(sku="pen", stock=2)

    assert Call(same, None, (new,)).in_session(session) is new
    assert Call(same, None, (None,)).in_session(session) is None
    session.add(new)
    session.flush()
    assert Call(same, None, (new,)).in_session(session) is new


def test_the_result_is_stored_by_its_annotation():
    Shop.reserve.resolve()
    Shop.reserve.resolve()

    assert Shop.reserve.result.decode(Shop.reserve.result.encode(4, "result")) == 4


def test_a_generic_step_is_stored_by_what_the_subclass_binds():
    class Keeper(Generic[T]):
        @step
        def keep(self, session: Session, item: T) -> list[T]:
            return [item]

    class Middle(Keeper[T]): ...

    class Counts(Middle[int]): ...

    class Names(Keeper[str]): ...

    assert Counts().keep.result.decode("[1]") == [1]
    assert Names().keep.result.decode('["a"]') == ["a"]
    assert Counts().keep.operation is Counts().keep.operation
    with pytest.raises(SignatureError, match="type parameter ~T"):
        Keeper().keep.resolve()


def _no_session_method():
    class Local:
        @step
        def bad(self) -> None: ...


def _no_session_function():
    @step
    def bad() -> None: ...


def _keyword_session():
    @step
    def bad(other, *, session: Session) -> None: ...


def _static():
    class Local:
        @step
        @staticmethod
        def bad(session: Session) -> None: ...


def _class_method():
    class Local:
        @activity
        @classmethod
        def bad(cls) -> None: ...


def _async():
    @step
    async def bad(session: Session) -> None: ...


def _generator():
    @activity
    def bad():
        yield 1


def _twice():
    @activity
    @step
    def bad(session: Session) -> None: ...


def _no_self():
    class Local:
        @activity
        def bad() -> None: ...  # type: ignore[misc]  # noqa: N805, RUF100 - what is refused


@pytest.mark.parametrize(
    ("declare", "fact"),
    [
        (_no_session_method, "no positional parameter for session"),
        (_no_session_function, "no positional parameter for session"),
        (_keyword_session, "no positional parameter for session"),
        (_static, "static or class method"),
        (_class_method, "static or class method"),
        (_async, "is async"),
        (_generator, "is a generator"),
        (_twice, "is already a step"),
        (_no_self, "no positional parameter for self"),
    ],
)
def test_a_function_of_the_wrong_shape_is_refused_by_name(declare, fact):
    with pytest.raises(SignatureError, match=rf"{declare.__name__}.*\.bad.*{fact}"):
        declare()


@pytest.mark.parametrize("candidate", ["reserve", 3, Shop, functools.partial(len)])
def test_what_is_no_function_is_refused(candidate):
    with pytest.raises(SignatureError, match="is not a function"):
        step(candidate)


def test_a_lambda_can_be_a_step(recorder):
    size = step(lambda _session, text: len(text))

    assert size("abc") == "stepped"
    assert Call(size, None, ("abc",)).in_session(None) == 3


@pytest.mark.parametrize("annotation", [int, str, Product, scoped_session])
def test_another_class_in_the_session_s_place_is_refused(annotation):
    def bad(first, value) -> None: ...

    bad.__annotations__["first"] = annotation

    with pytest.raises(SignatureError, match="in the session's place"):
        step(bad).resolve()


def test_the_session_is_found_by_position_whatever_its_name_and_annotation():
    class Own(Session): ...

    @step
    def plain(db, n: int) -> int:
        return n

    @step
    def own(db: Own) -> None: ...

    @step
    def hidden(db: "OnlyForTypeCheckers") -> None: ...  # noqa: F821 - cannot resolve

    for each in (plain, own, hidden):
        each.resolve()


@pytest.mark.parametrize(
    ("decorator", "options"),
    [
        (step, {"isolation": "SERIALISABLE"}),
        (step, {"retry": 3}),
        (step, {"name": ""}),
        (step, {"errors": ValueError}),
        (step, {"errors": (ValueError, KeyboardInterrupt)}),
        (activity, {"timeout": timedelta(seconds=-1)}),
        (activity, {"timeout": 5}),
    ],
)
def test_an_impossible_option_is_refused_by_name(decorator, options):
    def bad(session: Session) -> None: ...

    (name,) = options
    with pytest.raises(DeclarationError, match=rf"\.bad has {name}=") as caught:
        decorator(**options)(bad)
    assert caught.value.hint


def test_an_unresolvable_annotation_is_refused_with_the_cure():
    @step
    def bad(session: Session, item: "Nowhere") -> int: ...  # noqa: F821 - the point

    message = re.escape("annotation for 'item' that cannot be resolved")
    with pytest.raises(DeclarationError, match=rf"\.bad.*{message}.*TYPE_CHECKING"):
        bad.resolve()
