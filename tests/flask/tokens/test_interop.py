"""Tokens of other libraries are accepted, whichever made them."""

import json
import warnings
from datetime import timedelta
from importlib import import_module

import joserfc.jwk
import joserfc.jwt
import jwt as pyjwt
import pytest
from authlib.deprecate import AuthlibDeprecationWarning
from cryptography.hazmat.primitives.asymmetric import ec

from operon.flask.tokens import JWTIssuer
from operon.flask.tokens import Principal
from operon.flask.tokens import Verifier
from operon.flask.tokens import issue
from tests.flask.tokens.forge import AUDIENCE
from tests.flask.tokens.forge import DEVELOPMENT
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import SECRET
from tests.flask.tokens.forge import b64
from tests.flask.tokens.forge import ec_jwk
from tests.flask.tokens.forge import pem
from tests.flask.tokens.forge import private_jwk

with warnings.catch_warnings():  # it asks for joserfc, which is here as well
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    authlib_jwt = import_module("authlib.jose").jwt

ALGORITHMS = {"RS256": "rsa-1", "ES256": "ec-1", "HS256": None}


def signer(forge, algorithm):
    """Return the private JWK of *algorithm*."""
    if algorithm == "HS256":
        return {"kty": "oct", "k": b64(SECRET)}
    key = forge.rsa if algorithm == "RS256" else forge.ec
    return private_jwk(key, alg=algorithm)


def by_pyjwt(claims, jwk, header):
    key = pyjwt.PyJWK.from_dict(jwk, algorithm=header["alg"]).key
    return pyjwt.encode(claims, key, header["alg"], header)


def by_joserfc(claims, jwk, header):
    key = joserfc.jwk.import_key(jwk)
    return joserfc.jwt.encode(header, claims, key, algorithms=[header["alg"]])


def by_authlib(claims, jwk, header):
    return authlib_jwt.encode(header, claims, jwk).decode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("mint", [by_pyjwt, by_joserfc, by_authlib])
def test_tokens_of_other_libraries_are_accepted(guard, forge, mint, algorithm):
    named = ALGORITHMS[algorithm]
    header = {"alg": algorithm, "typ": "at+jwt"} | ({"kid": named} if named else {})
    issuer = ISSUER if named else DEVELOPMENT

    token = mint(forge.claims({"iss": issuer}), signer(forge, algorithm), header)

    assert guard.verify(token) == Principal(
        issuer,
        "ada",
        "acme",
        "web",
        frozenset({"orders:read", "orders:write"}),
        frozenset({"customer"}),
    )


@pytest.mark.parametrize(
    ("algorithm", "curve"), [("ES384", ec.SECP384R1()), ("ES512", ec.SECP521R1())]
)
def test_longer_curves_are_accepted(forge, clock, algorithm, curve):
    key = ec.generate_private_key(curve)
    jwks = {"keys": [ec_jwk(key, alg=algorithm, kid="long")]}
    guard = Verifier([forge.issuer(algorithms=[algorithm], jwks=jwks)], clock=clock)

    header = {"typ": "at+jwt", "kid": "long"}
    token = pyjwt.encode(forge.claims(), key, algorithm, header)

    assert guard.verify(token).subject == "ada"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "RS384", "RS512"])
def test_longer_hashes_are_accepted(forge, clock, algorithm):
    secret = SECRET * 2
    if algorithm.startswith("HS"):
        issuer = forge.development(algorithms=[algorithm], secret=secret)
        key = secret
    else:
        jwk = private_jwk(forge.rsa, alg=algorithm)
        jwks = {"keys": [{name: jwk[name] for name in ("kty", "alg", "n", "e")}]}
        issuer = JWTIssuer(
            DEVELOPMENT, audience=AUDIENCE, algorithms=[algorithm], jwks=jwks
        )
        key = forge.rsa
    claims = forge.claims({"iss": DEVELOPMENT})

    token = pyjwt.encode(claims, key, algorithm, {"typ": "at+jwt"})

    assert Verifier([issuer], clock=clock).verify(token).subject == "ada"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tokens_of_ours_are_accepted_by_other_libraries(forge, clock, algorithm):
    key = SECRET if algorithm == "HS256" else signer(forge, algorithm)
    public = {"RS256": forge.rsa, "ES256": forge.ec}.get(algorithm)

    token = issue(issuer=ISSUER, audience=AUDIENCE, subject="ada", key=key, clock=clock)

    told = pyjwt.decode(
        token,
        SECRET if public is None else pem(public),
        algorithms=[algorithm],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert told["sub"] == "ada"
    assert told["exp"] - told["iat"] == timedelta(hours=1).total_seconds()
    assert json.loads(json.dumps(told)) == told
