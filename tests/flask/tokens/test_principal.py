"""A principal is stored on a run and comes back as it was; the token is not in it."""

import json

import pytest

from operon.errors import DecodeError
from operon.flask.tokens import Principal

ADA = Principal(
    "https://id.example.org/",
    "ada",
    "acme",
    "web",
    frozenset({"b", "a"}),
    frozenset({"customer"}),
)
STORED = {
    "issuer": "https://id.example.org/",
    "subject": "ada",
    "tenant": "acme",
    "client": "web",
    "scopes": ["a", "b"],
    "roles": ["customer"],
}


def test_a_principal_is_stored_as_plain_json_the_same_each_time():
    assert ADA.as_json() == STORED


@pytest.mark.parametrize("principal", [ADA, Principal("https://id.example.org/", "b")])
def test_a_principal_comes_back_from_json_as_it_was(principal):
    stored = json.loads(json.dumps(principal.as_json()))

    assert Principal.from_json(stored) == principal


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        "ada",
        {},
        STORED | {"token": "x"},
        {name: value for name, value in STORED.items() if name != "tenant"},
        STORED | {"subject": None},
        STORED | {"issuer": 1},
        STORED | {"tenant": 1},
        STORED | {"client": []},
        STORED | {"scopes": "a b"},
        STORED | {"scopes": None},
        STORED | {"roles": [1]},
        STORED | {"roles": {"a": 1}},
    ],
)
def test_what_is_no_principal_is_not_taken_for_one(stored):
    with pytest.raises(DecodeError):
        Principal.from_json(stored)


def test_a_verified_principal_holds_nothing_of_its_token(guard, forge):
    token = forge.token()

    stored = json.dumps(guard.verify(token).as_json())

    assert not any(part in stored for part in token.split("."))
