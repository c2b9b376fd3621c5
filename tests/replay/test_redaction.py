"""What stands for a value: of the same JSON type, and for texts of the same look."""

from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operon.codec import decode_error
from operon.codec import encode_error
from operon.codec import type_codec
from operon.replay.redaction import Redaction
from operon.replay.redaction import redacted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "value",
    [
        "some text",
        b"some bytes",
        7,
        2.5,
        True,
        None,
        datetime.fromisoformat("2026-05-06T07:08:09.123456+02:00"),
        datetime.fromisoformat("2026-05-06T07:08:09"),
        date(2026, 5, 6),
        time(7, 8, 9),
        timedelta(days=3, seconds=1),
        Decimal("12.50"),
        UUID("6f706572-6f6e-5000-8000-626f64790000"),
        [1, 2],
        {"a": 1},
    ],
)
def test_what_is_redacted_still_decodes(value):
    codec = type_codec(type(value) if value is not None else Any)
    redaction = Redaction(["secret"])

    text = redaction.text(f'{{"secret": {codec.encode(value)}}}')
    inner = text.removeprefix('{"secret":').removesuffix("}")

    assert type(codec.decode(inner)) is type(value)
    assert value is None or codec.decode(inner) != value


@given(JSON)
def test_types_and_names_stay_and_nothing_else(value):
    def shape(plain: Any) -> Any:
        if isinstance(plain, list):
            return [shape(each) for each in plain]
        if isinstance(plain, dict):
            return {name: shape(each) for name, each in plain.items()}
        return type(plain)

    assert shape(redacted(value)) == shape(value)
    assert redacted(redacted(value)) == redacted(value)


def test_names_are_found_at_any_depth_and_in_any_case():
    redaction = Redaction(["*token*", "card"])

    told = redaction.value([
        {"a": {"API_Token_2": "x", "cards": "y"}, "CARD": {"n": 1}}
    ])

    assert told == [{"a": {"API_Token_2": "redacted", "cards": "y"}, "CARD": {"n": 0}}]
    assert redaction.fields == {"API_Token_2", "CARD"}


def test_without_names_a_payload_is_left_as_it_is():
    assert Redaction([]).text('{"a" : 1.0}') == '{"a" : 1.0}'
    assert Redaction([]).error("no error at all") == "no error at all"


class PartlySecretError(Exception):
    def __init__(self, card: str, inner: dict[str, Any]) -> None:
        super().__init__(card, inner)
        self.card, self.inner = card, inner


def test_an_error_is_raised_again_without_what_was_taken_out():
    error = PartlySecretError("4111", {"pin": ["98765"], "n": 1})
    error.add_note("tried 4111 twice")

    text = Redaction(["card", "pin"]).error(encode_error(error))
    found = decode_error(text)

    assert not any(secret in text for secret in ("4111", "98765"))
    assert isinstance(found, PartlySecretError)
    assert (found.card, found.inner) == ("0", {"pin": ["0"], "n": 1})


def test_the_members_of_a_stored_error_are_no_fields():
    text = encode_error(PartlySecretError("4111", {}))

    assert Redaction(["message", "type", "args"]).error(text) == text
