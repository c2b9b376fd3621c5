import dataclasses
from dataclasses import InitVar
from dataclasses import dataclass
from dataclasses import field

import pytest
from sqlalchemy.orm import Session

from operon import registry
from operon.errors import DeclarationError
from operon.errors import DuplicateNameError
from operon.errors import SignatureError
from operon.step import activity
from operon.step import step
from operon.workflow import BODY_WORDS
from operon.workflow import Workflow
from operon.workflow import declaration_of


@pytest.fixture(autouse=True)
def _registry():
    with registry.isolated():
        registry._known.clear()
        yield


@pytest.mark.parametrize(
    "name", sorted(BODY_WORDS | {"__operon__", "__init_subclass__"})
)
def test_a_field_or_step_may_not_hide_a_word_of_the_body(name):
    def run(self) -> None: ...

    def hidden(self, session: Session) -> None: ...

    body = {"__module__": __name__, "run": run}
    with pytest.raises(DeclarationError, match=name):
        type("Field", (Workflow,), {**body, "__annotations__": {name: int}, name: 1})
    hidden.__qualname__ = f"Step.{name}"
    with pytest.raises(DeclarationError):
        type("Step", (Workflow,), {**body, name: step(hidden)})


def test_a_second_dataclass_decorator_is_refused_with_the_cure():
    def order():
        class Order(Workflow):
            sku: str

            def run(self) -> None: ...

        return Order

    cls = dataclass(order())

    with pytest.raises(DeclarationError, match=r"@dataclass.*remove the decorator"):
        cls.__operon__.resolve()
    with pytest.raises(DeclarationError, match="remove the decorator"):
        declaration_of(cls("book"))
    with pytest.raises(DeclarationError, match="remove the decorator"):
        dataclass(slots=True)(order())


def _mutable_default():
    class Bad(Workflow):
        tags: list[str] = []  # noqa: RUF012 - what is refused

        def run(self) -> None: ...


def _default_first():
    class Bad(Workflow):
        first: int = 1
        second: int

        def run(self) -> None: ...


def _not_given():
    class Bad(Workflow):
        total: int = field(init=False, default=0)

        def run(self) -> None: ...


def _not_kept():
    class Bad(Workflow):
        total: InitVar[int]

        def run(self) -> None: ...


def _not_kept_as_text():
    class Bad(Workflow):
        total: "dataclasses.InitVar[int]"

        def run(self) -> None: ...


def _own_init():
    class Bad(Workflow):
        def __init__(self): ...

        def run(self) -> None: ...


def _no_body():
    class Bad(Workflow):
        sku: str


@pytest.mark.parametrize(
    ("declare", "fact"),
    [
        (_mutable_default, "default_factory"),
        (_default_first, "those without a default first"),
        (_not_given, "is not both given and kept"),
        (_not_kept, "is not both given and kept"),
        (_not_kept_as_text, "is not both given and kept"),
        (_own_init, "__post_init__"),
        (_no_body, "has no body"),
    ],
)
def test_a_class_that_cannot_work_is_refused_with_the_cure(declare, fact):
    with pytest.raises(DeclarationError, match=rf"{declare.__name__}.*Bad.*{fact}"):
        declare()


def _async_body():
    async def run(self): ...

    return run


def _generator_body():
    def run(self):
        yield

    return run


def _step_body():
    @step
    def run(self, session): ...

    return run


@pytest.mark.parametrize(
    "body",
    [
        _async_body(),
        _generator_body(),
        _step_body(),
        staticmethod(lambda: 1),
        property(lambda self: 1),
        lambda self, session: 1,
        lambda: 1,
        lambda *self: 1,
    ],
)
def test_a_body_that_is_no_plain_method_of_self_alone_is_refused(body):
    with pytest.raises(SignatureError, match="run"):
        type("Bad", (Workflow,), {"__module__": __name__, "run": body})


def test_two_operations_of_one_name_are_refused_but_an_override_is_not():
    class Parent(Workflow, abstract=True):
        @step
        def reserve(self, session: Session) -> None: ...

    class Child(Parent):
        @step
        def reserve(self, session: Session) -> None: ...

        def run(self) -> None: ...

    assert Child.__operon__.operations == {"reserve": Child.reserve}
    with pytest.raises(DuplicateNameError, match="two operations named 'reserve'"):

        class Bad(Parent):
            @activity(name="reserve")
            def charge(self) -> None: ...

            def run(self) -> None: ...


def test_a_static_or_class_method_around_a_step_is_refused():
    with pytest.raises(
        SignatureError, match=r"Bad\.reserve is a static or class method"
    ):

        class Bad(Workflow):
            @staticmethod
            @step
            def reserve(one, session): ...

            def run(self) -> None: ...


def test_an_error_that_could_not_be_raised_again_is_refused_when_resolved():
    hidden = type("HiddenError", (Exception,), {"__module__": __name__})

    @step(errors=(hidden,))
    def charge(session: Session) -> None: ...

    with pytest.raises(DeclarationError, match="HiddenError"):
        charge.resolve()
