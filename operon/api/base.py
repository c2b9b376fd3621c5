"""What every part of the API stands on: the process, and whose transaction is meant."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from operon.api.afterwards import after_commit
from operon.context import Place
from operon.context import frame
from operon.engine.patience import insist
from operon.engine.services import Services
from operon.errors import MisuseError
from operon.runtime import Process
from operon.runtime import Runtime

T = TypeVar("T")


class Part:
    """A part of the API; all parts of one Operon share its process."""

    @property
    def _process(self) -> Process:
        """What it has in this process."""
        raise NotImplementedError  # `Operon` has one; Flask's, one per application

    def _ready(self) -> Runtime:
        return self._process.ready()

    def _read(self, query: Callable[[Session], T]) -> T:
        """Return what *query* reads, detached, in spite of a busy database."""
        services = self._ready().services

        def read() -> T:
            with (
                services.database.reading() as connection,
                Session(bind=connection, expire_on_commit=False) as session,
            ):
                found = query(session)
                session.expunge_all()
                return found

        return insist(services.clock, services.patience, read)

    def _write(
        self,
        called: str,
        write: Callable[[Connection], T],
        *,
        session: Session | None = None,
        tell: "Callable[[Services, T], None] | None" = None,
        instead: str = "call it from a step or an activity of the workflow",
    ) -> T:
        """Do *write*: in *session*'s transaction, in the step's, or in one of its own.

        Executors are told by *tell* once that has committed.

        Raises:
            MisuseError: A body calls; *instead* says what it should do.
            DatabaseUnavailableError: It could not be written in time.
        """
        refuse_in_body(called, instead)
        place = frame()
        if session is None and place is not None:
            session = place.session
        services = self._ready().services
        if session is not None:
            written = write(services.database.joined(session))
            if tell is not None:
                after_commit(session, partial(tell, services, written))
            return written

        def alone() -> T:
            with services.database.transaction() as connection:
                return write(connection)

        written = insist(services.clock, services.patience, alone)
        if tell is not None:
            tell(services, written)
        return written


def refuse_in_body(called: str, instead: str) -> None:
    """Refuse *called* in a body, where it would happen again on every replay.

    Raises:
        MisuseError: A body is executing here.
    """
    place = frame()
    if place is not None and place.place is Place.BODY:
        raise MisuseError(
            called,
            "was called inside a body, where it would happen again on every replay",
            cure=instead,
        )
