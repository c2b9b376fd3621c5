"""Settings: what `Operon(…)` may be told, by keyword or by environment.

A keyword wins over the environment, the environment over the default. Durations in
the environment are seconds, lists are separated by commas.
"""

import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from datetime import timedelta
from typing import Any
from typing import Literal
from typing import TypedDict

from operon.clock import Clock
from operon.clock import SystemClock
from operon.codec import PayloadCodec
from operon.errors import ConfigurationError
from operon.hooks import Hook
from operon.points import Probe
from operon.points import unobserved
from operon.queue import Queue
from operon.queue import as_queue

Surroundings = Callable[[], AbstractContextManager[Any]]


class Options(TypedDict, total=False):
    """What `Operon(…)` takes by keyword; None means the default."""

    isolation: Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] | None
    """Of steps that do not say otherwise; SERIALIZABLE by default."""
    migrate: Literal["auto", "verify", "never"] | None
    """At the first use: upgrade Operon's tables, look at them, or not even that.

    By default `auto` on SQLite and `verify` elsewhere.
    """
    pooler: Literal["transaction"] | None
    """`transaction` behind a pooler that gives a connection away at each COMMIT."""
    threads: int | None
    """How many claimed runs this process executes at once; 16 by default."""
    heartbeat: timedelta | None
    """How often this process proves that it lives; 2 s by default."""
    lease: timedelta | None
    """How long it may be silent before others take its runs over.

    By default 10 s, on SQLite 30 s; at least three heartbeats.
    """
    database_patience: timedelta | None
    """How long a caller who waits is kept waiting for an unusable database; 30 s."""
    inline_wait: timedelta | None
    """How long a thread waits before its run is suspended; 1 s by default."""
    queues: Sequence[str | Queue] | None
    """The queues served besides `default`, once launched, with their limits."""
    retention: timedelta | None
    """How long ended runs are kept; for ever by default."""
    answer_retention: timedelta | None
    """How long the answers to requests with an idempotency key are; 7 days."""
    key_retention: timedelta | None
    """How long their keys are remembered, and refused for other requests; 90 days."""
    codec: PayloadCodec | None
    """Compresses or encrypts stored values."""
    payload_warn: int | None
    """Stored values larger than this, in bytes, are logged; 1 MiB by default."""
    payload_max: int | None
    """Stored values larger than this, in bytes, are refused; 16 MiB by default."""
    code_version: str | None
    """The application's version; stored with its runs and executors."""
    manage_sqlite: bool | None
    """Whether transactions on SQLite begin IMMEDIATE, in WAL mode; they do."""
    clock: Clock | None
    """Tells the time and waits; tests turn it."""
    probe: Probe | None
    """Called at the engine's named points; tests crash there."""
    hooks: Sequence[Hook] | None
    """Are told what happens to runs, besides those that are installed."""
    surroundings: Surroundings | None
    """Makes what every body, step and activity is called within: a context manager.

    A Flask application's `app_context`, for example; by default nothing.
    """


ISOLATION_LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
_MIGRATE = ("auto", "verify", "never")
_LEASE_IN_HEARTBEATS = 3  # so many must fit, or one slow beat costs the lease
_LEAST_PAYLOAD = 1024  # bytes; the summary of an error must fit


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one Operon behaves in this process: its `Options`, with defaults."""

    isolation: str = "SERIALIZABLE"
    migrate: str | None = None
    pooler: str | None = None
    threads: int = 16
    heartbeat: timedelta = timedelta(seconds=2)
    lease: timedelta | None = None
    database_patience: timedelta = timedelta(seconds=30)
    inline_wait: timedelta = timedelta(seconds=1)
    queues: tuple[str | Queue, ...] = ()
    retention: timedelta | None = None
    answer_retention: timedelta = timedelta(days=7)
    key_retention: timedelta = timedelta(days=90)
    payload_warn: int = 1024 * 1024
    payload_max: int = 16 * 1024 * 1024
    code_version: str | None = None
    manage_sqlite: bool = True
    codec: PayloadCodec | None = field(default=None, metadata={"environment": False})
    clock: Clock = field(default_factory=SystemClock, metadata={"environment": False})
    probe: Probe = field(default=unobserved, metadata={"environment": False})
    hooks: tuple[Hook, ...] = field(default=(), metadata={"environment": False})
    surroundings: Surroundings = field(
        default=nullcontext, metadata={"environment": False}
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _refuse_unless(
            self.isolation in ISOLATION_LEVELS,
            "isolation",
            self.isolation,
            f"use one of {', '.join(ISOLATION_LEVELS)}",
        )
        _refuse_unless(
            self.migrate in {*_MIGRATE, None},
            "migrate",
            self.migrate,
            f"use one of {', '.join(_MIGRATE)}",
        )
        _refuse_unless(
            self.pooler in {"transaction", None},
            "pooler",
            self.pooler,
            "use 'transaction', or leave it out",
        )
        _refuse_unless(self.threads >= 1, "threads", self.threads, "use at least 1")
        beats = timedelta(0) < self.heartbeat
        _refuse_unless(beats, "heartbeat", self.heartbeat, "use a positive duration")
        fits = self.lease is None or self.lease >= _LEASE_IN_HEARTBEATS * self.heartbeat
        _refuse_unless(
            fits, "lease", self.lease, f"use at least {_LEASE_IN_HEARTBEATS} heartbeats"
        )
        patience = self.database_patience
        waits = patience >= timedelta(0)
        _refuse_unless(waits, "database_patience", patience, "use no negative one")
        inline = self.inline_wait >= timedelta(0)
        cure = "use no negative one"
        _refuse_unless(inline, "inline_wait", self.inline_wait, cure)
        self._check_retentions()
        _refuse_twins([as_queue(each).name for each in self.queues])
        holds = self.payload_max >= _LEAST_PAYLOAD
        cure = f"use at least {_LEAST_PAYLOAD} bytes"
        _refuse_unless(holds, "payload_max", self.payload_max, cure)

    def _check_retentions(self) -> None:
        kept = self.retention is None or self.retention > timedelta(0)
        _refuse_unless(kept, "retention", self.retention, "use a positive duration")
        answers, keys = self.answer_retention, self.key_retention
        kept = timedelta(0) < answers
        _refuse_unless(kept, "answer_retention", answers, "use a positive duration")
        cure = "use one that is no shorter than answer_retention"
        _refuse_unless(answers <= keys, "key_retention", keys, cure)


def settings(given: Options, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings that *given* keywords and *environment* make together.

    Raises:
        ConfigurationError: A value is malformed or contradicts another.
    """
    values: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    for name in ("queues", "hooks"):
        if name in values:
            values[name] = tuple(values[name])
    for each in fields(Settings):
        name = f"OPERON_{each.name.upper()}"
        readable = each.metadata.get("environment", True)
        if readable and each.name not in values and name in environment:
            values[each.name] = parsed(name, environment[name], each.type)
    return Settings(**values)


def database_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL that the environment names.

    Raises:
        ConfigurationError: It names none.
    """
    url = environment.get("OPERON_DATABASE_URL")
    if url:
        return url
    raise ConfigurationError(
        "the database",
        "is not named",
        cure="give Operon a URL, an Engine or a sessionmaker, or set "
        "OPERON_DATABASE_URL",
    )


def parsed(name: str, text: str, annotation: Any) -> Any:
    """Return the value of the setting *name* that *text* means.

    Raises:
        ConfigurationError: It means none.
    """
    parse = _PARSERS[str(getattr(annotation, "__name__", annotation))]
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{name}={text!r}", "cannot be read", cure=str(error)
        ) from error


def _duration(text: str) -> timedelta:
    try:
        return timedelta(seconds=float(text))
    except ValueError:
        raise ValueError("give seconds, such as 2 or 0.5") from None


def _truth(text: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "0": False,
        "false": False,
        "no": False,
    }
    if text.lower() not in words:
        raise ValueError("give true or false")
    return words[text.lower()]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "str | None": str,
    "int": int,
    "bool": _truth,
    "timedelta": _duration,
    "datetime.timedelta | None": _duration,
    "tuple": _words,
    "tuple[str | operon.queue.Queue, ...]": _words,
}


def _refuse_twins(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    _refuse_unless(not twice, "queues", twice, "name each queue once")


def _refuse_unless(holds: bool, setting: str, value: object, cure: str) -> None:  # noqa: FBT001 - a condition reads best first
    if not holds:
        raise ConfigurationError(f"{setting}={value!r}", "cannot work", cure=cure)
