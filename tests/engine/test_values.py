"""Values: what comes back is what was given, or a refusal that says where not."""

import zlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy import delete
from sqlalchemy import exc
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import relationship
from sqlalchemy.orm.exc import DetachedInstanceError

from operon import Workflow
from operon import activity
from operon import step
from operon.errors import DecodeError
from operon.errors import MisuseError
from operon.errors import OperonError
from operon.errors import ResultNotSerializableError
from operon.errors import RunDeadError
from tests.engine.facts import attempts
from tests.engine.facts import await_empty_pool
from tests.engine.facts import count
from tests.engine.facts import insert_order
from tests.engine.facts import names
from tests.engine.facts import status
from tests.engine.facts import tamper
from tests.shop import Order
from tests.shop import create_shop


class Zoo(DeclarativeBase):
    pass


class Animal(Zoo):
    __tablename__ = "animals"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="animal")
    name: Mapped[str]
    price: Mapped[Decimal | None]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("animals.id"))
    parent: Mapped["Animal | None"] = relationship(remote_side="Animal.id")

    __mapper_args__ = {  # noqa: RUF012 - SQLAlchemy's own way
        "polymorphic_on": "kind",
        "polymorphic_identity": "animal",
    }


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012 - as above


@pytest.fixture
def zoo(operon):
    Zoo.metadata.create_all(operon.engine)
    return operon


def twice(operon, workflow: type[Workflow]) -> list[Any]:
    """Return what *workflow* returns in its first pass and in a replay of all of it."""
    seen: list[Any] = []

    class Interrupted(workflow):  # type: ignore[misc, valid-type]  # any workflow will do
        def run(self) -> str:
            seen.append(super().run())
            if len(seen) == 1:
                raise KeyboardInterrupt
            return "done"

    with pytest.raises(KeyboardInterrupt):
        operon.run(Interrupted(), id="twice")
    operon.run(Interrupted(), id="twice")
    assert len(seen) == 2
    return seen


# --- mapped instances


def test_a_mapped_result_is_a_detached_snapshot_in_both_passes(zoo):
    class Buys(Workflow):
        @step
        def buy(self, session: Session) -> Animal:
            dog = Dog(name="Rex", price=Decimal("12.50"))
            session.add(dog)
            return dog

        def run(self) -> list[Any]:
            dog = self.buy()
            with pytest.raises(DetachedInstanceError):
                dog.parent  # noqa: B018 - what is asked is what raises
            return [
                type(dog),
                dog.id,
                dog.name,
                dog.price,
                dog.seen_at,
                inspect(dog).detached,
            ]

    first, second = twice(zoo, Buys)

    assert first == second
    assert first[:4] == [Dog, 1, "Rex", Decimal("12.50")]
    assert isinstance(first[4], datetime)
    assert first[5]


def test_a_snapshot_keeps_what_the_row_held_then(zoo):
    class Renames(Workflow):
        @step
        def buy(self, session: Session) -> Animal:
            animal = Animal(name="Rex")
            session.add(animal)
            return animal

        @step
        def rename(self, session: Session, animal: Animal) -> str:
            assert animal in session
            animal.name += " II"
            return animal.name

        def run(self) -> list[str]:
            animal = self.buy()
            renamed = self.rename(animal)
            return [animal.name, renamed]

    assert twice(zoo, Renames) == [["Rex", "Rex II"]] * 2
    assert count(zoo, Animal, name="Rex II") == 1


def test_what_the_body_does_to_a_snapshot_reaches_no_database(zoo):
    class Renames(Workflow):
        @step
        def buy(self, session: Session) -> Animal:
            animal = Animal(name="Rex")
            session.add(animal)
            return animal

        @step
        def look(self, session: Session, animal: Animal) -> str:
            del session
            return animal.name

        def run(self) -> str:
            animal = self.buy()
            animal.name = "Fido"
            return self.look(animal)

    assert twice(zoo, Renames) == ["Rex", "Rex"]
    assert count(zoo, Animal, name="Fido") == 0


def test_a_parameter_whose_row_is_gone_is_an_error_of_the_step(zoo):
    class Loses(Workflow):
        @step
        def buy(self, session: Session) -> Animal:
            animal = Animal(name="Rex")
            session.add(animal)
            return animal

        @step
        def lose(self, session: Session) -> None:
            session.execute(delete(Animal))

        @step
        def look(self, session: Session, animal: Animal) -> str:
            del session
            return animal.name

        def run(self) -> str:
            animal = self.buy()
            self.lose()
            return self.look(animal)

    for _ in range(2):
        with pytest.raises(exc.NoResultFound):
            zoo.run(Loses(), id="r")
    assert names(zoo, "r") == ["buy", "lose", "look"]


def test_mapped_instances_come_back_from_lists_dicts_and_optionals(zoo):
    class Lists(Workflow):
        @step
        def some(self, session: Session) -> list[Animal]:
            session.add_all([Animal(name="a"), Dog(name="b")])
            session.flush()
            return list(session.query(Animal).order_by(Animal.name))

        @step
        def named(self, session: Session) -> dict[str, Animal | None]:
            return {"a": session.query(Animal).first(), "none": None}

        @step
        def none(self, session: Session) -> Animal | None:
            return session.get(Animal, 99)

        def run(self) -> list[Any]:
            some, named = self.some(), self.named()
            found = named["a"]
            assert found is not None
            return [
                [each.name for each in some],
                found.name,
                named["none"],
                self.none(),
            ]

    assert twice(zoo, Lists) == [[["a", "b"], "a", None, None]] * 2


def test_columns_the_database_computes_are_refreshed_before_they_are_recorded(zoo):
    class Raises(Workflow):
        @step
        def raise_price(self, session: Session) -> Animal:
            animal = Animal(name="Rex", price=Decimal(10))
            session.add(animal)
            session.flush()
            animal.price = Animal.price * 2  # type: ignore[assignment]  # an expression
            return animal

        def run(self) -> str:
            return str(self.raise_price().price)

    first, second = twice(zoo, Raises)

    assert first == second
    assert Decimal(first) == 20


def test_an_instance_that_was_never_added_is_refused(zoo):
    class Forgets(Workflow):
        @step
        def forget(self, session: Session) -> Animal:
            session.add(Animal(name="kept"))
            return Animal(name="forgotten")

        def run(self) -> str:
            return self.forget().name

    with pytest.raises(ResultNotSerializableError, match="has no row"):
        zoo.run(Forgets())
    assert count(zoo, Animal) == 0


def test_a_mapped_result_that_is_not_declared_is_refused_with_the_cure(zoo):
    class Forgets(Workflow):
        @step
        def buy(self, session: Session) -> Any:
            animal = Animal(name="Rex")
            session.add(animal)
            return animal

        def run(self) -> str:
            return str(self.buy())

    with pytest.raises(ResultNotSerializableError, match=r"annotate.*Animal"):
        zoo.run(Forgets())


# --- what cannot be stored


@dataclass
class Basket:
    items: list[float]


class Unknown:
    pass


@pytest.mark.parametrize("kind", ["step", "activity", "body"])
def test_a_result_that_cannot_be_stored_is_refused_by_step_and_path(operon, kind):
    calls: list[int] = []

    class Returns(Workflow):
        @step
        def in_step(self, session: Session) -> Basket:
            calls.append(1)
            insert_order(session)
            return Basket([1.0, float("inf")])

        @activity
        def in_activity(self) -> Basket:
            calls.append(1)
            return Basket([1.0, float("inf")])

        def run(self) -> Basket:
            if kind == "step":
                return self.in_step()
            if kind == "activity":
                return self.in_activity()
            return Basket([1.0, float("inf")])

    name = "run" if kind == "body" else f"in_{kind}"
    said = []
    for _ in range(2):
        with pytest.raises(ResultNotSerializableError, match=f"{name!r}") as caught:
            operon.run(Returns(), id="r")
        said.append((caught.value.path, str(caught.value)))

    assert said[0] == said[1]
    assert said[0][0] == "result.items[1]"
    assert len(calls) == (0 if kind == "body" else 1)
    assert count(operon) == 0
    assert status(operon, "r") == "failed"
    await_empty_pool(operon)


@pytest.mark.parametrize(
    "value",
    [Unknown(), {1, object()}, float("nan"), "\ud800", (1, 2), {1: "x"}, b"x", 1 + 2j],
    ids=lambda value: type(value).__name__,
)
def test_what_no_annotation_declares_is_refused_and_the_body_may_handle_it(
    operon, value
):
    class Returns(Workflow):
        @step
        def give(self, session: Session):
            del session
            return value

        def run(self) -> str:
            try:
                self.give()
            except ResultNotSerializableError as error:
                return error.step
            return "stored"

    assert operon.run(Returns()) == "give"


def test_an_input_that_cannot_be_stored_is_refused_at_the_call(operon):
    class Takes(Workflow):
        basket: Basket

        def run(self) -> None:
            pass

    for ask in (operon.run, operon.start):
        with pytest.raises(MisuseError, match=r"Takes: .*basket\.items\[0\]"):
            ask(Takes(Basket([float("nan")])), id="r")
        with pytest.raises(MisuseError, match="basket"):
            ask(Takes("no basket"), id="r")

    assert operon.find_run("r") is None


def test_a_run_with_a_bad_result_does_not_hang_in_the_background(operon):
    class Returns(Workflow):
        def run(self) -> list[float]:
            return [float("nan")]

    operon.launch()

    with pytest.raises(ResultNotSerializableError, match=r"result\[0\]"):
        operon.start(Returns(), id="r").result()


# --- what does not decode any more


def left_after_its_first_step(operon) -> type[Workflow]:
    """Return a workflow whose run `r` was left after one of its two steps."""
    crashes = [1]

    class Left(Workflow):
        number: int = 1

        @step
        def one(self, session: Session) -> int:
            insert_order(session)
            return self.number

        @step
        def two(self, session: Session, number: int) -> int:
            insert_order(session)
            return number + 1

        def run(self) -> int:
            number = self.one()
            if crashes:
                crashes.pop()
                raise KeyboardInterrupt
            return self.two(number)

    with pytest.raises(KeyboardInterrupt):
        operon.run(Left(), id="r")
    return Left


@pytest.mark.parametrize("text", ['"x"', "{", "", "null", "1.5"])
def test_a_recorded_result_that_does_not_decode_makes_the_run_dead(operon, text):
    workflow = left_after_its_first_step(operon)
    tamper(operon, "r", 1, output=text)

    with pytest.raises(RunDeadError, match="step 'one' of run 'r'") as caught:
        operon.run(workflow(), id="r")
    assert isinstance(caught.value.__cause__, DecodeError)
    assert (status(operon, "r"), count(operon)) == ("dead", 1)

    tamper(operon, "r", 1, output="1")
    operon.resume("r")
    assert operon.run(workflow(), id="r") == 2
    assert count(operon) == 2


def test_a_recorded_error_that_does_not_decode_makes_the_run_dead(operon):
    workflow = left_after_its_first_step(operon)
    tamper(operon, "r", 1, output=None, error="{}")

    with pytest.raises(RunDeadError, match="no recorded error"):
        operon.run(workflow(), id="r")


@pytest.mark.parametrize(
    "text", ['{"number": "x"}', "{", '{"number": 1, "gone": 2}', "[]"]
)
def test_an_input_that_does_not_decode_makes_the_run_dead_until_it_is_mended(
    operon, text
):
    class Waits(Workflow):
        number: int

        def run(self) -> int:
            return self.number

    handle = operon.start(Waits(1), id="r")
    tamper(operon, "r", None, input=text)
    operon.launch()

    with pytest.raises(RunDeadError, match="input of run 'r'"):
        handle.result()
    tamper(operon, "r", None, input='{"number": 7}')
    operon.resume("r")
    assert handle.result() == 7


def test_unknown_members_are_dropped_where_the_class_says_so(operon):
    class Lenient(Workflow, ignore_unknown=True):
        number: int

        def run(self) -> int:
            return self.number

    handle = operon.start(Lenient(1), id="r")
    tamper(operon, "r", None, input='{"number": 7, "gone": 2}')
    operon.launch()

    assert handle.result() == 7


@pytest.mark.parametrize("by", ["run", "handle"])
def test_a_final_result_that_does_not_decode_is_an_error_that_names_it(operon, by):
    class Returns(Workflow):
        def run(self) -> int:
            return 1

    operon.run(Returns(), id="r")
    tamper(operon, "r", None, output='"x"')

    with pytest.raises(DecodeError, match="result of run 'r'"):
        operon.run(Returns(), id="r") if by == "run" else operon.handle("r").result()
    assert status(operon, "r") == "succeeded"
    assert operon.list_runs()[0].id == "r"


def test_a_hole_in_the_history_makes_the_run_dead(operon):
    workflow = left_after_its_first_step(operon)
    tamper(operon, "r", 1, position=2)

    with pytest.raises(RunDeadError, match="hole"):
        operon.run(workflow(), id="r")


def test_a_dead_run_does_not_keep_others_from_running(operon):
    workflow = left_after_its_first_step(operon)
    tamper(operon, "r", 1, output="{")
    operon.launch()

    assert operon.start(workflow(5), id="other").result() == 6
    with pytest.raises(RunDeadError):
        operon.handle("r").result()


# --- payloads


class Zip:
    """A payload codec: compresses."""

    name = "zip"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Zap(Zip):
    """The same under another name."""

    name = "zap"


class Whispers(Workflow):
    secret: str
    fails: bool = False

    @step
    def keep(self, session: Session) -> str:
        insert_order(session)
        if self.fails:
            raise LookupError(self.secret)
        return self.secret

    def run(self) -> str:
        return self.keep()


def stored(operon, run_id: str) -> str:
    """Return every payload stored of *run_id*, in one text."""
    run, steps = operon.get_run(run_id), operon.list_steps(run_id)
    texts = [run.input, run.output, run.error]
    texts += [text for each in steps for text in (each.output, each.error)]
    texts += [each.error for each in attempts(operon, run_id)]
    return "".join(text or "" for text in texts)


@pytest.mark.parametrize("fails", [False, True])
def test_a_payload_codec_wraps_everything_that_is_stored(make_operon, database, fails):
    operon = make_operon(database.url, codec=Zip())
    create_shop(operon.engine, "book")

    for _ in range(2):
        if fails:
            with pytest.raises(LookupError, match="hush"):
                operon.run(Whispers("hush", fails=True), id="r")
        else:
            assert operon.run(Whispers("hush"), id="r") == "hush"

    assert "hush" not in stored(operon, "r")
    assert operon.list_steps("r")[0].codec == "zip"
    assert operon.get_run("r").codec == "zip"


def test_what_was_stored_without_a_codec_is_read_with_one(
    operon, make_operon, database
):
    operon.run(Whispers("hush"), id="r")

    later = make_operon(database.url, codec=Zip())

    assert later.run(Whispers("hush"), id="r") == "hush"
    assert later.handle("r").result() == "hush"


@pytest.mark.parametrize("codec", [None, Zap()])
def test_what_needs_a_codec_that_is_not_here_is_an_error_that_names_it(
    make_operon, database, codec
):
    first = make_operon(database.url, codec=Zip())
    create_shop(first.engine, "book")
    first.run(Whispers("hush"), id="ended")
    first.start(Whispers("hush"), id="begun")

    later = make_operon(database.url, codec=codec)

    with pytest.raises(DecodeError, match="codec 'zip'"):
        later.handle("ended").result()
    with pytest.raises(RunDeadError, match="codec 'zip'"):
        later.run(Whispers("hush"), id="begun")
    first.resume("begun")
    assert first.run(Whispers("hush"), id="begun") == "hush"


@pytest.fixture
def narrow(make_operon, database):
    """An Operon that stores at most 2000 bytes at once."""
    operon = make_operon(database.url, payload_max=2000, payload_warn=1000)
    create_shop(operon.engine, "book")
    return operon


def test_an_input_that_is_too_large_is_refused_at_the_call(narrow):
    for ask in (narrow.run, narrow.start):
        with pytest.raises(MisuseError, match=r"Whispers.*payload_max is 2000"):
            ask(Whispers("x" * 3000), id="r")

    assert narrow.find_run("r") is None


@pytest.mark.parametrize("kind", ["step", "activity", "body"])
def test_a_result_that_is_too_large_is_refused_by_name(narrow, kind):
    class Returns(Workflow):
        @step
        def in_step(self, session: Session) -> str:
            insert_order(session)
            return "x" * 3000

        @activity
        def in_activity(self) -> str:
            return "x" * 3000

        def run(self) -> str:
            if kind == "step":
                return self.in_step()
            return self.in_activity() if kind == "activity" else "x" * 3000

    for _ in range(2):
        with pytest.raises(ResultNotSerializableError, match="payload_max is 2000"):
            narrow.run(Returns(), id="r")

    assert count(narrow) == 0
    assert status(narrow, "r") == "failed"


@pytest.mark.parametrize("kind", ["step", "activity", "body"])
def test_an_error_that_is_too_large_is_recorded_all_the_same(narrow, kind):
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise LookupError("x" * 3000)

    class Fails(Workflow):
        @step
        def in_step(self, session: Session) -> None:
            insert_order(session)
            fail()

        @activity
        def in_activity(self) -> None:
            fail()

        def run(self) -> None:
            if kind == "step":
                self.in_step()
            elif kind == "activity":
                self.in_activity()
            else:
                raise LookupError("x" * 3000)

    said = []
    for _ in range(2):
        with pytest.raises((LookupError, OperonError)) as caught:
            narrow.run(Fails(), id="r")
        said.append((type(caught.value), str(caught.value)))

    assert said[0] == said[1]
    assert "LookupError" in said[0][1] or said[0][0] is LookupError
    assert len(calls) == (0 if kind == "body" else 1)
    assert names(narrow, "r") == ([] if kind == "body" else [f"in_{kind}"])
    assert status(narrow, "r") == "failed"


def test_a_large_value_is_logged(narrow, caplog):
    narrow.run(Whispers("x" * 1500))

    assert any("payload_warn" in each.getMessage() for each in caplog.records)


def test_orders_are_not_touched_by_any_snapshot(operon):
    class Looks(Workflow):
        @step
        def add(self, session: Session) -> Order:
            return insert_order(session)

        @step
        def change(self, session: Session) -> None:
            session.execute(update(Order).values(status="changed"))

        def run(self) -> list[str]:
            order = self.add()
            self.change()
            return [order.status]

    assert operon.run(Looks()) == ["reserved"]
    assert count(operon, status="changed") == 1
