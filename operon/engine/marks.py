"""What a body learns or leaves by the way: time, patches, attributes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from operon.codec import type_codec
from operon.engine.mail import done
from operon.engine.outcome import Primitive
from operon.engine.outcome import answer
from operon.engine.record import enter
from operon.engine.run import ActiveRun
from operon.engine.start import ensure_started
from operon.engine.waiting import perform
from operon.request import plain_values
from operon.store import runs
from operon.store.checkpoints import Record

_TRUTH = type_codec(bool)


def now(run: ActiveRun) -> datetime:
    """Return the time of the last operation; before the first, of the run's start."""
    run.check()
    known = run.time.known
    if known is None:
        ensure_started(run, lazily=False)
        known = run.time.known
    assert known is not None  # noqa: S101 - the row has been written
    return known


def patched(run: ActiveRun, name: str) -> bool:
    """Tell whether *run* goes the new way, and make sure that it always will.

    An older history holds something else here, or nothing but something later: then
    the run had passed this place before the patch was there, and no position is used.
    """
    operation = Primitive("patch", name, _TRUTH)
    if _has_passed(run, name):
        return False
    slot = enter(run, operation)
    if slot.recorded is None:

        def act(connection: Connection) -> Record:
            del connection
            return Record(
                position=slot.position, kind="patch", name=name, output="true"
            )

        perform(run, operation, slot, act)
    return True


def _has_passed(run: ActiveRun, name: str) -> bool:
    """Tell whether *run* had passed this place before there was the patch *name*."""
    recorded = run.find(run.position + 1)
    if recorded is None:  # what is missing was spawned, and is open
        return run.unread() is not None
    # a cancel takes the place of whatever was called: the patch, if it was there
    return recorded.kind != "cancel" and (recorded.kind, recorded.name) != (
        "patch",
        name,
    )


def annotate(run: ActiveRun, attributes: Mapping[str, Any]) -> None:
    """Add *attributes* to those of *run*, at the next position."""
    plain = plain_values("self.annotate", attributes)
    operation = Primitive("annotate", "annotate")
    slot = enter(run, operation)
    recorded = slot.recorded
    if recorded is None:

        def act(connection: Connection) -> Record:
            runs.annotate(connection, run.run_id, plain)
            return done(operation, slot)

        recorded = perform(run, operation, slot, act)
    answer(run, operation, recorded)
