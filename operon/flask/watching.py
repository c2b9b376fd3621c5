"""Watching: what hooks, and log records, are told of a request."""

import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from typing import Literal

from flask import Request
from flask import g

from operon.context import answering
from operon.flask import answers
from operon.flask.idempotency import HEADER
from operon.hooks import Hooks
from operon.hooks import RequestAnswered
from operon.hooks import RequestReceived
from operon.hooks import Trace
from operon.ids import new_id
from operon.store.requests import Answer

_NAME = "_operon_watch"
_NO_TRACE: Trace = {}
_REFUSED = {
    "idempotency-key-missing",
    "idempotency-key-invalid",
    "idempotency-key-reused",
    "idempotency-result-expired",
    "request-in-progress",
}


@dataclass
class Watch:
    """One request, from when it came to its answer."""

    hooks: Hooks
    request: Request
    request_id: str = field(default_factory=new_id)
    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    since: int = field(default_factory=time.time_ns)
    answer: Answer | None = None
    problem: str | None = None
    is_begun: bool = False

    def begin(self, *, is_trusted: bool) -> None:
        """Tell that the request came; in whose trace, only who is trusted may say."""
        if self.is_begun or not self.hooks:
            return
        self.is_begun = True
        trace = _trace_of(self.request) if is_trusted else _NO_TRACE
        self.hooks.tell(RequestReceived(*self._which(), self.since, trace))
        carried = self.hooks.carry().get("traceparent", "").split("-")
        if len(carried) > 1:
            self.trace_id = carried[1]

    def end(self) -> None:
        """Tell how it was answered."""
        if not self.hooks:
            return
        self.begin(is_trusted=False)
        given = self.answer
        status = 500 if given is None else given.status
        run_id = None if given is None else given.headers.get(answers.RUN_ID)
        told = RequestAnswered(
            *self._which(), status, self._key(), self.problem, run_id
        )
        self.hooks.tell(told)

    def _which(self) -> tuple[str, str, str]:
        rule = self.request.url_rule
        route = "" if rule is None else str(rule)
        return self.request_id, self.request.method, route

    def _key(self) -> Literal["none", "executed", "replayed", "refused"]:
        if self.problem in _REFUSED:
            return "refused"
        if HEADER not in self.request.headers:
            return "none"
        given = self.answer
        is_replay = given is not None and answers.REPLAYED in given.headers
        return "replayed" if is_replay else "executed"


@contextmanager
def watching(hooks: Hooks, request: Request) -> Generator[Watch, None, None]:
    """Watch *request*, the current one, within the block."""
    watch = Watch(hooks, request)
    setattr(g, _NAME, watch)
    with answering(watch.request_id):
        try:
            yield watch
        finally:
            watch.end()


def watched() -> Watch:
    """Return what watches the current request."""
    watch: Watch = getattr(g, _NAME)
    return watch


def _trace_of(request: Request) -> Trace:
    names = ("traceparent", "tracestate")
    return {name: request.headers[name] for name in names if name in request.headers}
