"""Whatever comes in, the answer is a principal or a refusal, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from operon.flask.tokens import InvalidRequest
from operon.flask.tokens import InvalidToken
from operon.flask.tokens import Principal
from operon.flask.tokens import Verifier
from operon.flask.tokens import bearer_token
from operon.flask.tokens.keys import KeyRefused
from operon.flask.tokens.keys import loaded
from tests.flask.tokens.clock import StillClock
from tests.flask.tokens.forge import b64
from tests.flask.tokens.forge import rsa_jwk

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["shop", "ada", "RS256", "HS256", "at+jwt", 1_772_366_400])
)
VALUES = st.recursive(
    SCALARS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each),
    max_leaves=6,
)
CLAIMS = st.dictionaries(
    st.sampled_from([
        "iss",
        "aud",
        "sub",
        "exp",
        "iat",
        "nbf",
        "jti",
        "tenant",
        "scope",
        "roles",
    ]),
    VALUES,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "cty", "crit"]), VALUES)
PARTS = st.binary(max_size=60).map(b64) | st.text(max_size=20)
MEMBERS = st.sampled_from([
    "kty",
    "alg",
    "use",
    "key_ops",
    "kid",
    "n",
    "e",
    "crv",
    "x",
    "y",
    "k",
    "d",
])

few = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="session")
def any_guard(forge) -> Verifier:
    return Verifier([forge.issuer(), forge.development()], clock=StillClock())


def answer(guard, token):
    try:
        return guard.verify(token)
    except InvalidToken as refusal:
        return refusal


@few
@given(st.lists(PARTS, max_size=5).map(".".join))
def test_any_text_is_refused(any_guard, text):
    assert isinstance(answer(any_guard, text), InvalidToken)


@few
@given(CLAIMS)
def test_any_well_signed_claims_are_accepted_or_refused(any_guard, forge, claims):
    assert isinstance(
        answer(any_guard, forge.hs_token(claims=claims)), Principal | InvalidToken
    )


@few
@given(HEADERS)
def test_any_well_signed_header_is_accepted_or_refused(any_guard, forge, header):
    assert isinstance(
        answer(any_guard, forge.hs_token(header)), Principal | InvalidToken
    )


@few
@given(st.binary())
def test_any_well_signed_payload_is_refused(any_guard, forge, payload):
    assert isinstance(answer(any_guard, forge.token(claims=payload)), InvalidToken)


@few
@given(st.dictionaries(MEMBERS, VALUES))
def test_any_key_is_usable_or_not(forge, members):
    for jwk in (members, rsa_jwk(forge.rsa) | members):
        keys = loaded({"keys": [jwk]}, ["RS256", "ES256"])
        assert len(keys.usable) + len(keys.refused) <= 1


@few
@given(VALUES)
def test_any_key_set_is_read_or_refused(value):
    jwks = json.loads(json.dumps({"keys": value}))
    try:
        keys = loaded(jwks, ["RS256"])
    except KeyRefused:
        return
    assert not keys.usable


@few
@given(st.lists(st.text() | st.text().map(lambda each: f"Bearer {each}"), max_size=2))
def test_any_headers_hold_one_token_or_none_or_are_refused(headers):
    try:
        token = bearer_token(headers)
    except (InvalidToken, InvalidRequest):
        return
    assert token is None or headers[0].endswith(token)
