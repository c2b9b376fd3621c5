import gc
import weakref
from dataclasses import FrozenInstanceError
from dataclasses import dataclass
from dataclasses import field
from datetime import date
from datetime import timedelta
from typing import ClassVar
from typing import Generic
from typing import TypeVar

import pytest
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column

from operon import registry
from operon.codec import NotEncodable
from operon.codec import Undecodable
from operon.errors import DeclarationError
from operon.errors import DuplicateNameError
from operon.errors import MisuseError
from operon.errors import SignatureError
from operon.registry import find
from operon.step import step
from operon.transaction import transaction
from operon.workflow import Workflow
from operon.workflow import declaration_of

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _registry():
    with registry.isolated():
        registry._known.clear()
        yield


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    sku: Mapped[str] = mapped_column(primary_key=True)


def checkout():
    class Checkout(Workflow):
        sku: str
        quantity: int = 1
        tags: list[str] = field(default_factory=list)

        @step
        def reserve(self, session: Session) -> int: ...

        def run(self) -> int:
            return self.reserve()

    return Checkout


def test_a_subclass_is_a_frozen_dataclass_equal_by_value():
    cls = checkout()

    assert cls("book") == cls(sku="book", quantity=1, tags=[])
    assert cls("book") != cls("pen")
    assert repr(cls("book")).endswith("Checkout(sku='book', quantity=1, tags=[])")
    with pytest.raises(FrozenInstanceError):
        cls("book").sku = "pen"


def test_options_default_and_are_kept_apart_from_the_fields():
    declared = checkout().__operon__

    assert declared.key == ("Checkout", 1)
    assert (declared.queue, declared.max_recoveries) == ("default", 50)
    assert (declared.timeout, declared.roles) == (None, frozenset())
    assert declared.module == __name__
    assert declared.qualname == "checkout.<locals>.Checkout"


def test_every_option_can_be_given_and_may_also_name_a_field():
    class Order(
        Workflow,
        name="order",
        version=2,
        queue="orders",
        timeout=timedelta(hours=1),
        max_recoveries=3,
        roles={"customer"},
        ignore_unknown=True,
    ):
        name: str
        version: int
        queue: str = "front"

        def run(self) -> None: ...

    declared = Order.__operon__

    assert declared.key == ("order", 2)
    assert (declared.queue, declared.timeout) == ("orders", timedelta(hours=1))
    assert (declared.max_recoveries, declared.roles) == (3, {"customer"})
    assert Order("a", 7) == declared.decode('{"name":"a","version":7,"gone":1}')


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"version": 0},
        {"version": True},
        {"queue": ""},
        {"timeout": timedelta(0)},
        {"max_recoveries": -1},
        {"roles": "customer"},
    ],
)
def test_an_impossible_option_is_refused_by_name(options):
    (name,) = options
    with pytest.raises(DeclarationError, match=rf"Bad has {name}="):

        class Bad(Workflow, **options):
            def run(self) -> None: ...


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="retries"):

        class Bad(Workflow, retries=3):
            def run(self) -> None: ...


def test_a_workflow_is_found_by_its_key_and_a_reload_replaces_it():
    first = checkout()
    second = checkout()

    assert first is not second
    assert find("Checkout", 1) is second.__operon__


def test_a_second_class_of_another_name_or_module_is_refused():
    checkout()

    with pytest.raises(DuplicateNameError, match=r"Other.*'Checkout' and version 1"):

        class Other(Workflow, name="Checkout"):
            def run(self) -> None: ...

    with pytest.raises(DuplicateNameError, match="elsewhere"):
        type(
            "Checkout", (Workflow,), {"__module__": "elsewhere", "run": lambda self: 1}
        )


def test_input_and_result_are_stored_by_their_types():
    cls = checkout()
    declared = cls.__operon__
    order = cls("book", tags=["a"])

    assert declared.decode(declared.encode(order)) == order
    assert declared.decode('{"sku":"pen"}') == cls("pen")
    assert declared.result.decode(declared.result.encode(3, "result")) == 3
    with pytest.raises(NotEncodable, match="quantity"):
        declared.encode(cls("book", quantity="two"))
    with pytest.raises(Undecodable, match="colour"):
        declared.decode('{"sku":"pen","colour":"red"}')


def test_a_stored_input_that_the_class_refuses_is_undecodable():
    class Picky(Workflow):
        quantity: int

        def __post_init__(self):
            if self.quantity < 1:
                raise ValueError("quantity must be positive")

        def run(self) -> None: ...

    with pytest.raises(Undecodable, match="quantity must be positive"):
        Picky.__operon__.decode('{"quantity":0}')


def test_annotations_may_name_what_is_local_and_what_is_defined_later():
    class Report(Workflow):
        page: "Page"
        day: date = date(2024, 1, 1)
        date: "date" = date(2024, 1, 2)

        class Kind:
            ANY: ClassVar = 1

        @step
        def render(self, session: Session, page: "Page") -> "list[Page]": ...

        def run(self) -> "Page | None": ...

    @dataclass
    class Page:
        number: int

    declared = Report.__operon__
    declared.resolve()

    order = Report(Page(3))
    assert declared.decode(declared.encode(order)) == order
    assert declared.result.decode('{"number":1}') == Page(1)
    assert Report.render.result.decode('[{"number":1}]') == [Page(1)]


def test_the_defining_frame_is_let_go_once_annotations_are_resolved():
    class Heavy: ...

    def declare():
        heavy = Heavy()

        class Light(Workflow):
            number: "int"

            def run(self) -> "int": ...

        return Light, weakref.ref(heavy)

    light, heavy = declare()
    light.__operon__.resolve()
    gc.collect()

    assert heavy() is None


def test_an_unresolvable_annotation_names_class_and_field():
    class Lost(Workflow):
        item: "Nowhere"  # noqa: F821 - the point

        def run(self) -> None: ...

    with pytest.raises(DeclarationError, match=r"Lost.*'item'.*Nowhere.*TYPE_CHECKING"):
        Lost.__operon__.resolve()


def test_a_mapped_class_is_no_field():
    class Bad(Workflow):
        product: Product

        def run(self) -> None: ...

    with pytest.raises(DeclarationError, match=r"'product'.*mapped class"):
        Bad.__operon__.resolve()


def test_a_mixin_s_steps_and_a_base_s_fields_are_inherited():
    class Audited:
        @step
        def audit(self, session: Session, line: str) -> None: ...

    class Parent(Workflow, abstract=True):
        sku: str

    class Child(Audited, Parent):
        quantity: int = 1

        def run(self) -> str:
            return self.sku

    declared = Child.__operon__
    declared.resolve()

    assert declared.operations == {"audit": Audited.audit}
    assert declared.decode('{"sku":"book"}') == Child("book", 1)


def test_an_abstract_class_is_neither_registered_nor_startable():
    class Parent(Workflow, abstract=True):
        sku: str

    assert find("Parent", 1) is None
    with pytest.raises(DeclarationError, match=r"Parent.*cannot be started"):
        declaration_of(Parent("book"))


def test_a_generic_class_is_startable_once_its_parameters_are_bound():
    class Parent(Workflow, Generic[T]):
        item: T
        items: list[T] = field(default_factory=list)

        @step
        def keep(self, session: Session, item: T) -> T: ...

        def run(self) -> T: ...

    class Child(Parent[int]): ...

    class Open(Parent): ...

    assert find("Parent", 1) is None
    with pytest.raises(DeclarationError, match=r"Parent.*cannot be started"):
        declaration_of(Parent(3))
    declared = declaration_of(Child(3))
    declared.resolve()
    assert declared.decode('{"item":1,"items":[2]}') == Child(1, [2])
    assert declared.result.decode("1") == 1
    with pytest.raises(Undecodable):
        declared.decode('{"item":"a"}')
    with pytest.raises(SignatureError, match=r"Open.*type parameter"):
        Open.__operon__.resolve()


@transaction
def enrol(session: Session, email: str) -> int: ...


def test_what_can_be_started_has_a_declaration():
    cls = checkout()

    assert declaration_of(cls("book")) is cls.__operon__
    assert declaration_of(enrol("a@example.org")) is enrol


def test_what_cannot_be_started_is_refused_with_the_cure():
    cls = checkout()
    for mistake, cure in (
        (cls, r"pass Checkout\(…\)"),
        (enrol, r"pass enrol\(…\), without session"),
        (enrol.__wrapped__, "decorate it with @transaction"),
        (cls("book").run, "pass the workflow itself"),
        (cls("book").reserve, "pass a workflow whose body calls it"),
        (cls.reserve, "pass a workflow whose body calls it"),
        (None, "pass a Workflow instance"),
    ):
        with pytest.raises(MisuseError, match=cure):
            declaration_of(mistake)


def test_a_structural_runnable_is_refused():
    class Pretender:
        def run(self) -> int: ...

    with pytest.raises(MisuseError, match="cannot be run"):
        declaration_of(Pretender())
