"""Playing a bundle: today's body against the recorded history.

It is what recovery does: the run is activated as a claimed one (`execution.activate`)
and its body played (`body.play`), with the same checks. But it is claimed by nobody,
there is no database to connect to, and where the history ends the engine executes
nothing (`Services.executes`).
"""

from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from functools import partial
from typing import Any
from typing import NoReturn
from typing import cast

import msgspec
from msgspec import UNSET
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from operon.clock import SystemClock
from operon.codec import Payloads
from operon.codec import Undecodable
from operon.config import Settings
from operon.engine.body import play as play_body
from operon.engine.execution import Recollection
from operon.engine.execution import activate
from operon.engine.finisher import Finisher
from operon.engine.flow import Continued
from operon.engine.flow import MustDie
from operon.engine.flow import Unrecorded
from operon.engine.guard import guarded
from operon.engine.outcome import rebuilt
from operon.engine.run import ActiveRun
from operon.engine.services import Services
from operon.errors import DecodeError
from operon.errors import MisuseError
from operon.errors import RunDeadError
from operon.handle import Controls
from operon.handle import Handle
from operon.hooks import Hooks
from operon.points import unobserved
from operon.registry import Declared
from operon.replay.arguments import Arguments
from operon.replay.bundle import Bundle
from operon.replay.bundle import Checkpoint
from operon.replay.bundle import Payload
from operon.replay.bundle import Pending
from operon.replay.bundle import text_of
from operon.replay.redaction import Redaction
from operon.replay.witness import Asked
from operon.replay.witness import Witness
from operon.store.checkpoints import Record
from operon.store.claims import Claimed
from operon.store.commits import CommitWatch
from operon.store.database import Database
from operon.store.finishes import Finish

Ending = Finish | Continued | Unrecorded
"""How a replay ends: as the body did, or where its history does."""

_NOBODY = "replay"


@dataclass(frozen=True)
class Played:
    """What came of a replay that found nothing wrong."""

    ending: Ending
    asked: Mapping[int, Asked]
    """What the body asked for, by position."""
    left_open: Sequence[Asked]
    """What it spawned and has no outcome."""
    redacted: frozenset[str] = frozenset()
    """The names of the fields that were redacted in what it asked with."""


def play(bundle: Bundle, declared: Declared, settings: Settings) -> Played:
    """Play the body of *declared* against the history in *bundle*.

    Raises:
        NonDeterminismError: The body does not do what its history says it did.
        DecodeError: A recorded value does not fit today's types.
        OperonError: The run cannot go on with this code for another reason.
    """
    declared.resolve()
    engine = create_engine("sqlite:///no-database", creator=_refuse_database)
    clock = _StoppedClock(_moment(bundle))
    watch = CommitWatch(clock, timedelta.max)
    with closing(Database(engine, commits=watch)) as database:
        services = _services(settings, database, clock)
        history = [each.record() for each in bundle.checkpoints]
        try:
            return _played(services, declared, bundle, history)
        except MustDie as death:
            raise death.error from None
        finally:
            engine.dispose()


def _played(
    services: Services, declared: Declared, bundle: Bundle, history: list[Record]
) -> Played:
    """Activate the run as a claim of it would, and play its body."""
    run = activate(services, declared, _claimed(bundle), Recollection(history))
    if run.problem is not None:
        raise MustDie(_reason(run, run.problem))
    redaction = Redaction(bundle.redacted.names)
    clean = partial(_cleaned, redaction)
    witness = Witness(run, noted_of(bundle, services.payloads), clean=clean)
    ending: Ending
    try:
        ending = play_body(run, lambda _: witness)
    except (Continued, Unrecorded) as flow:
        ending = flow
    except SystemExit as error:
        raise RunDeadError(run.run_id, "its body raised SystemExit") from error
    fields = frozenset(redaction.fields)
    return Played(ending, witness.asked, witness.left_open, fields)


def noted_of(bundle: Bundle, payloads: Payloads) -> Mapping[int, Asked]:
    """Return the operations whose arguments *bundle* holds, by position.

    Raises:
        DecodeError: They cannot be read here.
    """
    found: dict[int, Asked] = {}
    parts: list[Checkpoint | Pending] = [*bundle.checkpoints, *bundle.pending]
    for each in parts:
        codec = each.arguments_codec
        text = text_of(each.arguments, codec)
        if text is None:
            continue
        try:
            plain = payloads.unwrap(text, codec)
            told: dict[str, Any] = msgspec.json.decode(plain, type=dict[str, Any])
        except (Undecodable, msgspec.MsgspecError) as error:
            subject = f"the arguments at position {each.position} of the bundle"
            raise DecodeError(subject, str(error)) from error
        found[each.position] = Asked(each.position, each.kind, each.name, told)
    return found


def _services(settings: Settings, database: Database, clock: SystemClock) -> Services:
    """Return what the engine works with: the application's ways, and no world."""
    payloads = Payloads(settings.codec, settings.payload_warn, settings.payload_max)
    return Services(
        database=database,
        sessions=guarded(sessionmaker(database.engine)),
        payloads=payloads,
        clock=clock,
        probe=unobserved,
        hooks=Hooks(),
        surroundings=settings.surroundings,
        executor=_NOBODY,
        isolation=settings.isolation,
        patience=timedelta(0),
        lease=timedelta.max,
        inline_wait=settings.inline_wait,
        threads=settings.threads,
        code_version=settings.code_version,
        finisher=Finisher(database, clock),
        queues=dict,
        handle=lambda run_id, declared: Handle(run_id, _CONTROLS, declared),
        executes=False,
    )


def _claimed(bundle: Bundle) -> Claimed:
    """Return the run's row as a claim would tell it."""
    run = bundle.run
    created_at = run.created_at
    return Claimed(
        id=run.id,
        workflow=run.workflow,
        version=run.version,
        input=str(text_of(run.input, run.codec)),
        codec=run.codec,
        principal=_members(run.principal),
        root_id=run.root_id,
        forked_from=run.forked_from,
        executor=_NOBODY,
        epoch=1,
        recoveries=0,
        cancel_requested_at=None,
        priority=0,
        due_at=created_at,
        created_at=created_at,
        started_at=run.started_at or created_at,
        timeout=None,
        deadline_at=run.deadline_at,
        chain_id=run.chain_id,
        wait_position=None,
        wait_until=None,
        queue=run.queue,
        traceparent=None,
        tracestate=None,
        claimed_at=_moment(bundle),
    )


def _moment(bundle: Bundle) -> datetime:
    """Return when the replay takes place: before its deadline, which is not met."""
    run = bundle.run
    if run.deadline_at is None:
        return run.created_at
    return min(run.created_at, run.deadline_at - timedelta(microseconds=1))


def _members(payload: Payload) -> Mapping[str, Any] | None:
    if payload is UNSET:
        return None
    return cast("Mapping[str, Any]", msgspec.json.decode(payload, type=dict[str, Any]))


def _cleaned(redaction: Redaction, arguments: Arguments) -> Arguments:
    return cast("Arguments", redaction.value(dict(arguments)))


def _reason(run: ActiveRun, problem: Finish) -> Exception:
    """Return why *run* could not even begin, as the error it would be dead of."""
    text = run.services.payloads.unwrap(str(problem.error), problem.codec)
    record = Record(position=0, kind="run", name="run", error=text)
    return rebuilt(run.run_id, record, text)


class _StoppedClock(SystemClock):
    """The time at which the replay takes place, however long it takes."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """Return that time."""
        return self._at

    def database_time(self) -> datetime:
        """Return that time: there is no database to ask."""
        return self._at


class _NoControls:
    """What a handle in a replayed body asks instead of an Operon: nothing is there."""

    def __getattr__(self, name: str) -> Any:
        raise MisuseError(
            f"Handle.{name}",
            "was called inside a body",
            cure="call what the body says by self, such as self.send",
        )


_CONTROLS = cast("Controls", _NoControls())


def _refuse_database() -> NoReturn:
    """Refuse to connect: a replay has no effect, whatever the body does.

    Raises:
        MustDie: Always; a body cannot swallow it.
    """
    raise MustDie(
        MisuseError(
            "a replay",
            "asked for the database",
            cure="report it: a replay is answered by its bundle alone",
        )
    )
