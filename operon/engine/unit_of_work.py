"""The unit of work: session and transaction of one attempt of one step.

This is the only place that commits business rows. The rows, the fence and the
checkpoint are one transaction: the record is sent when the session has flushed and
every listener has had its say, in one message with COMMIT.
"""

from collections.abc import Callable
from collections.abc import Generator
from contextlib import ExitStack
from contextlib import contextmanager
from typing import NoReturn

from sqlalchemy import Connection
from sqlalchemy import ExceptionContext
from sqlalchemy import exc

from operon.engine.faults import Fault
from operon.engine.faults import classify
from operon.engine.guard import UNIT_OPTION
from operon.engine.guard import GuardedSession
from operon.engine.rejected import Rejected
from operon.engine.services import Services
from operon.errors import CommitInStepError
from operon.points import Point
from operon.store.dialect import driver_of
from operon.store.direct import Direct

Send = Callable[[Direct], None]
"""Sends the statement that belongs right after BEGIN, or right before COMMIT."""

_DOOMING = {Fault.CONFLICT, Fault.LOST}
"""What no savepoint undoes: the step begins anew, whatever its code made of it."""


class UnitOfWork:
    """Session and transaction of one attempt of one step.

    Attributes:
        session: What the step's function gets.
        connection: The same transaction, for Operon's own rows in it.
        step: The step's name.
        isolation: The isolation level of the transaction.
    """

    def __init__(
        self, services: Services, connection: Connection, *, step: str, run_id: str
    ) -> None:
        self.step = step
        self.connection = connection
        self.ending = False
        self.flushing = False
        self.touched = False
        self.rolled_back = False
        self.refusal: CommitInStepError | None = None
        self.first_error: BaseException | None = None
        self._first_fault = Fault.USER
        self._services = services
        self._run_id = run_id
        self._send: Send | None = None
        self._sent = False
        self._until_committed = ExitStack()
        self.session: GuardedSession = services.sessions(bind=connection)
        self.session.operon_unit = self

    def begin(
        self, isolation: str, *, read_only: bool, first: Send | None, ahead: bool
    ) -> None:
        """Open the transaction, so that nothing about it can be changed any more."""
        self.session.begin()
        self.session.connection()
        backend = self._services.database.backend
        driver = driver_of(self.connection)
        opening = backend.opening(driver, isolation, read_only=read_only, ahead=ahead)
        if first is None:
            opening.begin()
        else:
            first(opening)
        self.connection.execution_options(**{UNIT_OPTION: self})
        self._services.probe(Point.BEGAN, self._run_id)

    def commit(self, send: Send | None) -> None:
        """Flush, then commit together with what *send* sends last.

        Raises:
            CommitInStepError: The step ended the transaction behind Operon's back.
        """
        self.session.flush()
        self._services.probe(Point.FLUSHED, self._run_id)
        self._refuse_if_ended()
        if self._first_fault in _DOOMING:
            raise Rejected(self._first_fault, sent=False) from self.first_error
        self._services.database.look(self.connection)
        self._send = send
        self.ending = True
        with self._until_committed:
            self.session.commit()
        self._services.probe(Point.COMMITTED, self._run_id)

    def send_record(self, connection: Connection) -> None:
        """Send the record as the last statement; SQLAlchemy is about to commit.

        Where the database can take both in one message, COMMIT is part of it.
        """
        if self._send is None:
            return
        self._sent = True
        database = self._services.database
        together = database.backend.commits_with_last
        driver = driver_of(connection)
        with database.backend.committing(driver) as last:
            self._until_committed.enter_context(database.commits.watched(driver))
            self._services.renew(connection)
            if together:
                self._services.probe(Point.RECORDED, self._run_id)
            self._send(last)
            if not together:
                self._services.probe(Point.RECORDED, self._run_id)

    def release(self, connection: Connection) -> None:
        """Send the record, if this savepoint stands for the transaction."""
        is_commit = self.ending and self._services.database.is_bound
        if is_commit and not self._sent:
            self.send_record(connection)

    def end(self) -> None:
        """Close the session; whatever was not committed is rolled back."""
        self.ending = True
        if self._services.database.is_bound:  # the rest is the transaction's around
            self.session.close()
            self.connection.execution_options(**{UNIT_OPTION: None})
            return
        try:
            self.session.close()
        except exc.DBAPIError:  # the connection is gone, and its transaction with it
            self._drop_connection()
        if self.refusal is not None:
            self._roll_back_by_driver()

    def refuse_unless_ending(self, call: str) -> None:
        """Refuse *call* while the transaction is the step's to use, not to end."""
        if not self.ending:
            self.refuse(call)

    def refuse(self, call: str) -> NoReturn:
        """Refuse *call*, and the step with it, even if its code goes on."""
        self.refusal = CommitInStepError(call, step=self.step)
        raise self.refusal

    def notice(self, context: ExceptionContext) -> None:
        """Keep the transaction's first database error: user code may swallow it."""
        if self.first_error is None:
            self.first_error = context.original_exception
            lost = Fault.LOST if context.is_disconnect else Fault.USER
            found = classify(context.original_exception)
            self._first_fault = lost if found is Fault.USER else found

    def forgive(self) -> None:
        """Forget an error that a savepoint has undone, unless it dooms the rest."""
        if self._first_fault not in _DOOMING:
            self.first_error = None
            self._first_fault = Fault.USER

    def judge(self, error: Exception) -> NoReturn:
        """Raise `Rejected` if the database is to blame for *error*, else *error*."""
        if self.refusal is not None:
            raise self.refusal
        if isinstance(error, CommitInStepError):
            raise error
        fault = classify(error)
        if fault in {Fault.USER, Fault.ABORTED} and self._first_fault is not Fault.USER:
            fault = self._first_fault
        if fault is Fault.LOST:
            self._drop_connection()
        if fault in {Fault.USER, Fault.ABORTED}:
            raise error
        raise Rejected(fault, sent=self._sent) from error

    def _refuse_if_ended(self) -> None:
        """Refuse a transaction the step has ended, or tried to, even if it went on."""
        if self.refusal is not None:
            raise self.refusal
        if not self.session.is_active:
            self.session.connection()  # raises, and says which flush has failed
        if self.rolled_back:
            raise CommitInStepError("rollback()", step=self.step)
        backend = self._services.database.backend
        if self.touched and not backend.in_transaction(self.connection):
            call = "the driver's own commit(), rollback() or close()"
            raise CommitInStepError(call, step=self.step)

    def _roll_back_by_driver(self) -> None:
        """Roll back what SQLAlchemy takes for ended since its COMMIT was refused."""
        if self.connection.closed or self.connection.invalidated:
            return
        try:
            self.connection.connection.rollback()
        except Exception:  # noqa: BLE001 - the driver's error; nothing is left to save
            self._drop_connection()

    def _drop_connection(self) -> None:
        bound = self._services.database.is_bound
        if not bound and not self.connection.invalidated:
            self.connection.invalidate()


@contextmanager
def unit_of_work(
    services: Services,
    *,
    run_id: str,
    step: str,
    isolation: str,
    read_only: bool = False,
    first: Send | None = None,
    ahead: bool = False,
) -> Generator[UnitOfWork, None, None]:
    """Open the unit of work of one attempt; nothing is kept unless it is committed.

    Args:
        services: What the engine works with.
        run_id: Whose step it is.
        step: The step's name.
        isolation: The isolation level of the transaction.
        read_only: The database shall refuse every write.
        first: Sends a statement that belongs right after BEGIN.
        ahead: It belongs right before BEGIN, as a transaction by itself.

    Raises:
        Rejected: The database did not take the transaction.
    """
    with ExitStack() as stack:
        connection = _connect(services, stack)
        if read_only:
            backend = services.database.backend
            stack.enter_context(backend.reading_only(connection))
        unit = UnitOfWork(services, connection, step=step, run_id=run_id)
        stack.callback(unit.end)
        try:
            unit.begin(isolation, read_only=read_only, first=first, ahead=ahead)
            yield unit
        except Exception as error:  # noqa: BLE001 - the unit judges whatever a step raises
            unit.judge(error)


def _connect(services: Services, stack: ExitStack) -> Connection:
    stack.enter_context(services.database.backend.writing())
    try:
        connection = stack.enter_context(services.database.step())
    except exc.SQLAlchemyError as error:
        raise Rejected(classify(error), sent=False) from error
    return connection
