"""Drives a client that was generated from the served document; needs nothing else.

`driver.py URL TOKEN`, with the generated package `judged_client` on the path.
"""

import sys
import time
from typing import Any
from uuid import uuid4

from judged_client import AuthenticatedClient
from judged_client.api.default import delete_delete_order
from judged_client.api.default import get_get_order
from judged_client.api.default import get_products
from judged_client.api.default import post_checkout
from judged_client.api.default import post_parcel
from judged_client.api.default import post_place_order
from judged_client.api.runs import run_cancel
from judged_client.api.runs import run_fork
from judged_client.api.runs import run_list
from judged_client.api.runs import run_result
from judged_client.api.runs import run_send
from judged_client.api.runs import run_show
from judged_client.api.runs import run_steps
from judged_client.api.runs import run_stream
from judged_client.models import Checkout
from judged_client.models import ForkRequest
from judged_client.models import Line
from judged_client.models import Parcel
from judged_client.models import PlaceOrder
from judged_client.models import Problem
from judged_client.models import Run
from judged_client.models import RunGoingOn
from judged_client.models import RunStatus

PATIENCE = 20.0  # seconds
FINAL = {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.DEAD}


def main(url: str, token: str) -> None:
    """Do what a customer does."""
    client = AuthenticatedClient(
        base_url=url, token=token, raise_on_unexpected_status=True
    )
    order(client)
    check_out(client)
    cancel(client)
    follow(client)


def order(client: AuthenticatedClient) -> None:
    """Create, read, replay, mismatch and delete."""
    skus = [each.sku for each in get_products.sync(client=client, in_stock=True)]
    assert skus == ["a", "book"], skus
    key = str(uuid4())

    def place(quantity: int) -> Any:
        body = PlaceOrder(line=Line(sku="book", quantity=quantity))
        return post_place_order.sync_detailed(
            client=client, body=body, idempotency_key=key
        )

    first, again, other = place(1), place(1), place(2)
    assert first.status_code == 201, first
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    refuse(other, 422, "idempotency-key-reused")
    order_id = first.parsed.id
    assert first.headers["Location"].endswith(f"/orders/{order_id}")
    assert get_get_order.sync(order_id, client=client) == first.parsed
    assert delete_delete_order.sync_detailed(order_id, client=client).status_code == 204
    gone = get_get_order.sync_detailed(order_id, client=client)
    assert gone.status_code == 404, gone


def check_out(client: AuthenticatedClient) -> None:
    """Start a workflow, replay it, and be refused by another."""
    key = str(uuid4())

    def ask(sku: str) -> Any:
        return post_checkout.sync_detailed(
            client=client,
            body=Checkout(line=Line(sku=sku)),
            idempotency_key=key,
            prefer="wait=20",
        )

    first, again = ask("book"), ask("book")
    assert first.status_code == 201, first
    assert first.headers["Preference-Applied"] == "wait=20"
    assert again.content == first.content, again
    refuse(ask("a"), 422, "idempotency-key-reused")
    run_id = first.headers["Operon-Run-Id"]
    steps = run_steps.sync(run_id, client=client).steps
    assert [step.name for step in steps] == ["place"], steps
    fork = run_fork.sync(run_id, client=client, body=ForkRequest(from_position=1))
    assert isinstance(fork, Run), fork
    assert ended(client, fork.id).status == RunStatus.SUCCEEDED
    listed = [each.id for each in run_list.sync(client=client).runs]
    assert {run_id, fork.id} <= set(listed), listed


def cancel(client: AuthenticatedClient) -> None:
    """Start, poll and cancel."""
    going = started(client)
    run = run_cancel.sync(going.run_id, client=client)
    assert isinstance(run, Run), run
    assert ended(client, going.run_id).status == RunStatus.CANCELLED
    refuse(run_result.sync_detailed(going.run_id, client=client), 409, "run-terminal")


def follow(client: AuthenticatedClient) -> None:
    """Start, send a message, read the stream and the result."""
    going = started(client)
    sent = run_send.sync_detailed(going.run_id, "place", client=client, body="home")
    assert sent.status_code == 204, sent
    assert '"home"' in run_stream.sync(going.run_id, "log", client=client)
    assert ended(client, going.run_id).status == RunStatus.SUCCEEDED
    assert run_result.sync(going.run_id, client=client) == "home"


def started(client: AuthenticatedClient) -> RunGoingOn:
    body = Parcel(weight=1.5)
    going = post_parcel.sync(client=client, body=body, prefer="respond-async")
    assert isinstance(going, RunGoingOn), going
    return going


def ended(client: AuthenticatedClient, run_id: str) -> Run:
    """Ask until the run has ended, and return it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        run = run_show.sync(run_id, client=client)
        assert isinstance(run, Run), run
        if run.status in FINAL:
            return run
        assert time.monotonic() < deadline, run
        time.sleep(0.05)


def refuse(answer: Any, status: int, slug: str) -> None:
    assert isinstance(answer.parsed, Problem), answer
    assert (answer.status_code, answer.parsed.type_) == (status, slug), answer


if __name__ == "__main__":
    main(*sys.argv[1:])
