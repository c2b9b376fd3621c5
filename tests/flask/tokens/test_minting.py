"""Tokens of one's own, for development: accepted by the guard, never from weak keys."""

from datetime import timedelta

import pytest

from operon.errors import ConfigurationError
from operon.flask.tokens import InvalidToken
from operon.flask.tokens import Principal
from operon.flask.tokens import issue
from tests.flask.tokens.forge import AUDIENCE
from tests.flask.tokens.forge import DEVELOPMENT
from tests.flask.tokens.forge import GONE
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import SECRET
from tests.flask.tokens.forge import b64
from tests.flask.tokens.forge import pem
from tests.flask.tokens.forge import private_jwk
from tests.flask.tokens.forge import rsa_jwk

ADA = {"audience": AUDIENCE, "subject": "ada"}


def signer(forge, name):
    if name == "secret":
        return SECRET, DEVELOPMENT
    if name == "text":
        return SECRET.decode(), DEVELOPMENT
    if name == "rsa":
        return private_jwk(forge.rsa, kid="rsa-1"), ISSUER
    if name == "rsa without primes":
        less = dict.fromkeys(("p", "q", "dp", "dq", "qi"), GONE)
        jwk = private_jwk(forge.rsa, kid="rsa-1")
        return {k: v for k, v in (jwk | less).items() if v is not GONE}, ISSUER
    if name == "ec to sign":
        return private_jwk(forge.ec, kid="ec-1", key_ops=["sign"], use=GONE), ISSUER
    return private_jwk(forge.ec, kid="ec-1"), ISSUER


@pytest.mark.parametrize(
    "name", ["secret", "text", "rsa", "rsa without primes", "ec", "ec to sign"]
)
def test_an_issued_token_is_accepted(guard, forge, clock, name):
    key, issuer = signer(forge, name)

    token = issue(
        **ADA,
        issuer=issuer,
        key=key,
        tenant="acme",
        client="cli",
        scopes={"b", "a"},
        roles=["customer"],
        clock=clock,
    )

    assert guard.verify(token) == Principal(
        issuer,
        "ada",
        "acme",
        "cli",
        frozenset({"a", "b"}),
        frozenset({"customer"}),
    )


def test_an_issued_token_is_refused_once_its_lifetime_is_over(guard, clock):
    lifetime = timedelta(minutes=5)
    token = issue(**ADA, issuer=DEVELOPMENT, key=SECRET, lifetime=lifetime, clock=clock)

    clock.turn(minutes=5, seconds=29)
    assert guard.verify(token).subject == "ada"
    clock.turn(seconds=1)
    with pytest.raises(InvalidToken):
        guard.verify(token)


def test_claims_may_be_added_and_replaced(guard, clock):
    more = {"sub": "bob", "extra": [1]}

    token = issue(**ADA, issuer=DEVELOPMENT, key=SECRET, claims=more, clock=clock)

    assert guard.verify(token).subject == "bob"


def test_no_two_issued_tokens_are_the_same(clock):
    tokens = {
        issue(**ADA, issuer=DEVELOPMENT, key=SECRET, clock=clock) for _ in range(2)
    }

    assert len(tokens) == 2


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (lambda _f: b"short", None),
        (lambda _f: "", None),
        (lambda _f: SECRET, "HS512"),
        (lambda _f: SECRET, "RS256"),
        (lambda _f: SECRET, "none"),
        (lambda f: pem(f.rsa), None),
        (lambda f: rsa_jwk(f.rsa), None),
        (lambda f: private_jwk(f.rsa, alg=GONE), None),
        (lambda f: private_jwk(f.rsa), "RS512"),
        (lambda f: private_jwk(f.rsa), "none"),
        (lambda f: private_jwk(f.rsa, use="enc"), None),
        (lambda f: private_jwk(f.rsa, d="AQAB"), None),
        (lambda f: private_jwk(f.rsa, e="Aw"), None),
        (lambda f: private_jwk(f.ec, d=b64(b"x" * 32)), None),
        (lambda _f: {"kty": "oct", "k": b64(b"short"), "alg": "HS256"}, None),
        (lambda _f: {}, None),
    ],
)
def test_a_key_that_is_weak_public_or_for_something_else_signs_nothing(
    forge, key, algorithm
):
    with pytest.raises(ConfigurationError):
        issue(**ADA, issuer=ISSUER, key=key(forge), algorithm=algorithm)
