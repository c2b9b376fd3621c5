"""Keys are checked when they are loaded, whether configured or fetched."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from operon.flask.tokens.keys import KeyRefused
from operon.flask.tokens.keys import loaded
from tests.flask.tokens.forge import GONE
from tests.flask.tokens.forge import SECRET
from tests.flask.tokens.forge import b64
from tests.flask.tokens.forge import ec_jwk
from tests.flask.tokens.forge import number
from tests.flask.tokens.forge import private_jwk
from tests.flask.tokens.forge import rsa_jwk

PUBLIC = ("RS256", "ES256")


def secret_jwk(secret=SECRET, **more):
    return {"kty": "oct", "k": b64(secret), "alg": "HS256"} | more


def off_the_curve(forge):
    jwk = ec_jwk(forge.ec)
    return jwk | {"y": jwk["x"]}


NOT_OURS = {
    "for encryption": lambda f: rsa_jwk(f.rsa, use="enc"),
    "for some other use": lambda f: rsa_jwk(f.rsa, use="SIG"),
    "to sign, not to verify": lambda f: rsa_jwk(f.rsa, key_ops=["sign"]),
    "to encrypt": lambda f: rsa_jwk(f.rsa, use=GONE, key_ops=["encrypt"]),
    "of an algorithm not listed": lambda f: rsa_jwk(f.rsa, alg="RS512"),
    "of an algorithm not supported": lambda f: rsa_jwk(f.rsa, alg="PS256"),
    "to encrypt keys": lambda f: rsa_jwk(f.rsa, alg="RSA-OAEP"),
    "an alg that is no text": lambda f: rsa_jwk(f.rsa, alg=["RS256"]),
    "of another type": lambda _f: {"kty": "OKP", "crv": "Ed25519", "x": b64(SECRET)},
    "of no type": lambda f: rsa_jwk(f.rsa, kty=GONE, alg=GONE),
    "of another curve": lambda f: ec_jwk(f.ec, alg=GONE, crv="secp256k1"),
    "a secret": lambda _f: secret_jwk(),
}

REFUSED = {
    "no object": lambda _f: "RS256",
    "null": lambda _f: None,
    "a list": lambda _f: [],
    "a private RSA key": lambda f: private_jwk(f.rsa),
    "a private EC key": lambda f: private_jwk(f.ec),
    "a public key with one private member": lambda f: rsa_jwk(f.rsa, dp="AQAB"),
    "a public key with a secret": lambda f: rsa_jwk(f.rsa, k=b64(SECRET)),
    "a private key for encryption": lambda f: private_jwk(f.rsa, use="enc"),
    "a kid that is a number": lambda f: rsa_jwk(f.rsa, kid=1),
    "key_ops that are text": lambda f: rsa_jwk(f.rsa, key_ops="verify"),
    "the type of another algorithm": lambda f: rsa_jwk(f.rsa, alg="ES256"),
    "the algorithm of another type": lambda f: ec_jwk(f.ec, alg="RS256"),
    "the algorithm of another curve": lambda f: ec_jwk(f.ec, crv="P-384"),
    "the secret of a public algorithm": lambda _f: secret_jwk(alg="RS256"),
    "no modulus": lambda f: rsa_jwk(f.rsa, n=GONE),
    "a modulus that is a number": lambda f: rsa_jwk(f.rsa, n=2**2047 + 1),
    "a modulus that is padded": lambda f: rsa_jwk(f.rsa, n=number(1 << 2048) + "="),
    "a modulus in hexadecimal": lambda f: rsa_jwk(f.rsa, n="0x" + "f" * 512),
    "a modulus of 1024 bits": lambda f: rsa_jwk(f.rsa, n=number((1 << 1023) + 9)),
    "a modulus of 2047 bits": lambda f: rsa_jwk(f.rsa, n=number((1 << 2046) + 9)),
    "a modulus that is huge": lambda f: rsa_jwk(f.rsa, n=number((1 << 20_000) + 9)),
    "a modulus that is even": lambda f: rsa_jwk(f.rsa, n=number(1 << 2047)),
    "a modulus of zeros": lambda f: rsa_jwk(f.rsa, n=b64(bytes(256))),
    "an exponent of 1": lambda f: rsa_jwk(f.rsa, e=number(1)),
    "an exponent of 3": lambda f: rsa_jwk(f.rsa, e=number(3)),
    "an exponent that is even": lambda f: rsa_jwk(f.rsa, e=number(65_538)),
    "an exponent that is huge": lambda f: rsa_jwk(f.rsa, e=number((1 << 64) + 1)),
    "no exponent": lambda f: rsa_jwk(f.rsa, e=GONE),
    "no point": lambda f: ec_jwk(f.ec, y=GONE),
    "a point off the curve": off_the_curve,
    "the point at infinity": lambda f: ec_jwk(f.ec, x=b64(bytes(32)), y=b64(bytes(32))),
    "a point cut short": lambda f: ec_jwk(f.ec, x=b64(bytes(31))),
    "a point with a byte more": lambda f: ec_jwk(f.ec, x="AA" + ec_jwk(f.ec)["x"]),
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_a_key_for_something_else_is_passed_over(forge, name):
    keys = loaded({"keys": [NOT_OURS[name](forge)]}, PUBLIC)

    assert (dict(keys.usable), keys.refused) == ({}, ())


@pytest.mark.parametrize("name", REFUSED)
def test_a_key_that_is_weak_malformed_or_private_is_refused(forge, name):
    keys = loaded({"keys": [REFUSED[name](forge)]}, PUBLIC)

    assert dict(keys.usable) == {}
    assert len(keys.refused) == 1


@pytest.mark.parametrize("name", [*NOT_OURS, *REFUSED])
def test_the_other_keys_of_the_set_are_used(forge, name):
    odd = (NOT_OURS | REFUSED)[name](forge)
    good = ec_jwk(forge.ec, kid="good")

    keys = loaded({"keys": [odd, good]}, PUBLIC)

    assert set(keys.usable) == {("good", "ES256")}


@pytest.mark.parametrize("size", [0, 1, 16, 31])
def test_a_secret_shorter_than_its_hash_is_refused(size):
    keys = loaded({"keys": [secret_jwk(b"x" * size)]}, ["HS256"])

    assert dict(keys.usable) == {}
    assert "32 bytes" in keys.refused[0]


def test_a_key_without_alg_is_used_if_one_listed_algorithm_fits_it(forge):
    jwks = {"keys": [rsa_jwk(forge.rsa, alg=GONE), ec_jwk(forge.ec, alg=GONE)]}

    assert set(loaded(jwks, PUBLIC).usable) == {(None, "RS256"), (None, "ES256")}
    assert "several" in loaded(jwks, ["RS256", "RS512"]).refused[0]


def test_two_keys_of_one_kid_and_alg_are_both_refused(forge):
    twice = {"keys": [rsa_jwk(forge.rsa, kid="a"), rsa_jwk(forge.other_rsa, kid="a")]}
    thrice = {"keys": [*twice["keys"], rsa_jwk(forge.rsa, kid="a")]}

    for jwks in (twice, thrice):
        assert dict(loaded(jwks, PUBLIC).usable) == {}
        assert len(loaded(jwks, PUBLIC).refused) == 1


def test_keys_of_one_kid_and_different_algs_are_different_keys(forge):
    jwks = {"keys": [rsa_jwk(forge.rsa, kid="a"), ec_jwk(forge.ec, kid="a")]}

    assert set(loaded(jwks, PUBLIC).usable) == {("a", "RS256"), ("a", "ES256")}


@pytest.mark.parametrize("jwks", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}])
def test_what_is_no_key_set_is_refused(jwks):
    with pytest.raises(KeyRefused):
        loaded(jwks, PUBLIC)


def test_a_set_may_have_64_keys_and_no_more(forge):
    jwks = [ec_jwk(forge.ec, kid=str(each)) for each in range(65)]

    assert len(loaded({"keys": jwks[:64]}, PUBLIC).usable) == 64
    with pytest.raises(KeyRefused):
        loaded({"keys": jwks}, PUBLIC)


def test_nothing_of_a_key_but_its_numbers_goes_on_to_the_library(forge, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "operon.flask.tokens.keys.prepared",
        lambda data, name: seen.append((data, name)),
    )
    curve = ec.generate_private_key(ec.SECP384R1())
    jwks = [rsa_jwk(forge.rsa, x5c=["x"], x5u="y", extra=1), ec_jwk(curve, alg="ES384")]

    loaded({"keys": jwks}, ["RS256", "ES384"])

    assert [(set(data), name) for data, name in seen] == [
        ({"kty", "n", "e"}, "RS256"),
        ({"kty", "crv", "x", "y"}, "ES384"),
    ]
