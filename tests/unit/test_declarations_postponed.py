from __future__ import annotations

from dataclasses import InitVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import ClassVar
from typing import Generic
from typing import TypeVar

import pytest

from operon import registry
from operon.errors import DeclarationError
from operon.errors import SignatureError
from operon.step import step
from operon.transaction import transaction
from operon.workflow import Workflow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _registry():
    with registry.isolated():
        registry._known.clear()
        yield


def test_local_classes_resolve_although_annotations_are_texts():
    @dataclass
    class Page:
        number: int

    class Report(Workflow):
        limit: ClassVar[int] = 3
        page: Page

        @dataclass
        class Line:
            text: str

        @step
        def render(self, session: Session, page: Page) -> list[Line]: ...

        def run(self) -> Page: ...

    declared = Report.__operon__
    declared.resolve()

    assert declared.decode('{"page":{"number":3}}') == Report(Page(3))
    assert declared.result.decode('{"number":1}') == Page(1)
    assert Report.render.result.decode('[{"text":"a"}]') == [Report.Line("a")]


def test_a_class_within_a_class_within_a_function_resolves():
    class Outer:
        class Inner(Workflow):
            page: Page

            def run(self) -> Page: ...

    @dataclass
    class Page:
        number: int

    assert Outer.Inner.__operon__.decode('{"page":{"number":3}}').page == Page(3)


def test_type_parameters_resolve_in_the_subclass():
    class Parent(Workflow, Generic[T], abstract=True):
        item: T

        @step
        def keep(self, session: Session, item: T) -> dict[str, T]: ...

        def run(self) -> T | None: ...

    class Middle(Parent[list[T]], abstract=True): ...

    class Child(Middle[int]): ...

    declared = Child.__operon__
    declared.resolve()

    assert declared.decode('{"item":[1]}') == Child([1])
    assert declared.result.decode("null") is None
    assert Child([1]).keep.result.decode('{"a":[1]}') == {"a": [1]}


def test_a_transaction_s_parameters_resolve_among_local_names():
    @dataclass
    class Page:
        number: int

    @transaction
    def store(session: Session, page: Page) -> Page: ...

    store.resolve()

    assert store.decode('{"page":{"number":3}}') == store(Page(3))


def test_the_session_s_place_is_checked_once_its_annotation_resolves():
    @step
    def bad(first: int, value: str) -> None: ...

    with pytest.raises(SignatureError, match="in the session's place"):
        bad.resolve()


def test_an_init_only_field_is_seen_in_the_text():
    with pytest.raises(DeclarationError, match="is not both given and kept"):

        class Bad(Workflow):
            total: InitVar[int]

            def run(self) -> None: ...
