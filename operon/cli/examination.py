"""The checks of `operon doctor`, in order: each reads, then has its facts judged."""

from collections.abc import Iterator

import click
from sqlalchemy import Connection
from sqlalchemy import Engine
from sqlalchemy import exc
from sqlalchemy.pool import QueuePool

from operon import registry
from operon import schema
from operon.app import Operon
from operon.cli import diagnosis
from operon.cli import target
from operon.cli.diagnosis import Finding
from operon.cli.diagnosis import Level
from operon.cli.diagnosis import ok
from operon.cli.diagnosis import problem
from operon.cli.loading import AppName
from operon.cli.loading import load
from operon.cli.loading import operon_of
from operon.cli.wording import count
from operon.connect import lease_of
from operon.errors import OperonError
from operon.store import doctor as store
from operon.store import explain
from operon.store.dialect import backend_of


def examine() -> Iterator[Finding]:
    """Yield what is found of the application and the database that are named.

    Raises:
        UsageError: Neither is named.
    """
    name, app = target.find_app(), None
    if name is not None:
        found, app = _examine_app(name)
        yield found
    url = target.find_url(app_first=app is not None)
    if url is not None or app is not None:
        yield from _examine_database(url, app)
    elif name is None:
        raise click.UsageError(target.NO_DATABASE, click.get_current_context())
    if app is not None and app.engine.dialect.name != "sqlite":
        yield diagnosis.pool(_capacity(app.engine), app.settings.threads)


def _examine_app(name: AppName) -> tuple[Finding, Operon | None]:
    """Load the application and resolve what it declares, as a launch would."""
    check, app = "application", None
    try:
        app = operon_of(name, load(name))
        for declared in registry.all_declared():
            declared.resolve()
    except OperonError as error:
        return _refusal(check, error), app
    known = count(len(registry.known()), "workflow")
    return ok(check, f"{name.spec} declares {known}"), app


def _examine_database(url: str | None, app: Operon | None) -> Iterator[Finding]:
    try:
        operon = Operon(url, migrate="never") if app is None or url is not None else app
    except OperonError as error:
        yield _refusal("database", error)
        return
    engine = operon.engine
    try:
        if target.is_missing(engine.url):
            yield _missing(engine)
        else:
            yield from _examine_engine(operon, app)
    except exc.SQLAlchemyError as error:
        cure = "check its URL, and that it runs and lets you in"
        where = engine.url.render_as_string()
        fact = f"{where} cannot be used: {target.one_line(error)}"
        yield problem("database", fact, cure)
    finally:
        engine.dispose()


def _missing(engine: Engine) -> Finding:
    fact = f"the file {engine.url.database!r} does not exist"
    return problem(
        "database", fact, "check the URL, or run `operon migrate` to make it"
    )


def _examine_engine(operon: Operon, app: Operon | None) -> Iterator[Finding]:
    engine = operon.engine
    with store.looking(engine) as connection:
        connection.connection  # noqa: B018 - a connection is made here, or refused
    yield ok("database", engine.url.render_as_string())
    if engine.dialect.name == "postgresql":
        steps = None if app is None else app.settings.isolation
        found = list(_examine_postgresql(engine, steps))
    else:
        found = list(_examine_sqlite(engine))
    found.append(_examine_schema(engine))
    yield from found
    unfit = {each.check for each in found if each.level is Level.PROBLEM}
    if not unfit & {"privileges", "schema"}:
        yield from _examine_work(operon)


def _examine_postgresql(engine: Engine, steps: str | None) -> Iterator[Finding]:
    with store.looking(engine) as connection:
        settings, role = store.postgresql_settings(connection), store.role(connection)
        missing = store.missing_privileges(connection, schema.VERSION_TABLE)
    yield diagnosis.postgresql_version(settings)
    yield diagnosis.writable(settings)
    yield diagnosis.isolation(settings, steps)
    yield diagnosis.idle_timeout(settings, role)
    yield diagnosis.synchronous_commit(settings)
    yield diagnosis.fsync(settings)
    yield diagnosis.privileges(missing)


def _examine_sqlite(engine: Engine) -> Iterator[Finding]:
    with store.looking(engine) as connection:
        yield diagnosis.sqlite_library(store.sqlite_version(connection))
        yield diagnosis.journal(store.sqlite_pragma(connection, "journal_mode"))
        level = int(store.sqlite_pragma(connection, "synchronous"))
        yield diagnosis.synchronous(level)


def _examine_schema(engine: Engine) -> Finding:
    try:
        with store.looking(engine) as connection, connection.begin():
            schema.verify(connection)
    except OperonError as error:
        return _refusal("schema", error)
    except exc.ProgrammingError as error:  # no right to read the version
        cure = "GRANT the privileges that are lacking"
        return problem("schema", f"cannot be read: {target.one_line(error)}", cure)
    return ok("schema", f"Operon's tables are those of revision {schema.HEAD}")


def _examine_work(operon: Operon) -> Iterator[Finding]:
    """Judge the executors and runs, which have tables to be read from."""
    engine, settings = operon.engine, operon.settings
    lease = lease_of(engine, settings)
    with store.looking(engine) as connection:
        now = store.now(connection, backend_of(engine), settings.clock)
        executors = explain.executors(connection)
        groups = store.unfinished(connection)
        plans, loads = store.plans(connection), store.loads(connection)
        version = _sqlite_version(connection)
    live = [each for each in executors if now - each.heartbeat_at <= lease]
    if version is not None:
        yield diagnosis.wal_reset(version, len(live))
    yield diagnosis.heartbeats(executors, now, lease)
    yield diagnosis.workflows(groups, live)
    yield diagnosis.schedules(plans, live)
    yield diagnosis.paused_queues(loads, now)
    yield diagnosis.dead_runs(groups)


def _sqlite_version(connection: Connection) -> str | None:
    if connection.dialect.name != "sqlite":
        return None
    return store.sqlite_version(connection)


def _capacity(engine: Engine) -> int | None:
    """Return how many connections the pool gives out at once; None is no limit."""
    pool = engine.pool
    if not isinstance(pool, QueuePool) or pool.size() == 0:
        return None
    # there is no public way to ask a pool for its configured overflow
    overflow: int = getattr(pool, "_max_overflow", 0)
    return None if overflow < 0 else pool.size() + overflow


def _refusal(check: str, error: OperonError) -> Finding:
    return problem(check, str(error).removesuffix(f"; {error.hint}"), error.hint)
