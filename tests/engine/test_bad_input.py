"""Mistakes: each is an error of the tree, early, that names the fact and the cure."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy import text
from sqlalchemy.orm import Session
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm import sessionmaker

from operon import Operon
from operon import Retry
from operon import Workflow
from operon import activity
from operon import step
from operon import transaction
from operon.errors import ConfigurationError
from operon.errors import DatabaseUnavailableError
from operon.errors import DeclarationError
from operon.errors import DuplicateNameError
from operon.errors import MisuseError
from operon.errors import OperonError
from operon.errors import SchemaError
from operon.errors import SignatureError
from tests.shop import Checkout
from tests.shop import ThreeSteps
from tests.shop import place

BRIEFLY = timedelta(milliseconds=50)
NOBODY = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"


# --- the database


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "cannot be read|not named"),
        ("nonsense", "cannot be read"),
        ("postgresql://user@host/shop", r"postgresql\+psycopg://user@host/shop"),
        ("postgres://user@host/shop", r"postgresql\+psycopg://user@host/shop"),
        ("mysql://user@host/shop", "postgresql.*sqlite"),
        ("nosuchdatabase://host/shop", "postgresql.*sqlite"),
        ("postgresql+psycopg2://user@host/shop", "postgresql.*sqlite"),
        ("postgresql+asyncpg://user@host/shop", "postgresql.*sqlite"),
        ("sqlite+aiosqlite:///shop.db", "postgresql.*sqlite"),
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file::memory:?uri=true", "in memory"),
        pytest.param(
            "sqlite:///file:x?mode=memory&cache=shared&uri=true",
            "in memory",
            marks=pytest.mark.filterwarnings(
                "ignore:Selection of the SingletonThreadPool"  # by SQLAlchemy 2.1
            ),
        ),
    ],
)
def test_a_url_that_cannot_work_is_refused_when_operon_is_made(url, said, monkeypatch):
    monkeypatch.delenv("OPERON_DATABASE_URL", raising=False)

    with pytest.raises(ConfigurationError, match=said):
        Operon(url)


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/x", "mysql://u:secret@h/x"])
def test_no_error_shows_a_password(url):
    with pytest.raises(ConfigurationError) as caught:
        Operon(url)

    assert "secret" not in str(caught.value)


def test_without_a_database_the_error_names_the_variable(monkeypatch):
    monkeypatch.delenv("OPERON_DATABASE_URL", raising=False)

    with pytest.raises(ConfigurationError, match="OPERON_DATABASE_URL"):
        Operon()


@pytest.mark.parametrize("database", [7, object(), Session, b"sqlite:///x.db"])
def test_what_is_no_database_is_refused(database):
    with pytest.raises(ConfigurationError, match="a URL, an Engine or a sessionmaker"):
        Operon(database)


def test_an_autocommit_engine_is_refused(database):
    for engine in (
        database.engine(isolation_level="AUTOCOMMIT"),
        database.engine(execution_options={"isolation_level": "AUTOCOMMIT"}),
        database.engine().execution_options(isolation_level="AUTOCOMMIT"),
    ):
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            Operon(engine)
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            Operon(sessionmaker(engine))


def test_an_engine_in_memory_is_refused():
    engine = create_engine("sqlite://")

    with pytest.raises(ConfigurationError, match=r"in memory.*file"):
        Operon(engine)
    engine.dispose()


def test_a_sessionmaker_that_could_not_commit_at_once_is_refused(database):
    engine = database.engine()
    connection = engine.connect()
    bad: list[tuple[Any, str]] = [
        (sessionmaker(), "is bound to no Engine"),
        (sessionmaker(binds={Checkout: engine}), "has binds"),
        (sessionmaker(engine, binds={Checkout: engine}), "has binds"),
        (sessionmaker(engine, twophase=True), "twophase"),
        (sessionmaker(connection), "is bound to no Engine"),
    ]
    for factory, said in bad:
        with pytest.raises(ConfigurationError, match=said):
            Operon(factory)
    connection.close()


def test_a_scoped_session_or_a_session_is_refused_with_the_cure(database):
    factory = sessionmaker(database.engine())
    with factory() as session:
        for bad in (scoped_session(factory), session):
            with pytest.raises(ConfigurationError, match="sessionmaker"):
                Operon(bad)


@pytest.mark.parametrize(
    "call",
    [
        lambda operon: operon.run(ThreeSteps("book")),
        lambda operon: operon.run(place("book")),
        lambda operon: operon.start(ThreeSteps("book")),
        lambda operon: operon.get_run("r"),
        lambda operon: operon.cancel("r"),
        lambda operon: operon.handle("r").status(),
        lambda operon: operon.handle("r").result(timedelta(seconds=5)),
        lambda operon: operon.launch(),
    ],
    ids=["run", "transact", "start", "get", "cancel", "status", "result", "launch"],
)
def test_a_database_that_is_not_there_is_an_error_once_patience_is_over(
    make_operon, call
):
    operon = make_operon(NOBODY, database_patience=BRIEFLY)

    with pytest.raises(DatabaseUnavailableError, match="call again"):
        call(operon)


def test_a_sqlite_file_in_a_folder_that_is_not_there_is_an_error(make_operon, tmp_path):
    operon = make_operon(
        f"sqlite:///{tmp_path}/none/shop.db", database_patience=BRIEFLY
    )

    with pytest.raises(OperonError, match="unable to open"):
        operon.run(ThreeSteps("book"))


@pytest.mark.parametrize("call", ["run", "transact", "start", "launch", "list"])
def test_missing_tables_are_found_at_the_first_use(make_operon, empty_database, call):
    operon = make_operon(empty_database.url, migrate="verify")
    calls: dict[str, Any] = {
        "run": lambda: operon.run(ThreeSteps("book")),
        "transact": lambda: operon.run(place("book")),
        "start": lambda: operon.start(ThreeSteps("book")),
        "launch": operon.launch,
        "list": operon.list_runs,
    }

    for _ in range(2):
        with pytest.raises(SchemaError, match="operon migrate"):
            calls[call]()


def test_tables_that_are_newer_than_the_code_are_refused(make_operon, database):
    with database.engine().begin() as connection:
        connection.execute(
            text("UPDATE operon_alembic_version SET version_num = 'operon_9999'")
        )
    operon = make_operon(database.url)

    with pytest.raises(SchemaError, match="operon_9999"):
        operon.start(ThreeSteps("book"))


@pytest.mark.parametrize(
    "options",
    [
        {"isolation": "READ UNCOMMITTED"},
        {"isolation": "serializable"},
        {"migrate": "always"},
        {"pooler": "session"},
        {"threads": 0},
        {"heartbeat": timedelta(0)},
        {"heartbeat": timedelta(seconds=9), "lease": timedelta(seconds=10)},
        {"lease": timedelta(0)},
        {"database_patience": timedelta(seconds=-1)},
        {"payload_max": 0},
        {"payload_max": -1},
    ],
    ids=str,
)
def test_a_setting_that_cannot_work_is_refused(sqlite_database, options):
    with pytest.raises(ConfigurationError, match=list(options)[-1]):
        Operon(sqlite_database.url, **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPERON_THREADS", "many"),
        ("OPERON_HEARTBEAT", "soon"),
        ("OPERON_ISOLATION", "low"),
        ("OPERON_MANAGE_SQLITE", "perhaps"),
    ],
)
def test_a_variable_that_cannot_be_read_is_refused_by_name(
    sqlite_database, monkeypatch, name, value
):
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=value):
        Operon(sqlite_database.url)


# --- what is asked to run


class Idle(Workflow, abstract=True):
    def run(self) -> None:
        pass


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: ThreeSteps, r"pass ThreeSteps\("),
        (lambda: place, r"pass place\("),
        (lambda: ThreeSteps("book").run, "pass the workflow itself"),
        (lambda: ThreeSteps("book").take, "runs only inside a run"),
        (lambda: len, "pass a Workflow instance"),
        (lambda: None, "pass a Workflow instance"),
        (lambda: "ThreeSteps", "pass a Workflow instance"),
        (lambda: create_engine, "decorate it with @transaction"),
        (lambda: Idle(), "abstract"),  # noqa: PLW0108 - made when it is asked for
    ],
)
@pytest.mark.parametrize("how", ["run", "start"])
def test_what_cannot_be_run_is_refused_with_what_to_pass(operon, how, asked, said):
    with pytest.raises((MisuseError, DeclarationError), match=said):
        getattr(operon, how)(asked())

    assert operon.list_runs() == []


def test_something_that_only_looks_like_a_workflow_is_refused(operon):
    class Looks:
        def run(self) -> int:
            return 1

    with pytest.raises(MisuseError, match="pass a Workflow instance"):
        operon.run(Looks())


def test_wrong_arguments_of_an_operation_use_no_position(operon):
    class Calls(Workflow):
        @step
        def take(self, session: Session, number: int) -> int:
            del session
            return number

        def run(self) -> int:
            with pytest.raises(TypeError, match="number"):
                self.take()  # type: ignore[call-arg]  # on purpose
            return self.take(3)

    assert operon.run(Calls(), id="r") == 3
    assert [each.position for each in operon.list_steps("r")] == [1]


# --- declarations


def test_a_workflow_without_a_body_is_refused_at_once():
    with pytest.raises(DeclarationError, match=r"no body.*def run\(self\)"):

        class Empty(Workflow):
            pass


def test_a_step_without_a_session_is_refused_at_once():
    with pytest.raises(SignatureError, match="session"):

        class Lacks(Workflow):
            @step
            def lacks(self) -> None:
                pass

            def run(self) -> None:
                pass


def test_a_transaction_without_a_session_is_refused_at_once():
    with pytest.raises(SignatureError, match="session"):

        @transaction
        def lacks() -> None:
            pass


def test_two_workflows_of_one_name_are_refused():
    class One(Workflow, name="twin"):
        def run(self) -> None:
            pass

    with pytest.raises(DuplicateNameError, match=r"One.*another name="):

        class Two(Workflow, name="twin"):
            def run(self) -> None:
                pass


def test_two_steps_of_one_name_are_refused():
    with pytest.raises(DuplicateNameError, match="'twin'"):

        class Twins(Workflow):
            @step(name="twin")
            def one(self, session: Session) -> None:
                pass

            @activity(name="twin")
            def two(self) -> None:
                pass

            def run(self) -> None:
                pass


class Unknown:
    pass


@pytest.mark.parametrize("how", ["run", "start", "launch"])
@pytest.mark.parametrize("place_of", ["field", "result", "step", "activity"])
def test_a_type_that_cannot_be_stored_is_refused_before_anything_runs(
    operon, how, place_of
):
    calls: list[Any] = []
    kinds = dict.fromkeys(("field", "result", "step", "activity"), int)
    kinds[place_of] = Unknown
    field, result, stepped, acted = kinds.values()

    class Holds(Workflow):
        value: field = 1  # type: ignore[valid-type]  # known at run time only

        @step
        def in_step(self, session: Session) -> stepped:  # type: ignore[valid-type]  # as above
            calls.append(session.info)

        @activity
        def in_activity(self) -> acted:  # type: ignore[valid-type]  # as above
            calls.append(1)

        def run(self) -> result:  # type: ignore[valid-type]  # as above
            self.in_step()

    with pytest.raises(DeclarationError, match="Unknown"):
        operon.launch() if how == "launch" else getattr(operon, how)(Holds())

    assert calls == []
    assert operon.list_runs() == []


def test_a_name_that_no_annotation_can_find_is_refused_at_the_first_use(operon):
    class Holds(Workflow):
        value: "NoSuchName" = 1  # type: ignore[name-defined]  # noqa: F821 - on purpose

        def run(self) -> None:
            pass

    with pytest.raises(DeclarationError, match="NoSuchName"):
        operon.run(Holds())


def test_a_retry_policy_that_is_no_policy_is_refused_at_once():
    with pytest.raises(DeclarationError, match="retry"):

        @activity(retry=3)  # type: ignore[call-overload]  # on purpose
        def ask() -> None:
            pass

    with pytest.raises(ConfigurationError, match="attempts"):
        Retry(attempts=0)


@pytest.mark.parametrize("options", [{"timeout": timedelta(0)}, {"timeout": 5}])
def test_a_timeout_that_is_none_is_refused_at_once(options):
    with pytest.raises(DeclarationError, match="timeout"):

        @activity(**options)
        def ask() -> None:
            pass
