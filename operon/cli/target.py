"""What a command works on: an application, or just a database.

What stands on the command line wins over the environment, the environment over
pyproject.toml; at each of them a database URL wins over an application.
"""

import os
from collections.abc import Callable
from collections.abc import Generator
from contextlib import contextmanager
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from typing import TypeVar

import click
from sqlalchemy import exc
from sqlalchemy.engine import URL

from operon.app import Operon
from operon.cli.loading import AppName
from operon.cli.loading import load
from operon.cli.loading import name_given
from operon.cli.loading import operon_of
from operon.errors import ConfigurationError
from operon.errors import DatabaseUnavailableError

F = TypeVar("F", bound=Callable[..., Any])

_META = "operon.cli."  # the prefix of our keys in click's Context.meta
_NO_APP = (
    "no application is named; give --app module:attr, set OPERON_APP, or write "
    'app = "module:attr" under [tool.operon] in pyproject.toml'
)
NO_DATABASE = (
    "no database is named; give --database-url or set OPERON_DATABASE_URL, or name "
    "the application by --app module:attr"
)


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Keep an option for `opened`; a subcommand's wins over its group's."""
    if value is not None:
        ctx.meta[f"{_META}{param.name}"] = value


def app_option(command: F) -> F:
    """Let *command* be told the application."""
    return click.option(
        "--app",
        metavar="MODULE:ATTR",
        expose_value=False,
        callback=_remember,
        help="The application: an Operon, a Flask application that has one, or "
        "module:factory() that makes it "
        "[env: OPERON_APP; pyproject.toml: tool.operon.app].",
    )(command)


def database_options(command: F) -> F:
    """Let *command* be told the database, or the application that works on it."""
    return click.option(
        "--database-url",
        metavar="URL",
        expose_value=False,
        callback=_remember,
        help="The database, if no application is needed [env: OPERON_DATABASE_URL].",
    )(app_option(command))


def find_app() -> AppName | None:
    """Return the application that is named, if one is."""
    return name_given(_given("app"))


@contextmanager
def application() -> Generator[Operon, None, None]:
    """Yield the application; its connections are closed in the end.

    Raises:
        UsageError: None is named.
        ConfigurationError: The one that is named cannot be loaded.
        ClickException: Its database cannot be used.
    """
    with _loaded(otherwise=_NO_APP) as operon:
        yield operon


def flask_application() -> Any:
    """Return the Flask application that is named, or that `flask` is called for.

    Raises:
        UsageError: None is named.
        ConfigurationError: The one that is named cannot be loaded, or is no Flask
            application.
    """
    name = find_app()
    found = _served_by_flask() if name is None else load(name)
    if name is not None and not hasattr(found, "app_context"):
        raise ConfigurationError(
            name.subject,
            f"is of type {type(found).__qualname__}, no Flask application",
            cure="name the application that serves the endpoints",
        )
    if found is None:
        raise click.UsageError(_NO_APP, click.get_current_context())
    return found


@contextmanager
def database(*, making: bool = False) -> Generator[Operon, None, None]:
    """Yield an Operon on the database that is named; it upgrades no tables.

    Args:
        making: An SQLite file that is not there is made; else it is refused.

    Raises:
        UsageError: None is named.
        ConfigurationError: Operon does not run on it.
        ClickException: It cannot be used.
    """
    url = find_url()
    if url is None:
        with _loaded(otherwise=NO_DATABASE) as operon:
            yield operon
        return
    operon = Operon(url, migrate="verify", database_patience=timedelta(0))
    if not making:
        _refuse_missing(operon.engine.url)
    with _closing(operon):
        yield operon


def find_url(*, app_first: bool = False) -> str | None:
    """Return the database's URL, if one is named and no application before it.

    Args:
        app_first: Whether an application wins over OPERON_DATABASE_URL, too.
    """
    given = _given("database_url")
    if given is not None or app_first or _given("app") is not None:
        return given
    return os.environ.get("OPERON_DATABASE_URL") or None


def is_missing(url: URL) -> bool:
    """Tell whether *url* names an SQLite file that is not there."""
    file = url.database
    if url.get_backend_name() != "sqlite" or not file or file.startswith("file:"):
        return False
    return not Path(file).exists()


def one_line(error: BaseException) -> str:
    """Return what the database said, without SQLAlchemy's additions."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


@contextmanager
def _loaded(*, otherwise: str) -> Generator[Operon, None, None]:
    """Yield the Operon of the application, within that if it is Flask's."""
    name = find_app()
    found = _served_by_flask() if name is None else load(name)
    if found is None:
        raise click.UsageError(otherwise, click.get_current_context())
    named = AppName("app", "flask", ()) if name is None else name
    operon = operon_of(named, found)
    within = nullcontext() if found is operon else found.app_context()
    with within, _closing(operon):
        yield operon


def _served_by_flask() -> Any:
    """Return the application that the `flask` command is called for, if it is."""
    info = click.get_current_context().find_root().obj  # Flask's ScriptInfo, if any
    return info.load_app() if hasattr(info, "load_app") else None


def _refuse_missing(url: URL) -> None:
    """Refuse an SQLite file that is not there: opening it would make an empty one."""
    if is_missing(url):
        raise click.ClickException(
            f"the database file {url.database!r} does not exist; check the URL, or run "
            "`operon migrate` to make it"
        )


def _unusable(operon: Operon, error: BaseException) -> click.ClickException:
    return click.ClickException(
        f"the database {operon.engine.url.render_as_string()!r} cannot be used: "
        f"{one_line(error)}; check its URL, and that it runs and lets you in"
    )


def _given(option: str) -> str | None:
    value: str | None = click.get_current_context().meta.get(f"{_META}{option}")
    return value


@contextmanager
def _closing(operon: Operon) -> Generator[Operon, None, None]:
    try:
        yield operon
    except DatabaseUnavailableError as error:
        raise _unusable(operon, error.__cause__ or error) from error
    except exc.SQLAlchemyError as error:
        raise _unusable(operon, error) from error
    finally:
        operon.shutdown()  # tells the executors what is still to be told
        operon.engine.dispose()
