"""Runs: what they have come to, and what may be done to them, for those they are of."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Request

from operon.app import Operon
from operon.errors import MisuseError
from operon.errors import ResumeRefusedError
from operon.errors import RetryRefusedError
from operon.flask import answers
from operon.flask.idempotency import HEADER
from operon.flask.idempotency import key_of
from operon.flask.ownership import owned
from operon.flask.ownership import shared
from operon.flask.problem import INVALID
from operon.flask.problem import NOT_FOUND
from operon.flask.problem import TERMINAL
from operon.flask.problem import Flaw
from operon.flask.problem import Problem
from operon.flask.tokens import Principal
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.status import RunStatus
from operon.store.requests import Answer

_PAGE = 50  # runs
_MOST = 200

Action = Callable[[str], None]


@dataclass(frozen=True)
class Runs:
    """Answers for the runs of one Operon; every caller sees its own."""

    operon: Operon

    def find(self, run_id: str, principal: Principal) -> WorkflowRun:
        """Return the run *run_id* of *principal*.

        Raises:
            Problem: There is no such run, or it is a stranger's.
        """
        return owned(self.operon.find_run(run_id), principal)

    def list(self, request: Request, principal: Principal) -> Answer:
        """Return a page of runs, the newest first, and where the next one begins."""
        asked = _Page.of(request)
        found = self.operon.list_runs(
            principal=shared(principal), limit=asked.limit + 1, **asked.conditions
        )
        page = found[: asked.limit]
        body: dict[str, Any] = {"runs": [view_of(run) for run in page]}
        if len(found) > len(page):
            body["next"] = _cursor(page[-1])
        return answers.of_json(body)

    def show(self, request: Request, run_id: str, principal: Principal) -> Answer:
        """Return the run, or nothing if the caller has it as it is."""
        view = view_of(self.find(run_id, principal))
        tag = _tag(view)
        if tag in request.headers.get("If-None-Match", ""):
            return Answer(status=304, headers={"ETag": tag}, body="")
        return answers.of_json(view, headers={"ETag": tag})

    def steps(self, run_id: str, principal: Principal) -> Answer:
        """Return what is recorded of the run, without its values."""
        self.find(run_id, principal)
        found = [_step(each) for each in self.operon.list_steps(run_id)]
        return answers.of_json({"steps": found})

    def event(self, run_id: str, key: str, principal: Principal) -> Answer:
        """Return what the run has published under *key*."""
        self.find(run_id, principal)
        found = self.operon.events_of(run_id)
        if key not in found:
            raise Problem(NOT_FOUND, "Nothing is published under this key")
        return answers.of_json(found[key])

    def cancel(self, run_id: str, principal: Principal) -> Answer:
        """Ask the run to end; one that was cancelled already is as it should be."""
        run = self.find(run_id, principal)
        if run.status.is_final and run.status is not RunStatus.CANCELLED:
            raise Problem(TERMINAL, "It has ended by itself", run_id=run_id)
        self.operon.cancel(run_id)
        return self._now(run_id, principal)

    def resume(self, run_id: str, principal: Principal) -> Answer:
        """Continue the run, if it is dead or was cancelled by force."""
        return self._controlled(run_id, principal, self.operon.resume)

    def retry(self, run_id: str, principal: Principal) -> Answer:
        """Redo the operation by which the run has failed."""
        return self._controlled(run_id, principal, self.operon.retry)

    def fork(self, run_id: str, value: Any, principal: Principal) -> Answer:
        """Make a new run from the beginning of this one."""
        self.find(run_id, principal)
        position = value.get("from_position") if isinstance(value, dict) else None
        if isinstance(position, bool) or not isinstance(position, int):
            flaw = Flaw("/from_position", "Input should be a valid integer")
            raise Problem(INVALID, "One thing is wrong", errors=[flaw])
        try:
            handle = self.operon.fork(run_id, from_position=position)
        except MisuseError:
            flaw = Flaw("/from_position", "The history does not reach that far")
            raise Problem(INVALID, "One thing is wrong", errors=[flaw]) from None
        return self._now(handle.id, principal, status=201)

    def send(
        self, request: Request, run_id: str, topic: str, value: Any, who: Principal
    ) -> Answer:
        """Send the run a message, once for each idempotency key."""
        self.find(run_id, who)
        given = request.headers.getlist(HEADER)
        key = key_of(given, required=False, public=False)
        self.operon.send(run_id, topic, value, idempotency_key=key)
        return Answer(status=204, headers={}, body="")

    def _controlled(self, run_id: str, principal: Principal, action: Action) -> Answer:
        self.find(run_id, principal)
        try:
            action(run_id)
        except (ResumeRefusedError, RetryRefusedError):
            raise Problem(TERMINAL, "It does not stand so", run_id=run_id) from None
        return self._now(run_id, principal)

    def _now(self, run_id: str, principal: Principal, *, status: int = 200) -> Answer:
        view = view_of(self.find(run_id, principal))
        headers = {answers.RUN_ID: run_id, "ETag": _tag(view)}
        return answers.of_json(view, status=status, headers=headers)


@dataclass(frozen=True)
class _Page:
    """Which runs are asked for."""

    limit: int
    conditions: Mapping[str, Any]

    @classmethod
    def of(cls, request: Request) -> "_Page":
        """Read it from the query.

        Raises:
            Problem: The query does not make sense; all of it is told.
        """
        flaws: list[Flaw] = []
        conditions: dict[str, Any] = {}
        limit = _PAGE
        for name, text in request.args.items(multi=True):
            try:
                if name == "limit":
                    limit = _limit(text)
                else:
                    conditions |= _condition(name, text, conditions)
            except ValueError:
                flaws.append(Flaw(f"query/{name}", "The value is not allowed"))
        if flaws:
            raise Problem(INVALID, "The query does not make sense", errors=flaws)
        return cls(limit, conditions)


def _limit(text: str) -> int:
    limit = int(text)
    if not 1 <= limit <= _MOST:
        raise ValueError
    return limit


def _condition(name: str, text: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the condition that `name=text` means.

    Raises:
        ValueError: It means nothing.
    """
    match name.split(".", 1):
        case ["status"]:
            return {"status": (*before.get("status", ()), RunStatus(text))}
        case ["workflow"]:
            return {"workflow": text}
        case ["attribute", key]:
            return {"attributes": {**before.get("attributes", {}), key: text}}
        case ["created_after" | "created_before"]:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                raise ValueError
            return {name: at}
        case ["after"]:
            return {"older_than": _place(text)}
        case _:
            raise ValueError


def _cursor(run: WorkflowRun) -> str:
    """Return what the next page begins after, as one word."""
    place = json.dumps([run.created_at.isoformat(), run.id]).encode()
    return base64.urlsafe_b64encode(place).decode()


def _place(cursor: str) -> tuple[datetime, str]:
    try:
        at, run_id = json.loads(base64.urlsafe_b64decode(cursor))
        return datetime.fromisoformat(at), str(run_id)
    except (binascii.Error, TypeError, UnicodeDecodeError) as error:
        raise ValueError from error


def view_of(run: WorkflowRun) -> dict[str, Any]:
    """Return what callers see of *run*: no values, and nobody else's name."""
    return {
        "id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "status": run.status.value,
        "queue": run.queue,
        "attributes": run.attributes or {},
        "parent_id": run.parent_id,
        "cancel_requested_at": _iso(run.cancel_requested_at),
        "deadline_at": _iso(run.deadline_at),
        "created_at": _iso(run.created_at),
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
    }


def _step(recorded: Checkpoint) -> dict[str, Any]:
    return {
        "position": recorded.position,
        "kind": recorded.kind,
        "name": recorded.name,
        "attempts": recorded.attempts,
        "failed": recorded.error is not None,
        "started_at": _iso(recorded.started_at),
        "finished_at": _iso(recorded.finished_at),
    }


def _tag(view: Mapping[str, Any]) -> str:
    text = json.dumps(view, sort_keys=True).encode()
    return f'"{hashlib.sha256(text).hexdigest()[:32]}"'


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
