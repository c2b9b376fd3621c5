from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from operon.codec import MISSING
from operon.codec import FieldsCodec
from operon.codec import NotEncodable
from operon.codec import decode_error
from operon.codec import encode_error
from operon.codec import type_codec
from tests.strategies import declarations
from tests.strategies import fitting
from tests.strategies import hostile
from tests.strategies import json_values
from tests.strategies import same
from tests.strategies import text


@given(fitting)
@settings(deadline=None, max_examples=300)
def test_gives_back_every_value_that_fits_its_type(declared_value):
    declared, value = declared_value
    codec = type_codec(declared)

    assert same(codec.decode(codec.encode(value)), value)


@given(declarations, hostile)
@settings(deadline=None, max_examples=500)
def test_gives_back_the_same_value_or_refuses_it(declaration, value):
    codec = type_codec(declaration[0])
    try:
        written = codec.encode(value)
    except NotEncodable as error:
        refusal = error
    else:
        assert same(codec.decode(written), value)
        return

    assert refusal.path.startswith("result")
    assert refusal.reason


@given(hostile)
@settings(deadline=None, max_examples=300)
def test_gives_back_plain_json_or_refuses_it_where_nothing_is_declared(value):
    codec = type_codec(Any)
    try:
        written = codec.encode(value)
    except NotEncodable:
        return
    assert same(codec.decode(written), value)


@given(st.dictionaries(text, fitting, max_size=4))
@settings(deadline=None)
def test_gives_back_every_field_by_its_name(fields):
    codec = FieldsCodec({k: (tp, MISSING) for k, (tp, _) in fields.items()}, "it")
    values = {name: value for name, (_, value) in fields.items()}

    assert same(codec.decode(codec.encode(values)), values)


class ShortageError(Exception):
    pass


@given(
    st.lists(json_values, max_size=3), st.dictionaries(text, json_values, max_size=2)
)
@settings(deadline=None)
def test_gives_back_errors_that_hold_plain_values(args, state):
    error = ShortageError(*args)
    error.__dict__.update({f"_{name}": value for name, value in state.items()})

    back = decode_error(encode_error(error))

    assert type(back) is ShortageError
    assert same((back.args, vars(back)), (error.args, vars(error)))
