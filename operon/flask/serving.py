"""Serving: from a request to its answer, in one order for all endpoints.

Size, credentials, rights, media type, parsing, key, validation, work. The key is looked
up before the request is validated, so that a stricter deploy does not break replays.
"""

import logging
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Request
from flask import Response
from flask import request as current_request
from flask import url_for

from operon.app import Operon
from operon.errors import DatabaseUnavailableError
from operon.errors import RunNotFoundError
from operon.flask import answers
from operon.flask.authentication import authenticate
from operon.flask.endings import ending
from operon.flask.endpoint import Endpoint
from operon.flask.idempotency import HEADER
from operon.flask.idempotency import asked_by
from operon.flask.idempotency import key_of
from operon.flask.incoming import Preference
from operon.flask.incoming import body_of
from operon.flask.incoming import preference_of
from operon.flask.incoming import value_of
from operon.flask.keyed import Keyed
from operon.flask.keyed import expired
from operon.flask.problem import INTERNAL
from operon.flask.problem import INVALID
from operon.flask.problem import Flaw
from operon.flask.problem import Problem
from operon.flask.strict_json import escaped
from operon.flask.telling import told
from operon.flask.telling import trace_of
from operon.flask.telling import unavailable
from operon.flask.tokens import Principal
from operon.flask.tokens import TokenVerifier
from operon.flask.watching import Watch
from operon.flask.watching import watched
from operon.flask.watching import watching
from operon.flask.work import Work
from operon.store.requests import Answer
from operon.store.requests import RequestKey
from operon.transaction import is_transaction

_logger = logging.getLogger("operon.flask")

_ALWAYS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Answers the requests of one blueprint."""

    operon: Operon
    verifier: TokenVerifier | None
    most_bytes: int
    """How long a body may be."""
    most_wait: timedelta
    """How long a caller may have a request wait for a run."""
    key_patience: timedelta
    """How long a request waits for the same one, while that is being worked on."""

    def serve(self, endpoint: Endpoint, path: Mapping[str, str]) -> Response:
        """Return the response to the current request, whatever happens."""
        return self.guarded(lambda: self._answer(current_request, endpoint, path))

    @property
    def keyed(self) -> Keyed:
        """What does things once for each key."""
        return Keyed(self.operon.ready().services, self.key_patience)

    def known(self, answer: Callable[[Principal], Answer]) -> Response:
        """Return what *answer* returns for whoever sent the current request."""
        return self.guarded(lambda: answer(self.authenticated()))

    def value(self) -> Any:
        """Return the JSON value of the current request.

        Raises:
            Problem: It is too long, of another media type, or not JSON.
        """
        return value_of(current_request, body_of(current_request, self.most_bytes))

    def guarded(self, answer: Callable[[], Answer]) -> Response:
        """Return what *answer* returns as a response, or the problem it meets."""
        with watching(self.operon.hooks, current_request) as watch:
            given = watch.answer = self._given(answer, watch)
        headers = {
            **_ALWAYS,
            **given.headers,
            "Operon-Request-Id": watch.request_id,
            "Operon-Trace-Id": watch.trace_id,
        }
        response = Response(given.body, given.status, headers)
        if not given.body:
            del response.headers["Content-Type"]  # Flask's own, of nothing
        return response

    def _given(self, answer: Callable[[], Answer], watch: Watch) -> Answer:
        """Return what *answer* returns, or the problem it meets."""
        try:
            return answer()
        except Problem as problem:
            told = problem
        except DatabaseUnavailableError as error:
            told = unavailable(error)
        except Exception as error:  # noqa: BLE001 - it is logged, and nobody's business
            _logger.error("request %s failed:\n%s", watch.request_id, trace_of(error))  # noqa: TRY400 - the traceback's own text has values
            told = Problem(INTERNAL, "Tell us the trace id")
        watch.problem = told.kind.slug
        return answers.of_problem(told, trace_id=watch.trace_id)

    def authenticated(self) -> Principal:
        """Return who sent the current request; what it says of its trace is trusted.

        Raises:
            Problem: Nobody did, or nobody can say now.
        """
        principal = authenticate(current_request, self.verifier, self.operon.hooks)
        watched().begin(is_trusted=True)
        return principal

    def _answer(
        self, request: Request, endpoint: Endpoint, path: Mapping[str, str]
    ) -> Answer:
        data = body_of(request, self.most_bytes)
        principal = None
        if endpoint.access.public:
            watched().begin(is_trusted=False)
        else:
            principal = self.authenticated()
            endpoint.access.refuse_unless_allowed(principal, endpoint.declared.roles)
        work = Work(runtime=self.operon.ready(), endpoint=endpoint, keyed=self.keyed)
        with told(endpoint):
            if endpoint.reads:
                query = dict(request.args.lists())
                values = endpoint.parameters.from_query(path, query)
                return work.read(values, principal)
            return self._write(request, work, path, data, principal)

    def _write(
        self,
        request: Request,
        work: Work,
        path: Mapping[str, str],
        data: bytes,
        principal: Principal | None,
    ) -> Answer:
        endpoint, value = work.endpoint, value_of(request, data)
        key = _key(request, endpoint, value, principal)
        known = None if key is None else work.keyed.known(key)
        if known is not None and key is not None:
            found = work.keyed.replay(known, key)
            if isinstance(found, Answer):
                return found
            return answers.repeated(self._of_run(request, work, found))
        refuse_query(request)
        values = endpoint.parameters.from_body(path, value)
        if is_transaction(endpoint.declared):
            return work.transact(values, principal, key)
        run_id, is_first = work.start(values, principal, key)
        given = self._of_run(request, work, run_id, is_new=is_first)
        return given if is_first else answers.repeated(given)

    def _of_run(
        self, request: Request, work: Work, run_id: str, *, is_new: bool = False
    ) -> Answer:
        """Return what *run_id* has come to, or where to ask for it later.

        A new run is not even looked at if the caller does not want to wait.
        """
        wanted = preference_of(request, work.endpoint.wait, self.most_wait)
        if is_new and not wanted.wait:
            going = answers.still_going(run_id, location_of_run(run_id))
            return _preferring(going, wanted)
        results = work.runtime.results
        try:
            given = ending(results, work.endpoint, run_id, wanted.wait)
        except DatabaseUnavailableError:  # it goes on when the database does
            given = None
        except RunNotFoundError:  # it was purged before its key
            raise expired(run_id) from None
        if given is None:
            given = answers.still_going(run_id, location_of_run(run_id))
        return _preferring(given, wanted)


def location_of_run(run_id: str) -> str:
    """Return where the run is found, below the prefix of the current request."""
    return url_for(".run_show", run_id=run_id)


def _key(
    request: Request, endpoint: Endpoint, value: Any, principal: Principal | None
) -> RequestKey | None:
    """Return by what *request* is known, if it has a key of its own or the caller's."""
    if endpoint.idempotency == "off":
        return None
    natural = None if endpoint.key is None else endpoint.key(request)
    given = request.headers.getlist(HEADER) if natural is None else [natural]
    key = key_of(
        given,
        required=endpoint.idempotency == "required",
        public=endpoint.access.public and natural is None,
    )
    return None if key is None else asked_by(request, value).under(key, principal)


def refuse_query(request: Request) -> None:
    """Refuse query parameters where there are none."""
    flaws = [
        Flaw(f"query/{escaped(name)}", "There is no such parameter")
        for name in request.args
    ]
    if flaws:
        raise Problem(INVALID, "The query is to be empty", errors=flaws)


def _preferring(given: Answer, wanted: Preference) -> Answer:
    if wanted.applied is None:
        return given
    headers = {**given.headers, "Preference-Applied": wanted.applied}
    return Answer(status=given.status, headers=headers, body=given.body)
