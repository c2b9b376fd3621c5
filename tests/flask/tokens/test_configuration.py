"""An issuer that cannot work, or would not be safe, is refused when it is made."""

from dataclasses import replace
from datetime import timedelta

import pytest

from operon.errors import ConfigurationError
from operon.flask.tokens import JWTIssuer
from operon.flask.tokens import Verifier
from operon.flask.tokens.algorithms import ALGORITHMS
from tests.flask.tokens.forge import GONE
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import SECRET
from tests.flask.tokens.forge import b64
from tests.flask.tokens.forge import pem
from tests.flask.tokens.forge import private_jwk
from tests.flask.tokens.forge import rsa_jwk

URL = "https://id.example.org/jwks.json"


def by_url(url=URL, **more):
    return {"jwks": GONE, "jwks_url": url} | more


REFUSED = {
    "no audience": lambda _f: {"audience": ""},
    "an audience of spaces": lambda _f: {"audience": " "},
    "several audiences": lambda _f: {"audience": ["shop", "bank"]},
    "no algorithms": lambda _f: {"algorithms": []},
    "algorithms that are text": lambda _f: {"algorithms": "RS256"},
    "algorithms that are None": lambda _f: {"algorithms": None},
    "the algorithm none": lambda _f: {"algorithms": ["none"]},
    "an algorithm in lower case": lambda _f: {"algorithms": ["rs256"]},
    "an algorithm that is not supported": lambda _f: {"algorithms": ["PS256"]},
    "an algorithm of another kind": lambda _f: {"algorithms": ["EdDSA"]},
    "an algorithm that encrypts": lambda _f: {"algorithms": ["RSA-OAEP"]},
    "an algorithm twice": lambda _f: {"algorithms": ["RS256", "RS256"]},
    "an algorithm that is a number": lambda _f: {"algorithms": [256]},
    "secrets beside public keys": lambda _f: {"algorithms": ["RS256", "HS256"]},
    "no keys": lambda _f: {"jwks": GONE},
    "keys in two ways": lambda _f: {"jwks_url": URL},
    "keys and a secret": lambda _f: {"secret": SECRET},
    "keys that are a list": lambda f: {"jwks": f.jwks()["keys"]},
    "keys that are text": lambda _f: {"jwks": "{}"},
    "no key in the set": lambda _f: {"jwks": {"keys": []}},
    "no key of ours in the set": lambda f: {
        "jwks": {"keys": [rsa_jwk(f.rsa, use="enc")]}
    },
    "a private key in the set": lambda f: {
        "jwks": {"keys": [rsa_jwk(f.rsa, kid="a"), private_jwk(f.ec)]}
    },
    "a weak key in the set": lambda f: {
        "jwks": {"keys": [rsa_jwk(f.rsa, kid="a"), rsa_jwk(f.rsa, e="Aw")]}
    },
    "a secret of a public algorithm": lambda _f: {"jwks": GONE, "secret": SECRET},
    "a secret of two algorithms": lambda _f: {
        "jwks": GONE,
        "secret": SECRET * 2,
        "algorithms": ["HS256", "HS512"],
    },
    "an empty secret": lambda _f: {
        "jwks": GONE,
        "secret": "",
        "algorithms": ["HS256"],
    },
    "a short secret": lambda _f: {
        "jwks": GONE,
        "secret": SECRET[1:],
        "algorithms": ["HS256"],
    },
    "a secret too short for its hash": lambda _f: {
        "jwks": GONE,
        "secret": SECRET,
        "algorithms": ["HS384"],
    },
    "a secret that is a public key": lambda f: {
        "jwks": GONE,
        "secret": pem(f.rsa),
        "algorithms": ["HS256"],
    },
    "a secret that is a number": lambda _f: {
        "jwks": GONE,
        "secret": 1,
        "algorithms": ["HS256"],
    },
    "a URL of secrets": lambda _f: by_url(algorithms=["HS256"]),
    "a URL of http": lambda _f: by_url("http://id.example.org/jwks.json"),
    "a URL of a file": lambda _f: by_url("file:///etc/jwks.json", allow_http=True),
    "a URL of ftp": lambda _f: by_url("ftp://id.example.org/x", allow_http=True),
    "a URL of data": lambda _f: by_url('data:,{"keys":[]}', allow_http=True),
    "a URL without a host": lambda _f: by_url("https:///jwks.json"),
    "a URL with a user": lambda _f: by_url("https://ada:pw@id.example.org/x"),
    "a URL with a fragment": lambda _f: by_url(f"{URL}#keys"),
    "a URL with a space": lambda _f: by_url("https://id.example.org/a b"),
    "a URL with a line break": lambda _f: by_url(f"{URL}\r\nHost: evil"),
    "a URL with an odd port": lambda _f: by_url("https://id.example.org:99999/x"),
    "a URL beyond ASCII": lambda _f: by_url("https://id.exämple.org/x"),
    "a URL that is a number": lambda _f: by_url(1),
    "a URL that is empty": lambda _f: by_url(""),
    "types that are text": lambda _f: {"types": "at+jwt"},
    "no types": lambda _f: {"types": ()},
    "an empty type": lambda _f: {"types": ("at+jwt", "")},
    "a type that is None": lambda _f: {"types": (None,)},
    "a leeway that is a number": lambda _f: {"leeway": 30},
    "a leeway below zero": lambda _f: {"leeway": timedelta(seconds=-1)},
    "a leeway of an hour": lambda _f: {"leeway": timedelta(hours=1)},
    "a lifetime that is a number": lambda _f: {"max_lifetime": 3600},
    "no lifetime": lambda _f: {"max_lifetime": timedelta(0)},
    "a lifetime of a year": lambda _f: {"max_lifetime": timedelta(days=365)},
    "a claim without a name": lambda _f: {"tenant_claim": ""},
    "a claim whose name is None": lambda _f: {"roles_claim": None},
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_issuer_that_is_not_safe_is_refused_with_a_cure(forge, name):
    with pytest.raises(ConfigurationError) as caught:
        forge.issuer(**REFUSED[name](forge))

    assert caught.value.hint
    assert SECRET[1:].decode() not in str(caught.value)


@pytest.mark.parametrize("issuer", ["", " ", None, 1, "https://id.example.org/\n"])
def test_an_issuer_without_a_name_is_refused(forge, issuer):
    with pytest.raises(ConfigurationError):
        replace(forge.issuer(), issuer=issuer)


def test_a_guard_of_no_issuer_or_of_one_twice_is_refused(forge):
    with pytest.raises(ConfigurationError):
        Verifier([])
    with pytest.raises(ConfigurationError):
        Verifier([forge.issuer(), forge.issuer(audience="bank")])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_supported_algorithm_can_be_listed(algorithm):
    keys = {"jwks_url": URL}
    if algorithm.startswith("HS"):
        keys = {"secret": SECRET * 2}

    issuer = JWTIssuer(ISSUER, audience="shop", algorithms=[algorithm], **keys)

    assert issuer.algorithms == (algorithm,)


def test_http_is_allowed_where_it_was_asked_for(forge):
    assert forge.issuer(**by_url("http://127.0.0.1:1/x", allow_http=True)).allow_http


def test_a_set_of_secrets_is_allowed_where_it_was_given(forge, clock):
    jwk = {"kty": "oct", "k": b64(SECRET), "kid": "s"}
    issuer = forge.development(secret=GONE, jwks={"keys": [jwk]})

    token = forge.hs_token({"kid": "s"})

    assert Verifier([issuer], clock=clock).verify(token).subject == "ada"


def test_an_issuer_shows_no_secret(forge):
    jwk = {"kty": "oct", "k": b64(SECRET), "kid": "s"}

    for issuer in (
        forge.development(),
        forge.development(secret=GONE, jwks={"keys": [jwk]}),
    ):
        assert SECRET.decode() not in repr(issuer)
        assert b64(SECRET) not in repr(issuer)


def test_an_issuer_can_be_compared_and_hashed(forge):
    assert forge.issuer() == forge.issuer()
    assert hash(forge.issuer()) == hash(forge.issuer())
    assert forge.issuer() != forge.issuer(audience="bank")
