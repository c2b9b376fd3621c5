"""Algorithms, headers and the choice of a key: the token may name, never decide."""

import pytest

from operon.flask.tokens import InvalidToken
from operon.flask.tokens import Reason
from tests.flask.tokens.forge import DEVELOPMENT
from tests.flask.tokens.forge import GONE
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import SECRET
from tests.flask.tokens.forge import b64
from tests.flask.tokens.forge import compact
from tests.flask.tokens.forge import es
from tests.flask.tokens.forge import es_der
from tests.flask.tokens.forge import hs
from tests.flask.tokens.forge import pem
from tests.flask.tokens.forge import ps
from tests.flask.tokens.forge import rs
from tests.flask.tokens.forge import rsa_jwk
from tests.flask.tokens.forge import sha256


def nothing(_message):
    return b"x"


def cut(sign):
    return lambda message: sign(message)[:-1]


def grown(sign):
    return lambda message: sign(message) + b"\0"


ALGORITHMS = {
    "none": (lambda f: f.token({"alg": "none"}, sign=nothing), Reason.WRONG_ALGORITHM),
    "None": (lambda f: f.token({"alg": "None"}, sign=nothing), Reason.WRONG_ALGORITHM),
    "NONE": (lambda f: f.token({"alg": "NONE"}, sign=nothing), Reason.WRONG_ALGORITHM),
    "nOnE": (lambda f: f.token({"alg": "nOnE"}, sign=nothing), Reason.WRONG_ALGORITHM),
    "none, unsigned": (
        lambda f: f.token({"alg": "none"}, sign=lambda _message: b""),
        Reason.NOT_COMPACT,
    ),
    "none, of the secret's issuer": (
        lambda f: f.hs_token({"alg": "none"}, sign=nothing),
        Reason.WRONG_ALGORITHM,
    ),
    "empty": (lambda f: f.token({"alg": ""}), Reason.WRONG_ALGORITHM),
    "lower case": (lambda f: f.token({"alg": "rs256"}), Reason.WRONG_ALGORITHM),
    "with a space": (lambda f: f.token({"alg": "RS256 "}), Reason.WRONG_ALGORITHM),
    "with a NUL": (lambda f: f.token({"alg": "RS256\0"}), Reason.WRONG_ALGORITHM),
    "missing": (lambda f: f.token({"alg": GONE}), Reason.FORBIDDEN_HEADER),
    "null": (lambda f: f.token({"alg": None}), Reason.FORBIDDEN_HEADER),
    "a list": (lambda f: f.token({"alg": ["RS256"]}), Reason.FORBIDDEN_HEADER),
    "an object": (
        lambda f: f.token({"alg": {"RS256": "RS256"}}),
        Reason.FORBIDDEN_HEADER,
    ),
    "a number": (lambda f: f.token({"alg": 256}), Reason.FORBIDDEN_HEADER),
    "true": (lambda f: f.token({"alg": True}), Reason.FORBIDDEN_HEADER),
    "not in the list": (
        lambda f: f.token({"alg": "RS512"}, sign=rs(f.rsa)),
        Reason.WRONG_ALGORITHM,
    ),
    "unsupported, well signed": (
        lambda f: f.token({"alg": "PS256"}, sign=ps(f.rsa)),
        Reason.WRONG_ALGORITHM,
    ),
    "the public key's PEM as a secret": (
        lambda f: f.token({"alg": "HS256"}, sign=hs(pem(f.rsa))),
        Reason.WRONG_ALGORITHM,
    ),
    "the public key's PEM without its last line break as a secret": (
        lambda f: f.token({"alg": "HS256"}, sign=hs(pem(f.rsa).strip())),
        Reason.WRONG_ALGORITHM,
    ),
    "the public key's JWK as a secret": (
        lambda f: f.token(
            {"alg": "HS256"}, sign=hs(compact(rsa_jwk(f.rsa, kid="rsa-1")))
        ),
        Reason.WRONG_ALGORITHM,
    ),
    "the public key's modulus as a secret": (
        lambda f: f.token(
            {"alg": "HS256"},
            sign=hs(f.rsa.public_key().public_numbers().n.to_bytes(256)),
        ),
        Reason.WRONG_ALGORITHM,
    ),
    "an empty secret": (
        lambda f: f.token({"alg": "HS256"}, sign=hs(b"")),
        Reason.WRONG_ALGORITHM,
    ),
    "another issuer's secret": (
        lambda f: f.token({"alg": "HS256", "kid": GONE}, sign=hs(SECRET)),
        Reason.WRONG_ALGORITHM,
    ),
    "another issuer's public key": (
        lambda f: f.token(claims={"iss": DEVELOPMENT}),
        Reason.WRONG_ALGORITHM,
    ),
    "a longer hash of the secret's issuer": (
        lambda f: f.hs_token({"alg": "HS512"}, sign=hs(SECRET, "sha512")),
        Reason.WRONG_ALGORITHM,
    ),
    "that of a JWE": (
        lambda f: f.token({"alg": "RSA-OAEP"}),
        Reason.WRONG_ALGORITHM,
    ),
    "dir": (lambda f: f.hs_token({"alg": "dir"}), Reason.WRONG_ALGORITHM),
}

KEYS = {
    "no kid": (lambda f: f.token({"kid": GONE}), Reason.UNKNOWN_KEY),
    "an unknown kid": (lambda f: f.token({"kid": "rsa-2"}), Reason.UNKNOWN_KEY),
    "an empty kid": (lambda f: f.token({"kid": ""}), Reason.UNKNOWN_KEY),
    "a kid in other case": (lambda f: f.token({"kid": "RSA-1"}), Reason.UNKNOWN_KEY),
    "a kid with a space": (lambda f: f.token({"kid": "rsa-1 "}), Reason.UNKNOWN_KEY),
    "a kid that is a path": (
        lambda f: f.token({"kid": "../../dev/null"}, sign=hs(b"")),
        Reason.UNKNOWN_KEY,
    ),
    "a kid that is SQL": (
        lambda f: f.token({"kid": "' UNION SELECT 'key"}),
        Reason.UNKNOWN_KEY,
    ),
    "a kid that is a list": (
        lambda f: f.token({"kid": ["rsa-1"]}),
        Reason.FORBIDDEN_HEADER,
    ),
    "a kid that is an object": (
        lambda f: f.token({"kid": {"kid": "rsa-1"}}),
        Reason.FORBIDDEN_HEADER,
    ),
    "a kid that is a number": (lambda f: f.token({"kid": 1}), Reason.FORBIDDEN_HEADER),
    "a kid that is null": (lambda f: f.token({"kid": None}), Reason.FORBIDDEN_HEADER),
    "a kid for a secret that has none": (
        lambda f: f.hs_token({"kid": "rsa-1"}),
        Reason.UNKNOWN_KEY,
    ),
    "the kid of a key of another algorithm": (
        lambda f: f.token({"kid": "ec-1"}),
        Reason.UNKNOWN_KEY,
    ),
    "the kid of a key that encrypts": (
        lambda f: f.token({"kid": "encrypts"}, sign=rs(f.other_rsa)),
        Reason.UNKNOWN_KEY,
    ),
    "the attacker's RSA key": (
        lambda f: f.token(sign=rs(f.other_rsa)),
        Reason.BAD_SIGNATURE,
    ),
    "the attacker's EC key": (
        lambda f: f.ec_token(sign=es(f.other_ec)),
        Reason.BAD_SIGNATURE,
    ),
    "the attacker's secret": (
        lambda f: f.hs_token(sign=hs(SECRET[::-1])),
        Reason.BAD_SIGNATURE,
    ),
    "the secret with a byte more": (
        lambda f: f.hs_token(sign=hs(SECRET + b"\1")),
        Reason.BAD_SIGNATURE,
    ),
    "a hash without a secret": (
        lambda f: f.hs_token(sign=sha256),
        Reason.BAD_SIGNATURE,
    ),
    "a weaker hash": (lambda f: f.token(sign=f.rs_digest), Reason.BAD_SIGNATURE),
    "the padding of another algorithm": (
        lambda f: f.token(sign=ps(f.rsa)),
        Reason.BAD_SIGNATURE,
    ),
    "an RSA signature of zeros": (
        lambda f: f.token(sign=lambda _message: bytes(256)),
        Reason.BAD_SIGNATURE,
    ),
    "an EC signature of zeros": (
        lambda f: f.ec_token(sign=lambda _message: bytes(64)),
        Reason.BAD_SIGNATURE,
    ),
    "an EC signature in DER": (
        lambda f: f.ec_token(sign=es_der(f.ec)),
        Reason.BAD_SIGNATURE,
    ),
    "an RSA signature cut short": (
        lambda f: f.token(sign=cut(rs(f.rsa))),
        Reason.BAD_SIGNATURE,
    ),
    "an EC signature cut short": (
        lambda f: f.ec_token(sign=cut(es(f.ec))),
        Reason.BAD_SIGNATURE,
    ),
    "a MAC cut short": (
        lambda f: f.hs_token(sign=cut(hs(SECRET))),
        Reason.BAD_SIGNATURE,
    ),
    "an RSA signature with a byte more": (
        lambda f: f.token(sign=grown(rs(f.rsa))),
        Reason.BAD_SIGNATURE,
    ),
    "an EC signature with a byte more": (
        lambda f: f.ec_token(sign=grown(es(f.ec))),
        Reason.BAD_SIGNATURE,
    ),
    "a MAC with a byte more": (
        lambda f: f.hs_token(sign=grown(hs(SECRET))),
        Reason.BAD_SIGNATURE,
    ),
    "the signature of another token": (
        lambda f: ".".join([
            *f.token(claims={"sub": "root"}).split(".")[:2],
            f.token().split(".")[2],
        ]),
        Reason.BAD_SIGNATURE,
    ),
    "the payload alone signed": (
        lambda f: f.token(
            sign=lambda message: rs(f.rsa)(message.partition(b".")[2]),
        ),
        Reason.BAD_SIGNATURE,
    ),
}

HEADERS = {
    "jku": (
        lambda f: f.token({"jku": "https://evil.example.org/jwks.json"}),
        Reason.FORBIDDEN_HEADER,
    ),
    "x5u": (
        lambda f: f.token({"x5u": "https://evil.example.org/cert.pem"}),
        Reason.FORBIDDEN_HEADER,
    ),
    "jwk, the attacker's": (
        lambda f: f.token({"jwk": rsa_jwk(f.other_rsa)}, sign=rs(f.other_rsa)),
        Reason.FORBIDDEN_HEADER,
    ),
    "x5c": (lambda f: f.token({"x5c": [b64(pem(f.rsa))]}), Reason.FORBIDDEN_HEADER),
    "x5t": (lambda f: f.token({"x5t": b64(b"x" * 20)}), Reason.FORBIDDEN_HEADER),
    "crit, unknown": (
        lambda f: f.token({"crit": ["exp"], "exp": 1}),
        Reason.FORBIDDEN_HEADER,
    ),
    "crit, empty": (lambda f: f.token({"crit": []}), Reason.FORBIDDEN_HEADER),
    "crit of a known member": (
        lambda f: f.token({"crit": ["alg"]}),
        Reason.FORBIDDEN_HEADER,
    ),
    "b64": (
        lambda f: f.token({"b64": False, "crit": ["b64"]}),
        Reason.FORBIDDEN_HEADER,
    ),
    "zip": (lambda f: f.token({"zip": "DEF"}), Reason.FORBIDDEN_HEADER),
    "enc": (lambda f: f.token({"enc": "A128GCM"}), Reason.FORBIDDEN_HEADER),
    "p2c": (lambda f: f.token({"p2c": 2**31}), Reason.FORBIDDEN_HEADER),
    "claims in the header": (
        lambda f: f.token({"iss": ISSUER, "sub": "root"}),
        Reason.FORBIDDEN_HEADER,
    ),
    "a name in other case": (
        lambda f: f.token({"ALG": "none"}),
        Reason.FORBIDDEN_HEADER,
    ),
    "an empty object": (lambda f: f.token(b"{}"), Reason.FORBIDDEN_HEADER),
    "a list": (lambda f: f.token(b"[]"), Reason.MALFORMED_JSON),
    "null": (lambda f: f.token(b"null"), Reason.MALFORMED_JSON),
    "nested beyond use": (lambda f: f.token(b"[" * 3000), Reason.TOO_DEEP),
    "alg twice": (
        lambda f: f.token(
            b'{"alg":"RS256","typ":"at+jwt","kid":"rsa-1","alg":"none"}',
        ),
        Reason.DUPLICATE_MEMBER,
    ),
    "NaN": (lambda f: f.token(b'{"alg":"RS256","kid":NaN}'), Reason.MALFORMED_JSON),
    "cty that is no text": (lambda f: f.token({"cty": 1}), Reason.FORBIDDEN_HEADER),
    "typ that is no text": (lambda f: f.token({"typ": 1}), Reason.FORBIDDEN_HEADER),
    "typ missing": (lambda f: f.token({"typ": GONE}), Reason.WRONG_TYPE),
    "typ empty": (lambda f: f.token({"typ": ""}), Reason.WRONG_TYPE),
    "typ of an ID token": (lambda f: f.token({"typ": "JWT"}), Reason.WRONG_TYPE),
    "typ of a logout token": (
        lambda f: f.token({"typ": "logout+jwt"}),
        Reason.WRONG_TYPE,
    ),
    "typ of a proof": (lambda f: f.token({"typ": "dpop+jwt"}), Reason.WRONG_TYPE),
    "typ with more behind": (
        lambda f: f.token({"typ": "at+jwt; x=y"}),
        Reason.WRONG_TYPE,
    ),
    "typ of another tree": (
        lambda f: f.token({"typ": "text/at+jwt"}),
        Reason.WRONG_TYPE,
    ),
}

ATTACKS = {
    **{f"algorithm: {name}": each for name, each in ALGORITHMS.items()},
    **{f"key: {name}": each for name, each in KEYS.items()},
    **{f"header: {name}": each for name, each in HEADERS.items()},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_header_does_not_decide_how_its_token_is_checked(guard, forge, name):
    attack, reason = ATTACKS[name]

    with pytest.raises(InvalidToken) as caught:
        guard.verify(attack(forge))

    assert caught.value.reason is reason


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_an_access_token_may_name_its_type_as_media_types_are_named(guard, forge, typ):
    assert guard.verify(forge.token({"typ": typ})).subject == "ada"


def test_a_content_type_is_allowed_and_means_nothing(guard, forge):
    assert guard.verify(forge.token({"cty": "json"})).subject == "ada"
