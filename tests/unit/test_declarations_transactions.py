import re

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
from operon.retry import Retry
from operon.step import step
from operon.transaction import Transaction
from operon.transaction import transaction


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


def declare():
    @transaction
    def register(
        session: Session, email: str, age: int = 18, *, vip: bool = False
    ) -> str:
        """Register *email*."""
        return f"{email} {age} {vip} {session}"

    return register


def test_calling_a_transaction_gives_its_arguments_and_runs_nothing():
    register = declare()

    invocation = register("a@example.org", vip=True)

    assert invocation.transaction is register
    assert invocation.arguments == {"email": "a@example.org", "age": 18, "vip": True}
    assert invocation == register(email="a@example.org", vip=True)
    assert invocation != register("a@example.org")


def test_arguments_that_do_not_fit_are_a_type_error():
    with pytest.raises(TypeError, match=r"register\(\): missing"):
        declare()()


def test_the_call_of_an_invocation_runs_the_function_with_defaults_applied():
    invocation = declare()("a@example.org", vip=True)

    assert invocation.call.in_session("s") == "a@example.org 18 True s"
    assert invocation.call.subject == "transaction 'register'"
    assert invocation.transaction.__wrapped__("s", "b") == "b 18 False s"


def test_an_invocation_does_not_run_by_itself():
    with pytest.raises(MisuseError, match=r"operon\.run"):
        declare()("a@example.org").run()


def test_options_default_and_are_kept():
    register = declare()

    @transaction(
        name="report",
        version=3,
        read_only=True,
        roles=["auditor"],
        isolation="REPEATABLE READ",
        retry=Retry(attempts=2),
    )
    def total(session: Session) -> int: ...

    assert isinstance(register, Transaction)
    assert (register.key, register.kind) == (("register", 1), "transaction")
    assert (register.read_only, register.roles) == (False, frozenset())
    assert (register.queue, register.max_recoveries, register.timeout) == (
        "default",
        50,
        None,
    )
    assert register.__doc__ == "Register *email*."
    assert (total.key, total.read_only, total.roles) == (
        ("report", 3),
        True,
        {"auditor"},
    )
    assert (total.isolation, total.retry) == ("REPEATABLE READ", Retry(attempts=2))


def test_a_transaction_is_found_by_its_key_and_a_reload_replaces_it():
    declare()
    register = declare()

    assert find("register", 1) is register
    assert register.module == __name__
    with pytest.raises(DuplicateNameError, match="'register' and version 1"):

        @transaction(name="register")
        def other(session: Session) -> None: ...


def test_arguments_and_result_are_stored_by_their_types():
    register = declare()
    invocation = register("a@example.org", vip=True)

    assert register.decode(register.encode(invocation)) == invocation
    assert register.result.decode('"x"') == "x"
    with pytest.raises(NotEncodable, match="age"):
        register.encode(register("a", age="old"))
    with pytest.raises(Undecodable, match="email"):
        register.decode("{}")


def _method():
    class Local:
        @transaction
        def bad(self, session: Session) -> None: ...


def _variadic():
    @transaction
    def bad(session: Session, *names: str) -> None: ...


def _keywords():
    @transaction
    def bad(session: Session, **names: str) -> None: ...


def _step():
    @transaction
    @step
    def bad(session: Session) -> None: ...


def _twice():
    @step
    @transaction
    def bad(session: Session) -> None: ...


def _no_session():
    @transaction
    def bad() -> None: ...


@pytest.mark.parametrize(
    ("declare", "fact"),
    [
        (_method, "is a method"),
        (_variadic, "any number of arguments by *names"),
        (_keywords, "any number of arguments by **names"),
        (_step, "is already a step"),
        (_twice, "is already a transaction"),
        (_no_session, "no positional parameter for session"),
    ],
)
def test_a_function_of_the_wrong_shape_is_refused_by_name(declare, fact):
    with pytest.raises(SignatureError, match=rf"\.bad.*{re.escape(fact)}"):
        declare()


@pytest.mark.parametrize(
    "options",
    [{"roles": "auditor"}, {"version": 0}, {"isolation": "NONE"}, {"name": " "}],
)
def test_an_impossible_option_is_refused_by_name(options):
    (name,) = options
    with pytest.raises(DeclarationError, match=f"has {name}="):

        @transaction(**options)
        def bad(session: Session) -> None: ...

    assert find("bad", 1) is None


def test_a_mapped_class_is_no_argument():
    @transaction
    def bad(session: Session, product: Product) -> None: ...

    with pytest.raises(DeclarationError, match=r"'product'.*mapped class"):
        bad.resolve()
