"""What is explored: workflows that are right, and some with a planted bug each."""

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from sqlalchemy import ForeignKey
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import Session
from sqlalchemy.orm import mapped_column

from operon import Retry
from operon import Workflow
from operon import activity
from operon import current
from operon import step
from tests import shop

A_MONTH = timedelta(days=30)


class Base(DeclarativeBase):
    pass


class Ticket(Base):
    """A row with a random key, to which another one refers."""

    __tablename__ = "explored_tickets"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: uuid4().hex)
    kind: Mapped[str]


class Seat(Base):
    __tablename__ = "explored_seats"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: uuid4().hex)
    ticket_id: Mapped[str] = mapped_column(ForeignKey(Ticket.id))


def order(session: Session, status: str) -> int:
    """Write an order, and return its id."""
    written = shop.Order(sku="book", quantity=1, run_id=current().run_id, status=status)
    session.add(written)
    session.flush()
    return written.id


class ExploredErrand(Workflow):
    """A child: something outside, and a step."""

    text: str

    @activity
    def pay(self) -> str:
        return shop.happen(current().idempotency_key)

    @step
    def take(self, session: Session, paid: str) -> str:
        order(session, self.text)
        return paid

    def run(self) -> str:
        return self.take(self.pay())


class ExploredTalker(Workflow):
    """Tells whatever a body can tell, goes on as another run, and listens."""

    goes_on: bool = True

    @step
    def write_down(self, session: Session, text: str) -> int:
        return order(session, text)

    def run(self) -> None:
        if not self.goes_on:
            self.write_down(str(self.receive("later")))
            return
        self.send(current().run_id, "later", "word")
        self.publish("stage", "asked")
        self.write("log", "begun")
        self.write_down(str(self.receive("never", timeout=A_MONTH)))
        self.continue_as(ExploredTalker(goes_on=False))


class ExploredFamily(Workflow):
    """Has two children, one after the other: whose turn it is decides no row."""

    @step
    def write_down(self, session: Session, text: str) -> int:
        return order(session, text)

    def run(self) -> None:
        started = self.start(ExploredErrand("started")).result()
        self.write_down(started + self.call(ExploredErrand("called")))


class ExploredTrier(Workflow):
    """Fails and tries again, does two things at once, and sleeps."""

    @step(retry=Retry(attempts=2, delay=timedelta(hours=1)))
    def stumble(self, session: Session) -> int:
        written = order(session, "stumbled")
        if current().attempt == 1:
            raise ConnectionError("the first attempt fails")
        return written

    @activity(timeout=timedelta(seconds=20))
    def ring(self, number: int) -> str:
        return shop.happen(f"{current().idempotency_key} {number}")

    def run(self) -> None:
        self.stumble()
        self.gather(self.spawn(self.ring, 1), self.spawn(self.ring, 2))
        self.sleep(A_MONTH)
        self.stumble()


class ExploredTicketing(Workflow):
    """Rows with random keys, which refer to each other."""

    @step
    def issue(self, session: Session) -> str:
        ticket = Ticket(kind="concert")
        session.add(ticket)
        session.flush()
        return ticket.id

    @step
    def seat(self, session: Session, ticket: str) -> None:
        session.add_all([Seat(ticket_id=ticket), Seat(ticket_id=ticket)])

    def run(self) -> str:
        ticket = self.issue()
        self.seat(ticket)
        return ticket


class ExploredListener(Workflow):
    """Waits for somebody outside."""

    @step
    def write_down(self, session: Session, text: str) -> int:
        return order(session, text)

    def run(self) -> int:
        return self.write_down(self.receive("word", type=str) or "")


class ExploredTidier(Workflow):
    """Cleans up outside, whatever happens inside."""

    @step
    def work(self, session: Session) -> int:
        return order(session, "worked")

    @activity
    def tidy(self) -> None:
        shop.happen("tidied")

    def run(self) -> int:
        try:
            return self.work()
        finally:
            self.tidy()


class PlantedCounter(Workflow):
    """Bug: the charge is a new one for each call, whatever the idempotency key."""

    @activity
    def charge(self) -> str:
        shop.happen("charge")
        ledger = Path(os.environ[shop.LEDGER])
        return f"charge {len(shop.happened(ledger))}"

    @step
    def settle(self, session: Session, charge: str) -> None:
        order(session, charge)

    def run(self) -> None:
        self.settle(self.charge())


class PlantedQuietCounter(Workflow):
    """Bug: as above, and no row tells."""

    @activity
    def charge(self) -> None:
        shop.happen("charge")

    def run(self) -> None:
        self.charge()


class PlantedThirdCall(Workflow):
    """Bug: the third call is not like the first two; one crash makes only two."""

    @activity
    def charge(self) -> str:
        shop.happen("charge")
        calls = len(shop.happened(Path(os.environ[shop.LEDGER])))
        return "too many" if calls > 2 else "fine"

    def run(self) -> str:
        return self.charge()


class PlantedOtherConnection(Workflow):
    """Bug: the step's order is committed by another connection than its own."""

    url: str

    @step
    def reserve(self, session: Session) -> None:
        engine = create_engine(self.url)
        with Session(engine) as other, other.begin():
            other.add(shop.Order(sku="book", quantity=1, run_id="other"))
        engine.dispose()

    def run(self) -> None:
        self.reserve()


class PlantedRefusal(Workflow):
    """Bug: each time, a step is refused by the database, in its code or at its end."""

    in_code: bool = True

    @activity
    def look(self) -> None:
        raise LookupError("nothing is there")

    @step
    def reserve(self, session: Session) -> None:
        order(session, "refused")
        if self.in_code:
            gone = ConnectionError("gone")
            raise OperationalError("SELECT", None, gone, connection_invalidated=True)
        session.info["refuse"] = True

    def run(self) -> None:
        with suppress(LookupError):
            self.look()
        self.reserve()


class PlantedChance(Workflow):
    """Bug: the first time the body is played it does something else."""

    @step
    def even(self, session: Session) -> None:
        order(session, "even")

    @step
    def odd(self, session: Session) -> None:
        order(session, "odd")

    @step
    def end(self, session: Session) -> None:
        order(session, "end")

    def run(self) -> None:
        PLAYS.append("played")
        if len(PLAYS) == 1:
            self.odd()
        else:
            self.even()
        self.end()


PLAYS: list[str] = []
"""What the body of `PlantedChance` must not look at."""
