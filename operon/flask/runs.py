"""Runs: what they have come to, and what may be done to them, for those they are of."""

import hashlib
import json
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from typing import cast

from flask import Request
from sqlalchemy.orm import Session

from operon.app import Operon
from operon.engine.services import Services
from operon.errors import MisuseError
from operon.errors import ResumeRefusedError
from operon.errors import RetryRefusedError
from operon.flask import answers
from operon.flask.idempotency import HEADER
from operon.flask.idempotency import asked_by
from operon.flask.idempotency import key_of
from operon.flask.ownership import owned
from operon.flask.ownership import refuse_unless_operator
from operon.flask.ownership import shared
from operon.flask.problem import INVALID
from operon.flask.problem import NOT_FOUND
from operon.flask.problem import TERMINAL
from operon.flask.problem import Flaw
from operon.flask.problem import Problem
from operon.flask.run_page import RunPage
from operon.flask.run_page import place_of
from operon.flask.serving import Serving
from operon.flask.serving import location_of_run
from operon.flask.strict_json import escaped
from operon.flask.strict_json import is_storable
from operon.flask.strict_json import unstorable
from operon.flask.tokens import Principal
from operon.models import Checkpoint
from operon.models import WorkflowRun
from operon.status import RunStatus
from operon.store.requests import Answer

CREATED = 201

_LONGEST = 255  # characters of a name

Action = Callable[[str], None]


@dataclass(frozen=True)
class Runs:
    """Answers for the runs of one Operon; every caller sees its own."""

    serving: Serving

    @property
    def operon(self) -> Operon:
        """Whose runs they are."""
        return self.serving.operon

    def find(self, run_id: str, principal: Principal) -> WorkflowRun:
        """Return the run *run_id* of *principal*.

        Raises:
            Problem: There is no such run, or it is a stranger's.
        """
        return owned(
            self.operon.find_run(run_id) if is_storable(run_id) else None, principal
        )

    def list(self, request: Request, principal: Principal) -> Answer:
        """Return a page of runs, the newest first, and where the next one begins."""
        asked = RunPage.of(request)
        found = self.operon.list_runs(
            principal=shared(principal), limit=asked.limit + 1, **asked.conditions
        )
        page = found[: asked.limit]
        body: dict[str, Any] = {"runs": [view_of(run) for run in page]}
        if len(found) > len(page):
            body["next"] = place_of(page[-1])
        return answers.of_json(body)

    def show(self, request: Request, run_id: str, principal: Principal) -> Answer:
        """Return the run, or nothing if the caller has it as it is."""
        view = view_of(self.find(run_id, principal))
        tag = _tag(view)
        if request.if_none_match.contains_weak(tag.strip('"')):
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

    def fork(
        self, request: Request, run_id: str, value: Any, principal: Principal
    ) -> Answer:
        """Make a new run from the beginning of this one, once for each key."""
        self.find(run_id, principal)
        refuse_unless_operator(principal)

        def make(session: Session | None) -> Answer:
            position = _position(value)
            try:
                made = self.operon.fork(run_id, from_position=position, session=session)
            except MisuseError:
                flaw = Flaw("/from_position", "The history does not reach that far")
                raise Problem(INVALID, "One thing is wrong", errors=[flaw]) from None
            return _shown(self._run(made.id, session), status=CREATED)

        given = self._once(request, value, principal, make)
        self._services.tell_due()
        return given

    def send(
        self, request: Request, run_id: str, topic: str, value: Any, who: Principal
    ) -> Answer:
        """Send the run a message, once for each idempotency key."""
        run = self.find(run_id, who)
        refuse_unprintable("topic", topic)
        flaws = [Flaw(at, "Text cannot hold NUL") for at in unstorable(value)]
        if flaws:
            raise Problem(INVALID, "The message cannot be stored", errors=flaws)

        def send(session: Session | None) -> Answer:
            self.operon.send(run_id, topic, value, session=session)
            return Answer(status=204, headers={}, body="")

        given = self._once(request, value, who, send)
        self._services.tell(run.chain_id or run.id)
        return given

    def _once(
        self,
        request: Request,
        value: Any,
        who: Principal,
        do: Callable[[Session | None], Answer],
    ) -> Answer:
        """Return what *do* answers: once, if the request has a key."""
        given = request.headers.getlist(HEADER)
        key = key_of(given, required=False, public=False)
        if key is None:
            return do(None)
        return self.serving.keyed.once(asked_by(request, value).under(key, who), do)

    @property
    def _services(self) -> Services:
        return self.operon.ready().services

    def _run(self, run_id: str, session: Session | None) -> WorkflowRun:
        """Return a run that *session*, if there is one, has just made."""
        if session is None:
            return self.operon.get_run(run_id)
        return session.get_one(WorkflowRun, run_id)

    def _controlled(self, run_id: str, principal: Principal, action: Action) -> Answer:
        self.find(run_id, principal)
        try:
            action(run_id)
        except (ResumeRefusedError, RetryRefusedError):
            raise Problem(TERMINAL, "It does not stand so", run_id=run_id) from None
        return self._now(run_id, principal)

    def _now(self, run_id: str, principal: Principal) -> Answer:
        return _shown(self.find(run_id, principal))


def _shown(run: WorkflowRun, *, status: int = 200) -> Answer:
    view = view_of(run)
    headers = {answers.RUN_ID: run.id, "ETag": _tag(view)}
    if status == CREATED:
        headers["Location"] = location_of_run(run.id)
    return answers.of_json(view, status=status, headers=headers)


def refuse_unprintable(name: str, text: str) -> None:
    """Refuse a *text* that nothing in a run can be called.

    Raises:
        Problem: It has a character that is not printable, or too many.
    """
    if not text.isprintable() or len(text) > _LONGEST:
        detail = f"It has 1 to {_LONGEST} printable characters"
        flaw = Flaw(f"path/{name}", detail)
        raise Problem(INVALID, "One thing is wrong", errors=[flaw])


def _position(value: Any) -> int:
    """Return where the body *value* says a fork begins.

    Raises:
        Problem: It does not say it, or more than that.
    """
    asked = cast("dict[str, Any]", value if isinstance(value, dict) else {})
    position = asked.get("from_position")
    flaws = [
        Flaw(f"/{escaped(name)}", "Extra inputs are not permitted")
        for name in asked
        if name != "from_position"
    ]
    if isinstance(position, bool) or not isinstance(position, int):
        flaws.append(Flaw("/from_position", "Input should be a valid integer"))
    if flaws:
        raise Problem(INVALID, "The body does not fit", errors=flaws)
    return cast("int", position)


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
