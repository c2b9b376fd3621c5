"""The blueprint: workflows and transactions as endpoints of any Flask application."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from typing import TypeVar
from typing import Unpack

from flask import Blueprint
from flask import Response
from flask import request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed

from operon.app import Operon
from operon.clock import FollowingClock
from operon.flask import answers
from operon.flask import health
from operon.flask.endpoint import Endpoint
from operon.flask.endpoint import EndpointOptions
from operon.flask.endpoint import Method
from operon.flask.endpoint import Serves
from operon.flask.endpoint import declared_endpoint
from operon.flask.idempotency import Idempotency
from operon.flask.openapi import document
from operon.flask.problem import METHOD_NOT_ALLOWED
from operon.flask.problem import NOT_FOUND
from operon.flask.problem import Problem
from operon.flask.run_routes import RunRoutes
from operon.flask.serving import Serving
from operon.flask.tokens import JWTIssuer
from operon.flask.tokens import TokenVerifier
from operon.flask.tokens import Verifier
from operon.store.requests import Answer

T = TypeVar("T")

_MOST_WAIT = timedelta(seconds=60)


class Routes:
    """What can be served, by HTTP method."""

    def get(self, rule: str, **options: Unpack[EndpointOptions]) -> Serves:
        """Serve a read-only transaction; its parameters are path and query."""
        return self._serve("GET", rule, options)

    def post(self, rule: str, **options: Unpack[EndpointOptions]) -> Serves:
        """Serve a workflow or transaction; its members are path and body."""
        return self._serve("POST", rule, options)

    def put(self, rule: str, **options: Unpack[EndpointOptions]) -> Serves:
        """Do as `post`."""
        return self._serve("PUT", rule, options)

    def patch(self, rule: str, **options: Unpack[EndpointOptions]) -> Serves:
        """Do as `post`."""
        return self._serve("PATCH", rule, options)

    def delete(self, rule: str, **options: Unpack[EndpointOptions]) -> Serves:
        """Do as `post`."""
        return self._serve("DELETE", rule, options)

    def _serve(self, method: Method, rule: str, options: EndpointOptions) -> Serves:
        raise NotImplementedError  # only a mixin: the blueprint serves


# Flask's own take any function; these take workflows and transactions only
class OperonBlueprint(Routes, Blueprint):  # type: ignore[misc] # as said above
    """Serves workflows and transactions, each request once and only once.

    Args:
        name: The blueprint's name in Flask.
        operon: What executes them; its database keeps the idempotency keys.
        issuers: Whose tokens are accepted.
        verifier: What checks tokens, in place of *issuers*.
        idempotency: Whether its endpoints take, or ask for, an idempotency key.
        max_body: How many bytes a body may have.
        key_patience: How long a request waits for the same one to commit.
        title: What the API is called in its OpenAPI document; by default *name*.
        version: The API's version there.
        import_name: The module it belongs to, for Flask's resources.
        options: Flask's own, such as `url_prefix`.
    """

    def __init__(
        self,
        name: str,
        operon: Operon,
        *,
        issuers: Sequence[JWTIssuer] = (),
        verifier: TokenVerifier | None = None,
        idempotency: Idempotency = "optional",
        max_body: int = 1024 * 1024,
        key_patience: timedelta = timedelta(seconds=2),
        title: str | None = None,
        version: str = "1",
        import_name: str = __name__,
        **options: Any,
    ) -> None:
        super().__init__(name, import_name, **options)
        if verifier is None and issuers:
            clock = FollowingClock(lambda: operon.settings.clock)  # a test turns it
            verifier = Verifier(issuers, clock=clock)
        self._idempotency: Idempotency = idempotency
        self._endpoints: list[Endpoint] = []
        self._serving = Serving(
            operon=operon,
            verifier=verifier,
            most_bytes=max_body,
            most_wait=_MOST_WAIT,
            key_patience=key_patience,
        )
        self._title, self._version, self._prefix = title or name, version, ""
        self.add_url_rule("/openapi.json", "openapi", self._show_openapi)
        self.add_url_rule("/health/live", "live", self._show_live)
        self.add_url_rule("/health/ready", "ready", self._show_ready)
        RunRoutes(self._serving, self._endpoints).add_to(self)
        self.record(self._begin)

    def _show_openapi(self) -> Response:
        # another application may have this blueprint below another prefix
        prefix = str(request.url_rule).removesuffix("/openapi.json")
        return self._serving.guarded(lambda: answers.of_json(self._document(prefix)))

    def _show_live(self) -> Response:
        return self._serving.guarded(health.live)

    def _show_ready(self) -> Response:
        return self._serving.guarded(partial(health.ready, self._serving.operon))

    def _serve(self, method: Method, rule: str, options: EndpointOptions) -> Serves:
        """Return a decorator that serves what it decorates.

        Raises:
            DeclarationError: It cannot be served, or says nothing of who may use it.
        """
        asked: EndpointOptions = {"idempotency": self._idempotency, **options}

        def serve(target: T) -> T:
            self._add(declared_endpoint(target, method, rule, asked))
            return target

        return serve

    def _add(self, endpoint: Endpoint) -> None:
        def view(**path: Any) -> Response:
            return self._serving.serve(endpoint, path)

        self._endpoints.append(endpoint)
        self.add_url_rule(endpoint.rule, endpoint.name, view, methods=[endpoint.method])

    def _begin(self, state: BlueprintSetupState) -> None:
        """Resolve what is served, and answer for all that is below the prefix."""
        for endpoint in self._endpoints:
            endpoint.resolve()
        prefix = (state.url_prefix or "").rstrip("/") + "/"

        def refuse_unknown() -> Response | None:
            error = request.routing_exception
            if error is None or not request.path.startswith(prefix):
                return None
            return self._serving.guarded(lambda: _refusal(error))

        state.app.before_request(refuse_unknown)
        self._prefix = prefix.rstrip("/")

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document of what is served; the blueprint is registered.

        It is served at `/openapi.json` below the blueprint's prefix.
        """
        return self._document(self._prefix)

    def _document(self, prefix: str) -> dict[str, Any]:
        return document(
            self._endpoints, title=self._title, version=self._version, prefix=prefix
        )


def _refusal(error: HTTPException) -> Answer:
    if isinstance(error, MethodNotAllowed):
        allowed = {"Allow": ", ".join(sorted(error.valid_methods or ()))}
        raise Problem(METHOD_NOT_ALLOWED, "Use another method", headers=allowed)
    # or Flask would send the caller elsewhere, to the same path with other slashes
    raise Problem(NOT_FOUND, "There is nothing at this path") from error
