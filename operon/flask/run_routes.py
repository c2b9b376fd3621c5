"""The routes below `/runs`: who asks is known before anything is looked at."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from flask import Blueprint
from flask import Response
from flask import request

from operon.flask import answers
from operon.flask.endings import ending
from operon.flask.endpoint import Endpoint
from operon.flask.ownership import OPERATOR
from operon.flask.problem import NOT_FOUND
from operon.flask.problem import Problem
from operon.flask.runs import Runs
from operon.flask.runs import refuse_unprintable
from operon.flask.serving import Serving
from operon.flask.serving import location_of_run
from operon.flask.serving import refuse_query
from operon.flask.sse import events
from operon.flask.tokens import Principal
from operon.store.requests import Answer

_NO_WAIT = timedelta(0)

View = Callable[..., Response]


class RunRoutes:
    """Serves the runs that the endpoints of a blueprint have started."""

    def __init__(self, serving: Serving, endpoints: Sequence[Endpoint]) -> None:
        """Serve the runs of *endpoints*, to which more may be added."""
        self._serving = serving
        self._endpoints = endpoints
        self._runs = Runs(serving)

    def add_to(self, blueprint: Blueprint) -> None:
        """Let *blueprint* serve them."""
        for method, below, view in self._routes():
            rule, name = f"/runs{below}", f"run_{view.__name__}"
            blueprint.add_url_rule(rule, name, view, methods=[method])

    def _routes(self) -> Iterator[tuple[str, str, View]]:
        yield "GET", "", self.list
        yield "GET", "/<run_id>", self.show
        yield "GET", "/<run_id>/result", self.result
        yield "GET", "/<run_id>/steps", self.steps
        yield "GET", "/<run_id>/events/<key>", self.event
        yield "GET", "/<run_id>/stream/<name>", self.stream
        for action in (self.cancel, self.resume, self.retry, self.fork):
            yield "POST", f"/<run_id>/{action.__name__}", action
        yield "POST", "/<run_id>/messages/<topic>", self.send

    def list(self) -> Response:
        """A page of the caller's runs."""
        return self._serving.known(lambda who: self._runs.list(request, who))

    def show(self, run_id: str) -> Response:
        """Where the run stands."""
        return self._known(lambda who: self._runs.show(request, run_id, who))

    def result(self, run_id: str) -> Response:
        """What it has come to; 202 while it goes on."""
        return self._known(lambda who: self._result(run_id, who))

    def steps(self, run_id: str) -> Response:
        """What is recorded of it."""
        return self._known(lambda who: self._runs.steps(run_id, who))

    def event(self, run_id: str, key: str) -> Response:
        """What it has published."""
        return self._known(lambda who: self._runs.event(run_id, key, who))

    def stream(self, run_id: str, name: str) -> Response:
        """What it writes, as server-sent events, until it ends."""

        def check(who: Principal) -> Answer:
            self._runs.find(run_id, who)
            refuse_unprintable("name", name)
            return answers.of_json(None)

        checked = self._known(check)
        if checked.status_code != answers.OK:
            return checked
        handle = self._serving.operon.handle(run_id)
        return events(handle, name, request.headers.get("Last-Event-ID"), checked)

    def cancel(self, run_id: str) -> Response:
        """Ask it to end."""
        return self._known(lambda who: self._runs.cancel(run_id, who))

    def resume(self, run_id: str) -> Response:
        """Continue it."""

        def act(who: Principal) -> Answer:
            self._refuse_unless_allowed(run_id, who)
            return self._runs.resume(run_id, who)

        return self._known(act)

    def retry(self, run_id: str) -> Response:
        """Redo what failed."""

        def act(who: Principal) -> Answer:
            self._refuse_unless_allowed(run_id, who)
            return self._runs.retry(run_id, who)

        return self._known(act)

    def fork(self, run_id: str) -> Response:
        """Make a new run of its beginning."""

        def act(who: Principal) -> Answer:
            return self._runs.fork(request, run_id, self._serving.value(), who)

        return self._known(act)

    def send(self, run_id: str, topic: str) -> Response:
        """Send it a message."""

        def act(who: Principal) -> Answer:
            value: Any = self._serving.value()
            return self._runs.send(request, run_id, topic, value, who)

        return self._known(act)

    def _refuse_unless_allowed(self, run_id: str, who: Principal) -> None:
        """Refuse whoever may not have the workflow run any more; operators may.

        Raises:
            Problem: There is no such run, it is a stranger's, or a scope or role is
                missing.
        """
        run = self._runs.find(run_id, who)
        serving = [each for each in self._endpoints if each.serves(run.workflow)]
        if OPERATOR in who.roles or not serving:
            return
        for endpoint in serving:
            if not endpoint.access.public:
                endpoint.access.refuse_unless_allowed(who, endpoint.declared.roles)

    def _known(self, answer: Callable[[Principal], Answer]) -> Response:
        """Return what *answer* returns for who asks; the query is to be empty."""

        def act(who: Principal) -> Answer:
            refuse_query(request)
            return answer(who)

        return self._serving.known(act)

    def _result(self, run_id: str, who: Principal) -> Answer:
        run = self._runs.find(run_id, who)
        for endpoint in self._endpoints:
            if endpoint.serves(run.workflow):
                return self._come_to(endpoint, run_id)
        raise Problem(NOT_FOUND, "Its results are not served here")

    def _come_to(self, endpoint: Endpoint, run_id: str) -> Answer:
        results = self._serving.operon.ready().results
        given = ending(results, endpoint, run_id, _NO_WAIT)
        if given is None:
            return answers.still_going(run_id, location_of_run(run_id))
        return given
