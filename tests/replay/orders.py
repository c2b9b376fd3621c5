"""Orders whose bodies tests write, and write anew: what a deploy does to a workflow."""

import types
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from operon import Operon
from operon import Retry
from operon import Workflow
from operon import activity
from operon import step
from operon.errors import NonDeterminismError
from operon.replay import Bundle
from operon.replay import Replayed
from operon.replay import export
from operon.replay import replay

SOON = timedelta(seconds=20)
HOUR = timedelta(hours=1)

done: list[str] = []
"""What steps and activities did, in order; a replay adds nothing."""


class DeclinedError(Exception):
    """The card is not good."""


class ReplayedShop(Workflow, abstract=True):
    """What all orders have: what they can do, and a card."""

    sku: str = "book"
    card: str = "4111-1111"

    @step
    def reserve(self, session: Session, quantity: int = 1) -> int:
        done.append(f"reserve {quantity}")
        return 40 + quantity

    @activity
    def charge(self, order_id: int, card: str = "none") -> str:
        done.append(f"charge {order_id}")
        if self.sku == "declined":
            raise DeclinedError(order_id)
        return f"paid-{order_id}"

    @activity(retry=Retry(attempts=3, delay=timedelta(0)))
    def ship(self, order_id: int) -> str:
        done.append(f"ship {order_id}")
        if len(done) < 4:
            raise ConnectionError("the carrier is away")
        return f"parcel-{order_id}"

    @activity(retry=Retry(attempts=5, delay=HOUR, cap=HOUR))
    def never(self, what: str) -> str:
        done.append(f"never {what}")
        raise ConnectionError("always away")

    @step
    def settle(self, session: Session, payment: str) -> None:
        done.append(f"settle {payment}")

    @step
    def release(self, session: Session, order_id: int) -> None:
        done.append(f"release {order_id}")


Body = Callable[[Any], Any]


def order(body: Body, *, name: str = "ReplayedOrder", version: int = 1) -> Any:
    """Declare the order whose `run` is *body*, in place of any before it."""

    def fill(members: dict[str, Any]) -> None:
        members.update(run=body, __module__=__name__, __qualname__=name)

    return types.new_class(name, (ReplayedShop,), {"version": version}, fill)


def launched(make_operon: Callable[..., Operon], url: str, **options: Any) -> Operon:
    """Return a launched Operon whose runs are suspended at once."""
    operon = make_operon(url, inline_wait=timedelta(0), **options)
    operon.launch()
    return operon


def exported(operon: Operon, body: Body, *, run_id: str = "r", **fields: Any) -> Bundle:
    """Run the order of *body* to its end, whatever that is, and export it."""
    handle = operon.start(order(body)(**fields), id=run_id)
    ended(operon, handle.id)
    return noted(operon, run_id)


def ended(operon: Operon, run_id: str) -> None:
    """Wait until the run has come to an end, good or bad."""
    try:
        operon.handle(run_id).result(SOON)
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001 - an order may fail
        return


def noted(operon: Operon, run_id: str, **options: Any) -> Bundle:
    """Export *run_id*; its replay must find nothing, so its arguments are noted."""
    bundle = export(operon, run_id, **options)
    assert bundle.noted.reason is None
    return bundle


def again(bundle: Bundle, operon: Operon) -> Replayed:
    """Replay *bundle*; nothing may be done."""
    before = list(done)
    replayed = replay(bundle, operon.settings)
    assert done == before
    return replayed


def refused(bundle: Bundle, body: Body, operon: Operon) -> NonDeterminismError:
    """Replay *bundle* by *body*, which is not deterministic; return how it is told."""
    order(body)
    before = list(done)
    with pytest.raises(NonDeterminismError) as caught:
        replay(bundle, operon.settings)
    assert done == before
    return caught.value
