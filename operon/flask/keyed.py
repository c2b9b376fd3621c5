"""Keyed: what is done once for each idempotency key, in one commit with its row."""

from collections.abc import Callable
from collections.abc import Generator
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection
from sqlalchemy import exc
from sqlalchemy.orm import Session

from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.faults import sqlstate_of
from operon.engine.flow import ControlFlow
from operon.engine.patience import insist
from operon.engine.services import Services
from operon.errors import DatabaseUnavailableError
from operon.flask import answers
from operon.flask.problem import IN_PROGRESS
from operon.flask.problem import KEY_REUSED
from operon.flask.problem import RESULT_EXPIRED
from operon.flask.problem import Problem
from operon.flask.telling import outcome_unknown
from operon.flask.turns import turn
from operon.store import requests
from operon.store.requests import Answer
from operon.store.requests import Known
from operon.store.requests import RequestKey

_LOCK_TIMEOUT = "55P03"  # SQLSTATE


class _StillGoing(ControlFlow):
    """The same request is being worked on, and will be for longer than one waits."""


@dataclass(frozen=True)
class Keyed:
    """Does things once for each key."""

    services: Services
    patience: timedelta
    """How long to wait for the same request, while it is being worked on."""

    def known(self, key: RequestKey) -> Known | None:
        """Return what the key was used for before, if it was."""

        def read() -> Known | None:
            with self.services.database.reading() as connection:
                return requests.find(connection, key)

        return insist(self.services.clock, self.services.patience, read)

    def once(self, key: RequestKey, do: Callable[[Session], Answer]) -> Answer:
        """Return what *do* answers in the transaction that writes *key*, or did before.

        Raises:
            Problem: The key is another request's, the same one is being worked on, or
                nobody knows whether it was done.
            Exception: What *do* raised, and nothing was done.
        """
        known, given = self.known(key), None
        if known is not None:
            return self.stored(self.replay(known, key))

        def write(connection: Connection) -> None:
            nonlocal given
            self.claim(connection, key, None)
            with Session(connection, expire_on_commit=False) as session:
                given = do(session)
            kept = answers.repeatable(given)
            requests.answer(connection, key, kept, given.headers.get(answers.RUN_ID))

        before = self.commit_unless_taken(key, write)
        if before is not None:
            return self.stored(before)
        assert given is not None  # noqa: S101 - it was written
        return given

    def commit_unless_taken(
        self, key: RequestKey | None, write: Callable[[Connection], None]
    ) -> Answer | str | None:
        """Do *write*, which claims *key*, in a transaction of its own.

        Returns:
            What the key stands for already, and nothing was done; None if it was done.

        Raises:
            Problem: The same request is being worked on, or nobody knows whether it
                was done.
            DatabaseUnavailableError: It was not.
        """
        try:
            with self.alone(key):
                self._commit(write)
        except exc.IntegrityError as error:
            if key is None or classify(error) is not Fault.TAKEN:
                raise
            return self.taken(key)
        return None

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

    def stored(self, found: Answer | str) -> Answer:
        """Return *found*, which is no run: its work was done in one commit with it."""
        assert isinstance(found, Answer)  # noqa: S101 - as said above
        return found

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
                self.services.database.backend,
                key,
                run_id,
                patience=self.patience,
                clock=self.services.clock,
                answer=answer,
            )
        except exc.OperationalError as error:
            if sqlstate_of(error) == _LOCK_TIMEOUT:
                raise _StillGoing from error
            raise

    def _commit(self, write: Callable[[Connection], None]) -> None:
        """Do *write* in a transaction of its own, in spite of a busy database.

        Raises:
            Problem: Nobody knows whether it was done.
            DatabaseUnavailableError: It was not.
        """
        services, is_unknown = self.services, False

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
    def alone(self, key: RequestKey | None) -> Generator[None, None, None]:
        """Do within the block what *key* is for, while nobody else does.

        Raises:
            Problem: Somebody does, and for longer than one waits.
        """
        services = self.services
        with ExitStack() as stack:
            if key is not None and services.database.backend.name == "sqlite":
                what = (services.database.engine, key.scope, key.key)
                mine = turn(what, self.patience, services.clock)
                try:
                    stack.enter_context(mine)
                except TimeoutError:
                    raise _in_progress() from None
            try:
                yield
            except _StillGoing:
                raise _in_progress() from None

    def taken(self, key: RequestKey) -> Answer | str:
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


def expired(run_id: str | None) -> Problem:
    """Return what is told when the work was done, and nobody knows the answer."""
    detail = "It was done; what it came to is not kept any more"
    return Problem(RESULT_EXPIRED, detail, run_id=run_id)


def _in_progress() -> Problem:
    return Problem(IN_PROGRESS, "Ask again in a moment", headers={"Retry-After": "1"})
