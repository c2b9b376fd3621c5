"""What one Operon has in one process: made at its first use, anew after a fork."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from operon import schema
from operon.codec import Payloads
from operon.config import Settings
from operon.connect import lease_of
from operon.engine.finisher import Finisher
from operon.engine.guard import guarded
from operon.engine.guard import watch
from operon.engine.services import Services
from operon.executor.executor import Executor
from operon.handle import Results
from operon.ids import new_id
from operon.store.commits import CommitWatch
from operon.store.database import Database


@dataclass(frozen=True)
class Runtime:
    """The parts that work together."""

    settings: Settings
    services: Services
    results: Results
    executor: Executor


def compose(
    engine: Engine, factory: "sessionmaker[Any]", settings: Settings
) -> Runtime:
    """Put the parts together; no thread is started and nothing is written."""
    clock, lease = settings.clock, lease_of(engine, settings)
    database = Database(
        engine,
        commits=CommitWatch(clock, 2 * lease),
        manages_sqlite=settings.manage_sqlite,
    )
    watch(database.steps)
    payloads = Payloads(settings.codec, settings.payload_warn, settings.payload_max)
    services = Services(
        database=database,
        sessions=guarded(factory),
        payloads=payloads,
        clock=clock,
        probe=settings.probe,
        executor=new_id(),
        isolation=settings.isolation,
        patience=settings.database_patience,
        lease=lease,
        code_version=settings.code_version,
        finisher=Finisher(database, clock),
    )
    results = Results(database, payloads, clock, settings.database_patience)
    executor = Executor(
        services, results, heartbeat=settings.heartbeat, threads=settings.threads
    )
    return Runtime(settings, services, results, executor)


def ensure_schema(engine: Engine, settings: Settings) -> None:
    """Upgrade or verify Operon's tables, as the settings say.

    Raises:
        SchemaError: They are missing, behind or ahead.
    """
    automatic = "auto" if engine.dialect.name == "sqlite" else "verify"
    match settings.migrate or automatic:
        case "auto":
            schema.upgrade(engine)
        case "verify":
            schema.verify(engine)
        case _:
            return
