"""What production has recorded, replayed by today's code.

The bundle was written by `operon runs export` for an order of the page's visitor.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operon.errors import NonDeterminismError
from sample_app.tests.test_invariants import HastyCheckout

BUNDLE = Path(__file__).with_name("checkout.json")


def test_todays_checkout_does_what_was_recorded(
    operon_replay: Callable[[Path], None],
) -> None:
    operon_replay(BUNDLE)


def test_a_checkout_in_another_order_is_refused(
    operon_replay: Callable[[dict[str, Any]], None],
) -> None:
    bundle = json.loads(BUNDLE.read_text(encoding="utf-8"))
    bundle["run"]["workflow"] = HastyCheckout.__operon__.name

    with pytest.raises(NonDeterminismError, match="ship"):
        operon_replay(bundle)
