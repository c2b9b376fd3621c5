"""Work: what an endpoint does for a request, once, and how that is answered.

The key of a request is written in the transaction that does its work: with the business
rows and the result of a transaction, or with the row of the run of a workflow. So after
any crash a request that is sent again finds its answer, or is the first.
"""

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Mapping
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import exc

from operon.engine.enqueueing import enqueue
from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.faults import sqlstate_of
from operon.engine.flow import ControlFlow
from operon.engine.flow import IdTaken
from operon.engine.patience import insist
from operon.errors import DatabaseUnavailableError
from operon.errors import MisuseError
from operon.flask import answers
from operon.flask.endpoint import Endpoint
from operon.flask.problem import IN_PROGRESS
from operon.flask.problem import INVALID
from operon.flask.problem import KEY_REUSED
from operon.flask.problem import RESULT_EXPIRED
from operon.flask.problem import Problem
from operon.flask.problem import Refused
from operon.flask.telling import outcome_unknown
from operon.flask.tokens import Principal
from operon.flask.turns import turn
from operon.ids import new_id
from operon.request import Request
from operon.request import StartOptions
from operon.request import request
from operon.runtime import Runtime
from operon.store import requests
from operon.store.requests import Answer
from operon.store.requests import Known
from operon.store.requests import RequestKey

_LOCK_TIMEOUT = "55P03"  # SQLSTATE


class _StillGoing(ControlFlow):
    """The same request is being worked on, and will be for longer than one waits."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Does what one endpoint is for."""

    runtime: Runtime
    endpoint: Endpoint
    key_patience: timedelta
    """How long to wait for the same request, while it is being worked on."""

    def known(self, key: RequestKey) -> Known | None:
        """Return what the key was used for before, if it was."""

        def read() -> Known | None:
            with self._services.database.reading() as connection:
                return requests.find(connection, key)

        return insist(self._services.clock, self._services.patience, read)

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
            with self._alone(key):
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
        asked, services = self._request(values, principal), self._services

        def write(connection: Connection) -> None:
            if key is not None:
                self.claim(connection, key, asked.new.id)
            enqueue(services, connection, asked, "return")

        try:
            with self._alone(key):
                self._commit(write)
        except exc.IntegrityError as error:
            if key is None or classify(error) is not Fault.TAKEN:
                raise
            run_id = self._run_of(key)
            return run_id, run_id == asked.new.id
        services.tell_due()
        return asked.new.id, True

    def replay(self, known: Known, key: RequestKey) -> Answer | str:
        """Return the answer of the same request, or the run that will tell it.

        Raises:
            Problem: The key is another request's, or its answer was pruned.
        """
        if known.fingerprint != key.fingerprint:
            raise Problem(KEY_REUSED, "Use a new key for another request")
        if known.answer is not None:
            return answers.repeated(known.answer)
        if known.is_pruned or known.run_id is None:
            raise expired(known.run_id)
        return known.run_id

    def claim(
        self,
        connection: Connection,
        key: RequestKey,
        run_id: str | None,
        answer: Answer | None = None,
    ) -> None:
        """Write the row of *key* in the transaction of *connection*.

        Raises:
            IntegrityError: It is taken.
            ControlFlow: Whoever takes it has not committed in time.
        """
        try:
            requests.claim(
                connection,
                self._services.database.backend,
                key,
                run_id,
                patience=self.key_patience,
                clock=self._services.clock,
                answer=answer,
            )
        except exc.OperationalError as error:
            if sqlstate_of(error) == _LOCK_TIMEOUT:
                raise _StillGoing from error
            raise

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
            )
        except MisuseError as error:
            raise Problem(INVALID, "A value cannot be stored") from error

    def _commit(self, write: Callable[[Connection], None]) -> None:
        """Do *write* in a transaction of its own, in spite of a busy database.

        Raises:
            Problem: Nobody knows whether it was done.
            DatabaseUnavailableError: It was not.
        """
        services, is_unknown = self._services, False

        def once() -> None:
            nonlocal is_unknown
            is_sent = False
            try:
                with services.database.transaction() as connection:
                    write(connection)
                    is_sent = True  # as far as one can tell: COMMIT is next
            except exc.SQLAlchemyError as error:
                is_unknown |= is_sent and classify(error) is Fault.LOST
                raise

        try:
            insist(services.clock, services.patience, once)
        except DatabaseUnavailableError as error:
            if is_unknown:
                raise outcome_unknown() from error
            raise

    @contextmanager
    def _alone(self, key: RequestKey | None) -> Generator[None, None, None]:
        """Do within the block what *key* is for, while nobody else does.

        Raises:
            Problem: Somebody does, and for longer than one waits.
        """
        services = self._services
        with ExitStack() as stack:
            if key is not None and services.database.backend.name == "sqlite":
                what = (services.database.engine, key.scope, key.key)
                mine = turn(what, self.key_patience, services.clock)
                try:
                    stack.enter_context(mine)
                except TimeoutError:
                    raise _in_progress() from None
            try:
                yield
            except _StillGoing:
                raise _in_progress() from None

    def _taken(self, key: RequestKey) -> Answer | str:
        """Return what *key*, which is taken and never freed, stands for.

        Raises:
            Problem: It is another request's; or the database is away, but the work
                was done.
        """
        try:
            known = self.known(key)
        except DatabaseUnavailableError as error:
            raise outcome_unknown() from error
        assert known is not None  # noqa: S101 - as said above
        return self.replay(known, key)

    def _found(self, key: RequestKey | None) -> Answer:
        """Return the answer that somebody else's transaction has just recorded."""
        assert key is not None  # noqa: S101 - without one nothing is taken
        found = self._taken(key)
        assert isinstance(found, Answer)  # noqa: S101 - a transaction's is written with it
        return found

    def _run_of(self, key: RequestKey) -> str:
        found = self._taken(key)
        assert isinstance(found, str)  # noqa: S101 - a workflow's answer is its run
        return found

    def _refused(self, refusal: Refused, key: RequestKey | None) -> Answer:
        """Record the handler's final refusal under *key*; return it as an answer."""
        answer = answers.of_problem(refusal.problem)
        if key is None:
            return answer
        kept = answers.repeatable(answer)
        try:
            with self._alone(key):
                self._commit(lambda connection: self.claim(connection, key, None, kept))
        except exc.IntegrityError as error:
            if classify(error) is not Fault.TAKEN:
                raise
            return self._found(key)
        return answer


def expired(run_id: str | None) -> Problem:
    """Return what is told when the work was done, and nobody knows the answer."""
    detail = "It was done; what it came to is not kept any more"
    return Problem(RESULT_EXPIRED, detail, run_id=run_id)


def _in_progress() -> Problem:
    return Problem(IN_PROGRESS, "Ask again in a moment", headers={"Retry-After": "1"})


@dataclass
class _Keyed:
    """The row of a key, in the commit of the transaction that does the work."""

    work: Work
    key: RequestKey
    answer: Answer | None = None

    def begin(self, connection: Connection, run_id: str) -> None:
        """Take the key; whoever sends the same request meanwhile waits here."""
        self.run_id = run_id
        self.work.claim(connection, self.key, run_id)

    def end(self, connection: Connection, result: Any) -> None:
        """Write the answer beside it."""
        self.answer = answers.of_result(self.work.endpoint, result, self.run_id)
        requests.answer(
            connection, self.key, answers.repeatable(self.answer), self.run_id
        )
