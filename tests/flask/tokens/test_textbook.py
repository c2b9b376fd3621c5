"""What the guard is for: the library alone, called as its manual says, lets things in.

It also shows that the attacks of these tests can succeed, so that a check which does
nothing would be found out.
"""

import time
from dataclasses import replace

import pytest
from jose import jwt

from operon.flask.tokens import InvalidToken
from operon.flask.tokens import Verifier
from operon.flask.tokens import claims as claims_module
from operon.flask.tokens import compact as compact_module
from operon.flask.tokens import strict as strict_module
from operon.flask.tokens import verifier as verifier_module
from tests.flask.tokens.forge import AUDIENCE
from tests.flask.tokens.forge import DEVELOPMENT
from tests.flask.tokens.forge import GONE
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import NOW
from tests.flask.tokens.forge import SECRET
from tests.flask.tokens.forge import compact
from tests.flask.tokens.forge import rsa_jwk

OPTIONS = {f"require_{name}": True for name in ("exp", "iat", "iss", "aud", "sub")}


def textbook(token, key, algorithms):
    """Return the claims as the library's manual says, with all that can be required."""
    return jwt.decode(
        token,
        key,
        algorithms=algorithms,
        audience=AUDIENCE,
        issuer=[ISSUER, DEVELOPMENT],
        options=OPTIONS | {"leeway": 30},
    )


def times(**more):
    """Return times that hold now, by this machine's clock, which the library reads."""
    now = int(time.time())
    return {"iat": now - 60, "exp": now + 600} | more


def twice(forge):
    claims = compact(forge.claims(times()))
    return claims[:-1] + b',"sub":"root"}'


LET_IN = {
    "an extension that must be understood": lambda f: f.token(
        {"crit": ["exp"]}, times()
    ),
    "an unencoded payload that is none": lambda f: f.token({"b64": False}, times()),
    "the attacker's key in the header": lambda f: f.token(
        {"jwk": rsa_jwk(f.other_rsa)}, times()
    ),
    "a token of another type": lambda f: f.token({"typ": "logout+jwt"}, times()),
    "a token of no type": lambda f: f.token({"typ": GONE}, times()),
    "a claim twice": lambda f: f.token(claims=twice(f)),
    "a time that is text": lambda f: f.token(
        claims=times(exp=str(int(time.time()) + 600))
    ),
    "a token issued in the future": lambda f: f.token(
        claims=times(iat=int(time.time()) + 500)
    ),
    "a token for a hundred years": lambda f: f.token(
        claims=times(exp=int(time.time()) + 3_000_000_000)
    ),
    "a subject that is empty": lambda f: f.token(claims=times(sub="")),
    "a subject that reads backwards": lambda f: f.token(claims=times(sub="a\u202eb")),
    "a kid of another key": lambda f: f.token({"kid": "someone's"}, times()),
    "a padded signature": lambda f: f.token(claims=times()) + "==",
    "junk behind the signature": lambda f: f.token(claims=times()) + "==AAAA",
}


@pytest.mark.parametrize("name", LET_IN)
def test_the_guard_refuses_what_the_library_alone_lets_in(forge, name):
    token = LET_IN[name](forge)

    assert textbook(token, rsa_jwk(forge.rsa), ["RS256"])["iss"] == ISSUER
    with pytest.raises(InvalidToken):
        Verifier([forge.issuer()]).verify(token)


def test_the_library_alone_uses_keys_that_say_they_are_for_something_else(forge):
    token = forge.token(claims=times())

    for odd in ({"use": "enc"}, {"alg": "RS512"}, {"key_ops": ["sign"]}):
        jwk = rsa_jwk(forge.rsa, kid="rsa-1", **odd)
        assert textbook(token, jwk, ["RS256"])["sub"] == "ada"


@pytest.mark.parametrize("times_of_sub", [None, {}, [], 1e400])
def test_the_library_alone_crashes_on_claims_the_guard_refuses(forge, times_of_sub):
    token = forge.token(claims=times(iat=times_of_sub))

    with pytest.raises((TypeError, OverflowError)):
        textbook(token, rsa_jwk(forge.rsa), ["RS256"])
    with pytest.raises(InvalidToken):
        Verifier([forge.issuer()]).verify(token)


def test_whatever_the_guard_accepts_the_library_accepts_too(forge):
    guard = Verifier([forge.issuer(), forge.development()])

    for token, key, algorithm in (
        (forge.token(claims=times()), rsa_jwk(forge.rsa), "RS256"),
        (forge.hs_token(claims=times()), SECRET, "HS256"),
        (forge.token(claims=times(nbf=time.time() - 1)), rsa_jwk(forge.rsa), "RS256"),
        (forge.token(claims=times(aud=["a", AUDIENCE])), rsa_jwk(forge.rsa), "RS256"),
    ):
        told = textbook(token, key, [algorithm])
        assert guard.verify(token).subject == told["sub"]


def lenient(text):
    return strict_module.base64.urlsafe_b64decode(text + "==")


def nobody(*_args):
    return None


def typed(text, parsed=compact_module.parsed):
    return replace(parsed(text), type="at+jwt")


PLANTED = {
    "no signature is checked": (
        (verifier_module, "prove", nobody),
        lambda f: f.token(sign=lambda _message: b"x"),
    ),
    "no time is checked": (
        (claims_module, "_check_times", nobody),
        lambda f: f.token(claims={"exp": NOW - 100}),
    ),
    "no audience is checked": (
        (claims_module, "_check_audience", nobody),
        lambda f: f.token(claims={"aud": "bank"}),
    ),
    "every name is good": (
        (claims_module, "_name", str),
        lambda f: f.token(claims={"sub": "a\0b"}),
    ),
    "every member of a header is allowed": (
        (compact_module, "_MEMBERS", frozenset({"alg", "typ", "kid", "crit"})),
        lambda f: f.token({"crit": "x"}),
    ),
    "any token is taken for one that names its type": (
        (verifier_module.compact, "parsed", typed),
        lambda f: f.token({"typ": "JWT"}),
    ),
    "base64 is read leniently": (
        (strict_module, "decode", lenient),
        lambda f: f.token() + "==",
    ),
    "members may come twice": (
        (strict_module, "_DECODER", strict_module.json.JSONDecoder()),
        lambda f: f.token(claims=compact(f.claims())[:-1] + b',"sub":"root"}'),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_without_its_check_an_attack_succeeds(forge, guard, monkeypatch, name):
    planted, attack = PLANTED[name]
    with pytest.raises(InvalidToken):
        guard.verify(attack(forge))

    monkeypatch.setattr(*planted)

    assert guard.verify(attack(forge)).issuer == ISSUER
