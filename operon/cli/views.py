"""Rows as the facts that commands answer with.

Their keys are the same in every release.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from operon.app import Operon
from operon.cli.explanation import explain
from operon.cli.output import Unreadable
from operon.cli.output import visible
from operon.codec import Payloads
from operon.codec import Undecodable
from operon.codec import decode_error
from operon.codec import error_summary
from operon.connect import lease_of
from operon.errors import RunDeadError
from operon.errors import RunNotFoundError
from operon.models import Attempt
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.status import RunStatus
from operon.store import explain as store
from operon.store.runs import Result

Fact = dict[str, Any]


@dataclass(frozen=True)
class Reader:
    """Reads stored values and errors, as far as this process knows their codec."""

    payloads: Payloads

    def value(self, text: str | None, codec: str | None) -> Any:
        """Return the plain JSON value that *text* holds; None if there is none."""
        if text is None:
            return None
        try:
            return json.loads(self.payloads.unwrap(text, codec))
        except (Undecodable, ValueError) as error:
            return Unreadable(str(error))

    def error(self, text: str, codec: str | None) -> str:
        """Return the error that *text* holds as one line; never raises."""
        try:
            plain = self.payloads.unwrap(text, codec)
            error = decode_error(plain)
        except Undecodable as problem:
            return str(Unreadable(str(problem)))
        if isinstance(error, RunDeadError):
            return visible(error.reason)
        return visible(error_summary(plain))

    def find_error(self, text: str | None, codec: str | None) -> str | None:
        """Return the error that *text* holds, or None if there is none."""
        return None if text is None else self.error(text, codec)


def reader_of(operon: Operon) -> Reader:
    """Return what reads the values that *operon* stores."""
    return Reader(operon.results().payloads)


def brief(run: WorkflowRun) -> Fact:
    """Return what a list says of *run*."""
    return {
        "id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "status": run.status.value,
        "queue": run.queue,
        "partition": run.partition,
        "priority": run.priority,
        "deduplication_key": run.deduplication_key,
        "debounce_key": run.debounce_key,
        "executor": run.executor,
        "attributes": run.attributes,
        "chain_id": run.chain_id,
        "continued_as": run.continued_as,
        "traceparent": run.traceparent,
        "tracestate": run.tracestate,
        **_wait(run),
        "deadline_at": run.deadline_at,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


def _wait(run: WorkflowRun) -> Fact:
    """Return what *run* waits for; nothing if it has been woken since."""
    names = ("kind", "on", "key", "position", "until")
    columns = [*(f"wait_{name}" for name in names), "wake_at"]
    is_waiting = run.status is RunStatus.WAITING
    return {name: getattr(run, name) if is_waiting else None for name in columns}


def details(run: WorkflowRun, result: Result, reader: Reader) -> Fact:
    """Return everything that is known of *run* and what it has come to."""
    more = (
        "due_at timeout cancel_requested_at epoch recoveries parent_id root_id "
        "forked_from principal code_version fingerprint codec"
    )
    return {
        **brief(run),
        **{name: getattr(run, name) for name in more.split()},
        "input": reader.value(run.input, run.codec),
        "outcome_codec": result.codec,
        "output": reader.value(result.output, result.codec),
        "error": reader.find_error(result.error, result.codec),
    }


def step(checkpoint: Checkpoint, reader: Reader) -> Fact:
    """Return what is recorded of one operation."""
    return {
        "position": checkpoint.position,
        "kind": checkpoint.kind,
        "name": checkpoint.name,
        "attempts": checkpoint.attempts,
        "outcome": "succeeded" if checkpoint.error is None else "failed",
        "output": reader.value(checkpoint.output, checkpoint.codec),
        "error": reader.find_error(checkpoint.error, checkpoint.codec),
        "isolation": checkpoint.isolation,
        "executor": checkpoint.executor,
        "epoch": checkpoint.epoch,
        "started_at": checkpoint.started_at,
        "finished_at": checkpoint.finished_at,
        "duration": checkpoint.finished_at - checkpoint.started_at,
    }


def attempts(operon: Operon, run_id: str) -> list[Fact]:
    """Return the failed attempts of *run_id*, in order of position and attempt."""
    results = operon.results()
    with results.database.reading() as connection, Session(connection) as session:
        rows = store.list_attempts(session, run_id)
        return [_attempt(row, Reader(results.payloads)) for row in rows]


def explained(operon: Operon, run_id: str) -> Fact:
    """Return where *run_id* stands, and the sentence that says why.

    Raises:
        RunNotFoundError: There is no such run.
    """
    results = operon.results()
    database, told = results.database, Reader(results.payloads).error
    with database.reading() as connection:
        facts = store.facts(
            connection, database.backend, run_id, told=told, clock=results.clock
        )
    if facts is None:
        raise RunNotFoundError(run_id)
    lease = lease_of(operon.engine, operon.settings)
    return {
        "id": facts.id,
        "workflow": facts.workflow,
        "version": facts.version,
        "status": facts.status.value,
        "explanation": explain(facts, lease),
    }


def _attempt(row: Attempt, reader: Reader) -> Fact:
    """Return what is recorded of one failed attempt."""
    return {
        "position": row.position,
        "attempt": row.attempt,
        "kind": row.kind,
        "name": row.name,
        "error": reader.error(row.error, row.codec),
        "sqlstate": row.sqlstate,
        "traceback": row.traceback,
        "executor": row.executor,
        "started_at": row.started_at,
        "failed_at": row.failed_at,
        "next_at": row.next_at,
    }


def with_attempts(steps: Sequence[Fact], failed: Sequence[Fact]) -> list[Fact]:
    """Return *steps*, each with its failed attempts, and those of no outcome yet.

    A position that has failed attempts and no checkpoint comes last, as `pending`.
    """
    by_position: dict[int, list[Fact]] = {}
    for each in failed:
        by_position.setdefault(each["position"], []).append(each)
    recorded = [
        {**each, "failed_attempts": by_position.pop(each["position"], [])}
        for each in steps
    ]
    return recorded + [_pending(these) for these in by_position.values()]


def _pending(failed: list[Fact]) -> Fact:
    last = failed[-1]
    unknown = "output error isolation executor epoch started_at finished_at duration"
    return {
        "position": last["position"],
        "kind": last["kind"],
        "name": last["name"],
        "attempts": last["attempt"],
        "outcome": "pending",
        **dict.fromkeys(unknown.split()),
        "failed_attempts": failed,
    }
