"""Crash at event number N, recover, look: for every N, each in a process of its own.

A harness process imports everything once, opens nothing, and forks two children for
each N: one executes the run and kills itself at its event N, one makes the same call
again and says what it finds. What was found is written to a file as JSON, for
`test_boundaries` to judge.

    python -m tests.acceptance.boundaries URL SCENARIO DIRECTORY [PLANTED BUG]
"""

import gc
import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from typing import NoReturn

from sqlalchemy import func
from sqlalchemy import or_
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.orm import Session
from sqlalchemy.orm import configure_mappers

from operon import Operon
from operon import Retry
from operon import Workflow
from operon import activity
from operon import current
from operon import registry
from operon import step
from operon.engine import unit_of_work
from operon.engine.guard import UNIT_OPTION
from operon.models import Attempt
from operon.models import Checkpoint
from operon.models import Event
from operon.models import Message
from operon.models import StreamItem
from operon.models import WorkflowRun
from operon.points import Point
from operon.schema import upgrade
from tests import shop
from tests.sent import Sent
from tests.sent import watching

PATIENCE = 20  # seconds for one child
FIRST_ORDER = 700_000_000
NOT_COUNTED = {  # they do things when they like
    "operon-heartbeat",
    "operon-keeper",
    "operon-notifier",
}


class Stumbling(Workflow):
    """A step whose first attempt fails, an activity that fails, a compensation."""

    sku: str

    @step(retry=Retry(attempts=2, delay=timedelta(0)))
    def stumble(self, session: Session) -> int:
        session.get_one(shop.Product, self.sku).stock -= 1
        order = shop.Order(sku=self.sku, quantity=1, run_id=current().run_id)
        session.add(order)
        session.flush()
        if current().attempt == 1:
            raise ConnectionError("the first attempt fails")
        return order.id

    @activity
    def charge(self, order_id: int) -> str:
        raise shop.PaymentDeclinedError(order_id)

    @step
    def undo(self, session: Session, order_id: int) -> None:
        session.get_one(shop.Order, order_id).status = "cancelled"
        session.get_one(shop.Product, self.sku).stock += 1

    def run(self) -> int:
        order_id = self.stumble()
        try:
            self.charge(order_id)
        except shop.PaymentDeclinedError:
            self.undo(order_id)
            raise
        return order_id


class Errand(Workflow):
    """The child of `Corresponding`: a step and something in the outside world."""

    sku: str

    @activity
    def pay(self) -> str:
        return shop.happen(current().idempotency_key)

    @step
    def take(self, session: Session, paid: str) -> str:
        session.get_one(shop.Product, self.sku).stock -= 1
        return paid

    def run(self) -> str:
        return self.take(self.pay())


class Corresponding(Workflow):
    """Writes to itself, publishes, waits for a child, sleeps, goes on as another."""

    sku: str
    goes_on: bool = True

    @step
    def write_down(self, session: Session, text: str) -> None:
        order = shop.Order(sku=self.sku, quantity=1, run_id=current().run_id)
        order.status = text
        session.add(order)

    def run(self) -> None:
        if not self.goes_on:
            self.write_down(str(self.receive("later")))
            return
        me = current().run_id
        self.send(me, "now", "first")
        self.send(me, "later", "second")
        self.publish("stage", "asked")
        self.call(Errand(self.sku))
        self.publish("stage", "answered")
        self.write("log", self.receive("now"))
        self.sleep(timedelta(0))
        self.write_down(str(self.patched("new")))
        self.annotate(stage="done")
        self.continue_as(Corresponding(self.sku, goes_on=False))


def _make(scenario: str, sku: str) -> Any:
    """Return what *scenario* runs, on a product of its own."""
    match scenario:
        case "transaction":
            return shop.place(sku)
        case "stumbling":
            return Stumbling(sku)
        case "corresponding":
            return Corresponding(sku)
        case _:
            return shop.Checkout(sku)


class Events:
    """Counts what the run does, and ends the process at event number *last*."""

    def __init__(self, last: int | None) -> None:
        self.seen: list[str] = []
        self._last = last
        self._mutex = threading.Lock()
        self.counts_main = True
        self._stack = ExitStack()  # held as long as the process

    def __call__(self, what: str) -> None:
        with self._mutex:
            self.seen.append(what)
            if len(self.seen) == self._last:
                os.kill(os.getpid(), signal.SIGKILL)

    def probe(self, point: Point, run_id: str) -> None:
        del run_id
        self(f"point {point}")

    def watch(self, operon: Operon) -> None:
        """Count every statement and commit of the threads that work on runs."""
        self._stack.enter_context(watching(operon.engine, self._before, self._after))
        dialect = operon.engine.dialect
        dialect.do_commit = self._around("commit", dialect.do_commit)

    def _around(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        def counted(*args: Any) -> None:
            self._note(f"before {name}")
            real(*args)
            self._note(f"after {name}")

        return counted

    def _before(self, sent: Sent) -> None:
        self._note(f"before {sent.text[:40]}")

    def _after(self, sent: Sent) -> None:
        self._note(f"after {sent.text[:40]}")

    def _note(self, what: str) -> None:
        thread = threading.current_thread()
        is_main = thread is threading.main_thread()
        if thread.name not in NOT_COUNTED and (self.counts_main or not is_main):
            self(what)


class Harness:
    """Forks the children of one scenario on one database."""

    def __init__(self, url: str, scenario: str, directory: Path) -> None:
        self.url = url
        self.scenario = scenario
        self.directory = directory
        self._offset = os.getpid() * 1000

    def clean(self) -> dict[str, Any]:
        """Run without a crash; return the events and the end state."""
        return self._told(0, lambda: self._execute(0, Events(None)))

    def crash(self, number: int) -> dict[str, Any]:
        """Crash at event *number*, recover, and return what was found."""
        status = self._fork(lambda: self._execute(number, Events(number)))
        found = self._told(number, lambda: self._recover(number))
        return {"died_by": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0} | found

    def _told(self, number: int, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do *work* in a child; return what it came to."""
        path = self.directory / f"{number}.json"

        def tell() -> None:
            path.write_text(json.dumps(work(), default=str), encoding="utf-8")

        status = self._fork(tell)
        if status:
            return {"failed": f"{number}: the child ended with status {status}"}
        return json.loads(path.read_text(encoding="utf-8"))

    def _fork(self, work: Callable[[], Any]) -> int:
        """Do *work* in a child that is given `PATIENCE`; return its wait status."""
        pid = os.fork()
        if pid == 0:
            _as_child(work)
        return os.waitpid(pid, 0)[1]

    def _execute(self, number: int, events: Events) -> dict[str, Any]:
        """Run to the end, or to the crash."""
        os.environ[shop.LEDGER] = str(self._ledger(number))
        operon = Operon(
            self.url,
            migrate="never",
            probe=events.probe,
            threads=2,
            lease=timedelta(minutes=10),
            heartbeat=timedelta(seconds=5),
            # every wait is one without a thread
            inline_wait=timedelta(seconds=self.scenario != "corresponding"),
        )
        events.watch(operon)
        asked, run_id = _make(self.scenario, _sku(number)), _run_id(number)
        result, error = None, None
        try:
            if self.scenario == "launched":
                handle = operon.start(asked, id=run_id)
                operon.launch()
                events.counts_main = False
                result = handle.result(timedelta(seconds=PATIENCE))
            else:
                result = operon.run(asked, id=run_id)
        except shop.PaymentDeclinedError as declined:
            error = repr(type(declined))
        events.counts_main = False  # shutting down is not the run's
        operon.shutdown(timedelta(seconds=PATIENCE))
        seen = list(events.seen)
        return {
            "events": seen,
            "returned": result is not None,
            "error": error,
            "ledger": len(shop.happened(self._ledger(number))),
            "state": self._state(operon, number, result),
        }

    def _recover(self, number: int) -> dict[str, Any]:
        """Look at what the crash left, make the same call again, look again."""
        operon = Operon(self.url, migrate="never")
        with Session(operon.engine) as session:
            query = select(func.count()).where(
                _is_of(Checkpoint.run_id, _run_id(number)),
                Checkpoint.kind == "activity",
            )
            recorded = session.scalar(query)
        operon.engine.dispose()
        effects = len(shop.happened(self._ledger(number)))
        found = self._execute(number, Events(None))
        return {**found, "effects_before": effects, "recorded_before": recorded}

    def _ledger(self, number: int) -> Path:
        return self.directory / f"{number}.ledger"

    def _state(self, operon: Operon, number: int, result: Any) -> dict[str, Any]:
        """Return the rows of run *number*; what may differ between runs is masked."""
        sku, run_id = _sku(number), _run_id(number)
        with Session(operon.engine) as session:
            orders = list(
                session.scalars(
                    select(shop.Order).where(
                        shop.Order.sku == sku, shop.Order.id > FIRST_ORDER
                    )
                )
            )
            ids = [order.id for order in orders]
            payments = session.scalars(
                select(shop.Payment).where(shop.Payment.order_id.in_(ids))
            )
            masks = [(run_id, "RUN"), (sku, "SKU")]
            # ids differ, since a crashed attempt may have used one up; they are so
            # long that nothing else looks like one
            masks += [(str(each), "ORDER") for each in ids]
            state = {
                "products": session.get_one(shop.Product, sku).stock,
                "orders": [_row(each, {"id"}, masks) for each in orders],
                "payments": [
                    {"order": ids.index(each.order_id)}
                    | _row(each, {"id", "order_id"}, masks)
                    for each in payments
                ],
                **{
                    cls.__tablename__: _rows(session, cls, _is_of(key, run_id), masks)
                    for cls, key in KEYS.items()
                },
                "result is the order": result is None or [result] == ids,
            }
        operon.engine.dispose()
        return state


KEYS: dict[Any, Any] = {
    WorkflowRun: WorkflowRun.id,
    Checkpoint: Checkpoint.run_id,
    Attempt: Attempt.run_id,
    Message: Message.run_id,
    Event: Event.run_id,
    StreamItem: StreamItem.run_id,
}

_MASKED = {
    "executor", "epoch", "recoveries", "due_at", "created_at", "started_at",
    "finished_at", "failed_at", "next_at", "transaction_id", "snapshot", "traceback",
    "wait_kind", "wait_on", "wait_key", "wait_position", "wait_until", "wake_at",
    "sent_at", "published_at", "written_at",
}  # fmt: skip


def _is_of(key: Any, run_id: str) -> Any:
    """Return the condition that *key* is the run, a child of it, or of its chain."""
    return or_(key == run_id, key.like(f"{run_id}/%"), key.like(f"{run_id}~%"))


def _rows(
    session: Session, cls: Any, condition: Any, masks: list[tuple[str, str]]
) -> list[dict[str, Any]]:
    rows = session.scalars(select(cls).where(condition).order_by(*cls.__table__.c[:3]))
    masked = _MASKED | ({"id"} if cls is Message else set())
    return [_row(each, masked, masks) for each in rows]


def _row(row: Any, without: set[str], masks: list[tuple[str, str]]) -> dict[str, Any]:
    values = {
        name: getattr(row, name)
        for name in type(row).__table__.c.keys()  # noqa: SIM118 - names, not columns
        if name not in without
    }
    if "fingerprint" in values:
        digest = hashlib.sha256(values["input"].encode()).hexdigest()
        values["fingerprint"] = values["fingerprint"] == digest
    for found, mask in masks:
        for name, value in values.items():
            if isinstance(value, str):
                values[name] = str(value).replace(found, mask)
    return values


def _sku(number: int) -> str:
    return f"sku-{number:04}"


def _run_id(number: int) -> str:
    return f"run-{number:04}"


def _as_child(work: Callable[[], Any]) -> NoReturn:
    """Do *work* and end, whatever happens, without the parent's cleaning up."""
    status = 1
    signal.alarm(PATIENCE)
    with suppress(SystemExit):
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - told to whoever reads the log
            sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def plant(bug: str | None) -> None:
    """Break the engine on purpose."""
    if bug is None:
        return
    if bug != "checkpoint apart":
        raise ValueError(bug)

    def commit(self: unit_of_work.UnitOfWork, send: Any) -> None:
        """Commit the rows first, and the checkpoint in a transaction of its own."""
        self.session.flush()
        self.ending = True
        self.session.commit()
        self.connection.execution_options(**{UNIT_OPTION: None})
        if send is not None:
            send(self.connection)
            self.connection.commit()

    unit_of_work.UnitOfWork.commit = commit  # type: ignore[method-assign]  # the bug


def main() -> None:
    url, scenario, directory, *bug = sys.argv[1:]
    plant(bug[0] if bug else None)
    _warm_up(url)
    harness = Harness(url, scenario, Path(directory))
    setup = harness._fork(lambda: _set_up(url))
    assert setup == 0
    clean = harness.clean()
    crashed = []
    for n in range(len(clean.get("events", ()))):
        crashed.append(harness.crash(n + 1))
        if bug and crashed[-1]["state"] != clean["state"]:
            break  # found out
    report = {"clean": clean, "crashed": crashed}
    (Path(directory) / "report.json").write_text(json.dumps(report), encoding="utf-8")


def _warm_up(url: str) -> None:
    """Do once what every child would do again; no connection and no thread."""
    Operon(url)
    configure_mappers()
    for declared in registry.all_declared():
        declared.resolve()
    gc.collect()
    gc.freeze()


def _set_up(url: str) -> None:
    operon = Operon(url)
    upgrade(operon.engine)
    shop.create_shop(operon.engine, *(_sku(number) for number in range(500)), stock=5)
    with Session(operon.engine) as session, session.begin():
        if operon.engine.dialect.name == "postgresql":
            restart = f"ALTER SEQUENCE orders_id_seq RESTART {FIRST_ORDER + 1}"
            session.execute(text(restart))
        else:
            first = {"id": FIRST_ORDER, "sku": _sku(0), "quantity": 0, "run_id": ""}
            session.add(shop.Order(**first))
    operon.engine.dispose()


if __name__ == "__main__":
    main()
