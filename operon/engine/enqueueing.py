"""Writing the row of a run for somebody else, or finding who has its keys."""

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from operon.engine.services import Services
from operon.errors import DuplicateRunError
from operon.errors import MisuseError
from operon.errors import RunConflictError
from operon.errors import UnknownQueueError
from operon.models import WorkflowRun
from operon.queue import DEFAULT_QUEUE
from operon.queue import Queue
from operon.registry import OnConflict
from operon.request import Request
from operon.store import queues
from operon.store import runs
from operon.store import starts
from operon.store.direct import Direct
from operon.store.starts import Beginning

_MOST_TRIES = 100  # whoever holds the key must have ended meanwhile, each time


def enqueue_alone(services: Services, asked: Request, on_conflict: OnConflict) -> str:
    """Do as `enqueue` in a transaction of its own; mostly that is one statement."""
    database, queue = services.database, _described(services, asked.new.queue)
    if queue is not None:
        _check_partition(queue, asked.new.partition)
        with database.direct() as connection:
            if _insert(services, connection, asked):
                return asked.new.id
    with database.single() as connection:
        return enqueue(services, connection, asked, on_conflict)


def enqueue(
    services: Services, connection: Connection, asked: Request, on_conflict: OnConflict
) -> str:
    """Write the row of *asked* unless its id or key is taken; return the run's id.

    It is another run's id where *asked* joins that: the holder of its deduplication
    key, or the run that its debounce key had begun.

    Raises:
        RunConflictError: The id is another run's.
        DuplicateRunError: The key is another run's.
        UnknownQueueError: Nobody serves, or has served, such a queue.
        MisuseError: The queue has partitions and none is named, or the reverse.
    """
    check_queue(services, connection, asked)
    for _ in range(_MOST_TRIES):
        if _insert(services, connection, asked):
            return asked.new.id
        found = _joined(services, connection, asked, on_conflict)
        if found is not None:
            return found
    raise DuplicateRunError(
        asked.new.queue, str(asked.new.deduplication_key), holder="one after another"
    )


def _insert(
    services: Services, connection: Connection | Direct, asked: Request
) -> bool:
    """Write the row of *asked* unless a key of it is taken."""
    backend, clock = services.database.backend, services.clock
    written = starts.insert_new(
        connection, backend, asked.new, Beginning(), clock=clock
    )
    return written is not None


def compare(
    services: Services, asked: Request, found: WorkflowRun, on_conflict: OnConflict
) -> None:
    """Refuse *asked* if the run *found* under its id is not the same.

    Raises:
        RunConflictError: It is not, or its existence is enough.
    """
    if on_conflict == "raise":
        raise RunConflictError(found.id, "exists already")
    asked.refuse_unless_same(found, services.payloads)


def check_queue(services: Services, connection: Connection, asked: Request) -> None:
    """Refuse a queue that nobody knows, and a partition where there is none.

    Raises:
        UnknownQueueError: It has no row, and this process does not declare it.
        MisuseError: The queue has partitions and none is named, or the reverse.
    """
    name, partition = asked.new.queue, asked.new.partition
    known = (
        _described(services, name)
        or queues.find(connection, name)
        or services.queues().get(name)
    )
    if known is None:
        names = {*services.queues(), *queues.names(connection)}
        raise UnknownQueueError(name, known=sorted(names))
    _check_partition(known, partition)


def _described(services: Services, name: str) -> Queue | None:
    """Return the queue *name* if this process says what its limits are.

    Of a queue that it only names, another program may have said more.
    """
    here = services.queues().get(name)
    if here is None or (name != DEFAULT_QUEUE and here == Queue(name)):
        return None
    return here


def _check_partition(queue: Queue, partition: str | None) -> None:
    if queue.partitioned and partition is None:
        raise MisuseError(
            f"queue {queue.name!r}",
            "is partitioned, and no partition is named",
            cure="give partition= as well",
        )
    if partition is not None and not queue.partitioned:
        raise MisuseError(
            f"partition={partition!r}",
            f"was given for queue {queue.name!r}, which is not partitioned",
            cure="leave it out, or declare Queue(…, partitioned=True)",
        )


def _joined(
    services: Services, connection: Connection, asked: Request, on_conflict: OnConflict
) -> str | None:
    """Return the run that *asked* joins; None if nothing stands in its way any more."""
    new = asked.new
    with Session(bind=connection) as session:
        found = runs.find(session, new.id)
        if found is not None:
            compare(services, asked, found, on_conflict)
            return new.id
    if new.debounce_key is not None:
        backend, clock = services.database.backend, services.clock
        return starts.debounce(connection, backend, new, clock=clock)
    if new.deduplication_key is None:
        return None
    holder = runs.find_holder(connection, new.queue, new.deduplication_key)
    if holder is not None:
        _refuse_other(connection, asked, holder, on_conflict)
    return holder


def _refuse_other(
    connection: Connection, asked: Request, holder: str, on_conflict: OnConflict
) -> None:
    """Refuse to join *holder* if that was not wanted, or is of another workflow."""
    found = runs.find_result(connection, holder)
    same = found is not None and found.workflow == asked.new.workflow
    if on_conflict == "raise" or not same:
        key = str(asked.new.deduplication_key)
        raise DuplicateRunError(asked.new.queue, key, holder=holder)
