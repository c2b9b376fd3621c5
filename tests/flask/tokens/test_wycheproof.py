"""Project Wycheproof's signed texts, on the layer that all tokens go through.

They are bare JWS: their payload is any bytes, and their header names no type. What
`Verifier` does with a token before its claims is done with them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operon.flask.tokens import InvalidToken
from operon.flask.tokens import Reason
from operon.flask.tokens import compact
from operon.flask.tokens.algorithms import ALGORITHMS
from operon.flask.tokens.keys import loaded
from operon.flask.tokens.keyset import FixedKeys
from operon.flask.tokens.verifier import prove

pytestmark = pytest.mark.wycheproof

REPEATED = {367, 370}
"""Called invalid, but each is, to the letter, the valid test 357."""
NOT_BASE64URL = {372, 373}
"""Called valid, with a `?` in a part that has no such character (RFC 7515, 2)."""
UNSUPPORTED = {
    *{272, 273, 274, 275, 287, 288},  # PS256
    *{320, 321, 322, 323, 346, 350},  # PS384
    *{325, 326, 327, 328},  # PS512
    *{347, 351},  # keys whose `alg` is ES521, which RFC 7518 does not have
}
Test = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def vectors(request: pytest.FixtureRequest) -> list[Test]:
    """Each test with its group's key."""
    path = Path(request.config.getoption("--wycheproof"))
    groups = json.loads(path.read_text(encoding="utf-8"))["testGroups"]
    return list(_tests(groups))


def _tests(groups: list[dict[str, Any]]) -> Iterator[Test]:
    for group in groups:
        key = group.get("public") or group["private"]
        for test in group["tests"]:
            yield key, test


def refusal(key: dict[str, Any], text: Any) -> Reason | None:
    """Return why *text* is not accepted with *key*, or None if it is."""
    secret = key["kty"] == "oct"
    algorithms = [
        name for name, kind in ALGORITHMS.items() if secret == (kind.key_type == "oct")
    ]
    try:
        token = compact.parsed(text if isinstance(text, str) else json.dumps(text))
        prove(token, algorithms, FixedKeys(loaded({"keys": [key]}, algorithms)))
    except InvalidToken as refused:
        return refused.reason
    return None


def test_exactly_the_valid_texts_of_supported_algorithms_are_accepted(vectors):
    valid = {test["tcId"] for _, test in vectors if test["result"] == "valid"}
    accepted = {
        test["tcId"] for key, test in vectors if refusal(key, test["jws"]) is None
    }

    assert len(vectors) == 401
    assert accepted == (valid | REPEATED) - UNSUPPORTED - NOT_BASE64URL


def test_the_texts_called_invalid_and_accepted_repeat_a_valid_one(vectors):
    texts = {test["tcId"]: test["jws"] for _, test in vectors}

    assert {texts[number] for number in REPEATED} == {texts[357]}


def test_the_texts_called_valid_and_refused_are_so_for_their_algorithm(vectors):
    refused = {
        test["tcId"]: refusal(key, test["jws"])
        for key, test in vectors
        if test["tcId"] in UNSUPPORTED | NOT_BASE64URL
    }

    for number in UNSUPPORTED:
        assert refused[number] in {Reason.WRONG_ALGORITHM, Reason.UNKNOWN_KEY}
    for number in NOT_BASE64URL:
        assert refused[number] is Reason.NOT_COMPACT


def test_a_guard_that_accepted_everything_would_be_found_out(vectors, monkeypatch):
    monkeypatch.setattr(
        "operon.flask.tokens.verifier.proven",
        lambda text, _key: compact.parsed(text).payload,
    )

    accepted = {
        test["tcId"] for key, test in vectors if refusal(key, test["jws"]) is None
    }

    assert {2, 5, 34, 379, 386} <= accepted
