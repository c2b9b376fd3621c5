"""The orders as customers see them: rows of the shop joined with Operon's runs."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from operon import RunStatus
from operon import transaction
from operon.models import WorkflowRun
from sample_app import checkout
from sample_app.checkout import Checkout
from sample_app.models import Order
from sample_app.models import OrderStatus
from sample_app.models import Shipment


@dataclass(frozen=True)
class OrderView:
    """An order, from the moment it was accepted."""

    run_id: str
    run_status: RunStatus
    sku: str
    quantity: int
    created_at: datetime
    status: OrderStatus | None
    """None until goods were set aside, and for ever if there were none."""
    total: Decimal | None
    tracking: str | None


def attributes(asked: Checkout) -> dict[str, Any]:
    """Return what the run of *asked* shows of it before it has an order."""
    return {"sku": asked.sku, "quantity": asked.quantity}


@transaction(read_only=True, isolation="REPEATABLE READ")
def list_orders(session: Session, limit: int) -> list[OrderView]:
    """Return the *limit* newest orders, the newest first."""
    query = (
        select(WorkflowRun, Order, Shipment)
        .outerjoin(Order, Order.run_id == WorkflowRun.id)
        .outerjoin(Shipment, Shipment.order_id == Order.id)
        .where(WorkflowRun.workflow == checkout.NAME)
        .order_by(WorkflowRun.created_at.desc())
        .limit(limit)
    )
    return [_view(run, order, parcel) for run, order, parcel in session.execute(query)]


def _view(run: WorkflowRun, order: Order | None, parcel: Shipment | None) -> OrderView:
    shown = run.attributes or {}
    return OrderView(
        run_id=run.id,
        run_status=run.status,
        sku=shown["sku"],
        quantity=shown["quantity"],
        created_at=run.created_at,
        status=None if order is None else order.status,
        total=None if order is None else order.total,
        tracking=None if parcel is None else parcel.tracking,
    )
