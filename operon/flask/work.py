"""Work: what an endpoint does for a request, once, and how that is answered.

The key of a request is written in the transaction that does its work: with the business
rows and the result of a transaction, or with the row of the run of a workflow. So after
any crash a request that is sent again finds its answer, or is the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from operon.engine.enqueueing import enqueue
from operon.engine.flow import IdTaken
from operon.engine.telling import start_told
from operon.errors import MisuseError
from operon.flask import answers
from operon.flask.endpoint import Endpoint
from operon.flask.keyed import Keyed
from operon.flask.problem import INVALID
from operon.flask.problem import Problem
from operon.flask.problem import Refused
from operon.flask.tokens import Principal
from operon.ids import new_id
from operon.request import Request
from operon.request import StartOptions
from operon.request import request
from operon.runtime import Runtime
from operon.store import requests
from operon.store.requests import Answer
from operon.store.requests import RequestKey


@dataclass(frozen=True, kw_only=True)
class Work:
    """Does what one endpoint is for."""

    runtime: Runtime
    endpoint: Endpoint
    keyed: Keyed

    def read(self, values: Mapping[str, Any], principal: Principal | None) -> Answer:
        """Return the answer of a read-only transaction, which leaves no trace.

        Raises:
            Problem: The transaction refuses it.
            Exception: What else the transaction raised.
        """
        asked = self._request(values, principal)
        try:
            result = self.runtime.executor.read(asked.workflow, asked.new)
        except Refused as refusal:
            raise refusal.problem from None
        return answers.of_result(self.endpoint, result, None)

    def transact(
        self,
        values: Mapping[str, Any],
        principal: Principal | None,
        key: RequestKey | None,
    ) -> Answer:
        """Return the answer of a transaction, done now or, under *key*, before.

        Raises:
            Problem: The same request is being worked on.
            Exception: What the transaction raised, and nothing was done.
        """
        asked = self._request(values, principal)
        companion = None if key is None else _Keyed(self, key)
        try:
            with self.keyed.alone(key):
                result = self.runtime.executor.transact(
                    asked.workflow, asked.new, companion
                )
        except IdTaken:
            return self._found(key)
        except Refused as refusal:
            return self._refused(refusal, key)
        if companion is None or companion.answer is None:
            return answers.of_result(self.endpoint, result, asked.new.id)
        return companion.answer

    def start(
        self,
        values: Mapping[str, Any],
        principal: Principal | None,
        key: RequestKey | None,
    ) -> tuple[str, bool]:
        """Start a run, and write *key* in the same commit.

        Returns:
            The run's id, and whether this request has started it: a key that is taken
            already gives the run it stands for.

        Raises:
            Problem: The same request is being worked on, or nobody knows whether the
                run was started.
        """
        services, declared = self._services, self.endpoint.declared
        with start_told(services, declared) as told:
            run_id, is_first = self._start(self._request(values, principal), key)
            told.run_id = run_id
        if is_first:
            services.tell_due()
        return run_id, is_first

    def _start(self, asked: Request, key: RequestKey | None) -> tuple[str, bool]:
        services = self._services

        def write(connection: Connection) -> None:
            if key is not None:
                self.keyed.claim(connection, key, asked.new.id)
            enqueue(services, connection, asked, "return")

        before = self.keyed.commit_unless_taken(key, write)
        if before is not None:
            assert isinstance(before, str)  # noqa: S101 - a workflow's answer is its run
            return before, before == asked.new.id
        return asked.new.id, True

    @property
    def _services(self) -> Any:
        return self.runtime.services

    def _request(
        self, values: Mapping[str, Any], principal: Principal | None
    ) -> Request:
        services = self._services
        options = StartOptions(
            id=None, principal=None if principal is None else principal.as_json()
        )
        try:
            return request(
                self.endpoint.declared.make(values),
                options,
                parent=None,
                default_id=new_id,
                payloads=services.payloads,
                code_version=services.code_version,
                trace=services.hooks.carry(),
            )
        except MisuseError as error:
            raise Problem(INVALID, "A value cannot be stored") from error

    def _found(self, key: RequestKey | None) -> Answer:
        """Return the answer that somebody else's transaction has just recorded."""
        assert key is not None  # noqa: S101 - without one nothing is taken
        return self.keyed.stored(self.keyed.taken(key))

    def _refused(self, refusal: Refused, key: RequestKey | None) -> Answer:
        """Record the handler's final refusal under *key*; return it as an answer."""
        answer = answers.of_problem(refusal.problem)
        if key is None:
            return answer
        kept = answers.repeatable(answer)
        before = self.keyed.commit_unless_taken(
            key, lambda connection: self.keyed.claim(connection, key, None, kept)
        )
        return answer if before is None else self.keyed.stored(before)


@dataclass
class _Keyed:
    """The row of a key, in the commit of the transaction that does the work."""

    work: Work
    key: RequestKey
    answer: Answer | None = None

    def begin(self, connection: Connection, run_id: str) -> None:
        """Take the key; whoever sends the same request meanwhile waits here."""
        self.run_id = run_id
        self.work.keyed.claim(connection, self.key, run_id)

    def end(self, connection: Connection, result: Any) -> None:
        """Write the answer beside it."""
        self.answer = answers.of_result(self.work.endpoint, result, self.run_id)
        requests.answer(
            connection, self.key, answers.repeatable(self.answer), self.run_id
        )
