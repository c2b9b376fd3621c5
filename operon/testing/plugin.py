"""Fixtures for pytest, which finds them by the entry point `pytest11`.

Nothing here has threads, waits, or leaves a row behind. Everything is made, and even
imported, when a test asks for it: pytest finds this in projects that test something
else. docs/testing.md shows each. What a test asks for:

| fixture | gives |
|---|---|
| `operon_session` | a session that is rolled back; all that Operon does is part of it |
| `operon_runtime` | the Operon, bound to `operon_session` |
| `operon_clock` | the time: it passes when somebody waits, or is turned |
| `operon_activities` | fakes for activities, by name, and what was called |
| `operon_client` | Flask's test client of the application |
| `operon_token` | makes signed tokens that the application accepts |
| `operon_spans` | the spans of traces that have ended |
| `operon_database` | a database of the test's own, on which everything is committed |
| `operon_crash` | crashes at a named point of a run, or at each of its COMMITs |
| `operon_replay` | replays an exported run against today's code |

What a conftest.py overrides, as far as it has to:

| fixture | returns |
|---|---|
| `operon_runtime` | the tested Operon; by default the named one, on `operon_engine` |
| `operon_app` | the tested Flask application, on `operon_url` |
| `operon_issuer` | a `TokenIssuer` that the application trusts |
| `operon_metadata` | the application's MetaData, or several |
| `operon_migrate` | what makes all tables on an engine, such as by Alembic |
| `operon_url` | the URL of the database that is shared, because all is rolled back |
| `operon_engine` | an engine on it |
| `operon_sessions` | what makes the application's own sessions, such as `db.session` |
| `operon_hooks` | hooks that are told what happens, in a list |
"""

from __future__ import annotations  # their classes are imported by who asks for them

import warnings
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

import pytest

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from sqlalchemy import Engine
    from sqlalchemy import MetaData
    from sqlalchemy.orm import Session

    from operon import Operon
    from operon.errors import MisuseError
    from operon.hooks import Hook
    from operon.telemetry.recorded import RecordedSpans
    from operon.testing.activities import Activities
    from operon.testing.crashes import Crashes
    from operon.testing.databases import Databases
    from operon.testing.databases import OwnDatabase
    from operon.testing.driving import DrivenClock
    from operon.testing.joining import Sessions
    from operon.testing.tokens import Token
    from operon.testing.tokens import TokenIssuer

Scope = Literal["session", "package", "module", "class", "function"]

_SERVER = "operon_database_url"
_SCOPE = "operon_scope"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take where databases are made, and how long a rolled-back session lasts."""
    group = parser.getgroup("operon", "durable workflows")
    group.addoption(
        "--operon-database-url",
        dest=_SERVER,
        metavar="URL",
        help="a PostgreSQL server on which tests may create databases "
        "(default: files of SQLite's)",
    )
    parser.addini(
        _SCOPE,
        "the scope of operon_session and of what belongs to it",
        default="function",
    )


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any],
) -> Generator[None, object, object]:
    """Refuse whatever would use the runtime, whoever has made it, while it is unbound.

    A fixture that lives longer than `operon_session`, say: its rows would stay.
    """
    made = yield
    if fixturedef.argname != "operon_runtime":
        return made
    from operon import Operon

    if not isinstance(made, Operon):
        raise pytest.UsageError(
            f"operon_runtime: it returned a {type(made).__name__}; return the "
            'application\'s Operon, such as app.extensions["operon"]'
        )
    refusing = ExitStack()
    refusing.enter_context(made.refusing(_unbound))
    fixturedef.addfinalizer(refusing.close)
    return made


def _unbound() -> MisuseError:
    from operon.errors import MisuseError

    return MisuseError(
        "operon_runtime",
        "was used while no operon_session is there, so it would commit to the database "
        "that all tests share",
        cure="let the fixture that uses it ask for operon_session, or use "
        "operon_database.operon; rows that every test finds are made by "
        "operon_migrate",
    )


def _scope(fixture_name: str, config: pytest.Config) -> Scope:
    """Return how long a rolled-back session lasts."""
    del fixture_name
    scope: Scope = config.getini(_SCOPE)
    return scope


@pytest.fixture(autouse=True)
def operon_bound(request: pytest.FixtureRequest) -> None:
    """Bind the runtime, before any use, in a test that has no database of its own.

    Whoever forgets `operon_session` would otherwise be refused.
    """
    names = request.fixturenames
    if "operon_runtime" in names and "operon_database" not in names:
        request.getfixturevalue("operon_session")


@pytest.fixture(scope="session")
def operon_metadata() -> MetaData | Sequence[MetaData]:
    """The tables of the application; override it, or `operon_migrate`."""
    return ()


@pytest.fixture(scope="session")
def operon_migrate(
    operon_metadata: MetaData | Sequence[MetaData],
) -> Callable[[Engine], object]:
    """Return what makes Operon's tables and the application's."""
    from sqlalchemy import MetaData

    from operon import schema

    each = (
        [operon_metadata] if isinstance(operon_metadata, MetaData) else operon_metadata
    )

    def migrate(engine: Engine) -> None:
        schema.upgrade(engine)
        for metadata in each:
            metadata.create_all(engine)

    return migrate


@pytest.fixture(scope="session")
def operon_databases(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    """What makes databases: on a server, or as files."""
    from operon.testing.databases import Databases

    folder = tmp_path_factory.mktemp("operon")
    return Databases(folder, pytestconfig.getoption(_SERVER))


@pytest.fixture(scope="session")
def operon_template(
    operon_databases: Databases, operon_migrate: Callable[[Engine], object]
) -> Iterator[str]:
    """The URL of a database with all tables, to which nobody is connected."""
    with operon_databases.template(operon_migrate) as url:
        yield url


@pytest.fixture(scope="session")
def operon_url(operon_databases: Databases, operon_template: str) -> Iterator[str]:
    """The URL of the database of all tests that are rolled back."""
    with operon_databases.made(operon_template) as url:
        yield url


@pytest.fixture(scope="session")
def operon_engine(operon_url: str) -> Iterator[Engine]:
    """An engine on the database of all tests that are rolled back."""
    from operon.testing.databases import engine_on

    with engine_on(operon_url) as engine:
        yield engine


@pytest.fixture(scope="session")
def operon_runtime(operon_engine: Engine) -> Operon:
    """The tested Operon, not launched: that of the application, if one is named.

    `OPERON_APP`, or `app` under `[tool.operon]` in pyproject.toml, names it.
    """
    from operon import Operon
    from operon.cli.loading import load
    from operon.cli.loading import name_given
    from operon.cli.loading import operon_of

    name = name_given(None)
    if name is None:
        return Operon(operon_engine)
    return operon_of(name, load(name)).twin(operon_engine)


@pytest.fixture(scope=_scope)
def operon_clock() -> DrivenClock:
    """The time of the test."""
    from operon.testing.driving import DrivenClock

    return DrivenClock()


@pytest.fixture(scope=_scope)
def operon_hooks() -> list[Hook]:
    """What is told of what happens in the test, beside the runtime's own hooks."""
    return []


@pytest.fixture(scope=_scope)
def operon_activities() -> Activities:
    """Fakes for activities, by name, and what was called."""
    from operon.testing.activities import Activities

    return Activities()


@pytest.fixture(scope=_scope)
def operon_spans() -> RecordedSpans:
    """The spans of traces that have ended."""
    from operon.telemetry.recorded import RecordedSpans

    return RecordedSpans()


@pytest.fixture(scope=_scope)
def operon_told(
    operon_hooks: list[Hook], operon_spans: RecordedSpans
) -> Iterator[Sequence[Hook]]:
    """All hooks that are told; in the end, what the linter says of executed bodies."""
    from operon.telemetry import Spans
    from operon.testing.determinism import DeterminismWarning
    from operon.testing.determinism import ExecutedBodies

    executed = ExecutedBodies()
    yield (*operon_hooks, Spans(operon_spans.provider), executed)
    for each in executed.findings():
        warning = DeterminismWarning(str(each))
        warnings.warn_explicit(warning, None, each.filename, each.line)


@pytest.fixture(scope="session")
def operon_sessions() -> Sequence[Sessions]:
    """What makes the application's own sessions: they join the test's transaction."""
    return ()


@pytest.fixture(scope=_scope)
def operon_session(
    operon_runtime: Operon,
    operon_clock: DrivenClock,
    operon_activities: Activities,
    operon_told: Sequence[Hook],
    operon_sessions: Sequence[Sessions],
) -> Iterator[Session]:
    """A session whose transaction is rolled back; all that Operon does is part of it.

    What the test commits is a savepoint, too, so the application may commit.
    """
    from sqlalchemy.orm import Session

    from operon.testing.driving import bound_to
    from operon.testing.joining import joined

    with ExitStack() as stack:
        connection = stack.enter_context(operon_runtime.engine.connect())
        stack.callback(connection.begin().rollback)
        session = Session(connection, join_transaction_mode="create_savepoint")
        stack.callback(session.close)
        for sessions in operon_sessions:
            stack.enter_context(joined(sessions, connection))
        driver = bound_to(
            operon_runtime,
            session,
            operon_clock,
            hooks=operon_told,
            outside=operon_activities.call,
        )
        stack.enter_context(driver)
        yield session


@pytest.fixture(scope="session")
def operon_app() -> Flask:
    """The tested Flask application; override it to return yours."""
    raise pytest.UsageError(
        "operon_app: no application is given; override the fixture in conftest.py to "
        "return your Flask application, whose Operon is on operon_url, and "
        'operon_runtime to return that Operon, app.extensions["operon"]'
    )


@pytest.fixture
def operon_client(operon_app: Flask, operon_session: Session) -> FlaskClient:
    """Flask's test client; what its requests do is rolled back."""
    del operon_session  # asked for so that it is there
    return operon_app.test_client()


@pytest.fixture(scope="session")
def operon_issuer() -> TokenIssuer:
    """Who signs the tokens of the test; override it to return whom you trust."""
    from operon.testing.tokens import TokenIssuer

    return TokenIssuer()


@pytest.fixture(scope=_scope)
def operon_token(
    operon_issuer: TokenIssuer, operon_clock: DrivenClock
) -> Callable[..., Token]:
    """Return what makes tokens: `operon_token("ada", roles={"customer"})`."""
    return partial(operon_issuer.token, clock=operon_clock)


@pytest.fixture
def operon_database(
    operon_databases: Databases, operon_template: str, operon_runtime: Operon
) -> Iterator[OwnDatabase]:
    """A database of the test's own, with all tables; all is committed there."""
    from operon.testing.databases import OwnDatabase
    from operon.testing.databases import engine_on

    with operon_databases.made(operon_template) as url, engine_on(url) as engine:
        operon = operon_runtime.twin(engine)
        yield OwnDatabase(url, engine, operon)
        operon.shutdown()


@pytest.fixture
def operon_crash(
    operon_database: OwnDatabase, operon_activities: Activities
) -> Iterator[Crashes]:
    """Crashes at a named point of a run, or at each of its COMMITs.

    Runs are executed on `operon_database`.
    """
    from operon.testing.crashes import Crashes

    crasher = Crashes(operon_database.operon, operon_activities)
    yield crasher
    crasher.close()


@pytest.fixture(scope="session")
def operon_replay(
    operon_runtime: Operon,
) -> Callable[[dict[str, Any] | str | Path], None]:
    """Return what replays a bundle of `operon runs export` against today's code."""
    from operon.testing.replaying import replay

    return partial(replay, operon=operon_runtime)
