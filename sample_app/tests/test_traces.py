"""What is seen of an order in a trace."""

from flask.testing import FlaskClient

from operon.testing import RecordedSpans
from operon.testing import Token


def test_a_request_and_all_its_steps_are_one_trace(
    operon_client: FlaskClient, operon_spans: RecordedSpans, ada: Token
) -> None:
    operon_client.post("/api/orders", json={"sku": "eraser"}, headers=ada.headers)

    assert operon_spans.tree() == [
        ("POST /api/orders", None),
        ("start checkout", "POST /api/orders"),
        ("run checkout", "start checkout"),
        ("step reserve", "run checkout"),
        ("activity charge", "run checkout"),
        ("step settle", "run checkout"),
        ("step ship", "run checkout"),
    ]
