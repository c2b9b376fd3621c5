"""Makes tokens without any JWT library, so that everything about them can be wrong."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from operon.flask.tokens import JWTIssuer
from tests.flask.tokens.clock import NOON

ISSUER = "https://id.example.org/"
DEVELOPMENT = "https://dev.example.org/"
AUDIENCE = "shop"
SECRET = b"a secret of 32 bytes, no less..."
GONE: Any = object()
NOW = int(NOON.timestamp())

Sign = Callable[[bytes], bytes]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8))


def compact(value: Any) -> bytes:
    """Return *value* as JSON, or as it is if it is bytes already."""
    if isinstance(value, bytes):
        return value
    return json.dumps(value, separators=(",", ":")).encode()


def changed(value: dict[str, Any], changes: Any) -> Any:
    """Return *value* with *changes*; bytes replace it as a whole."""
    if isinstance(changes, bytes | list | str | int):
        return changes
    return {k: v for k, v in (value | (changes or {})).items() if v is not GONE}


def hs(secret: bytes, digest: str = "sha256") -> Sign:
    return lambda message: hmac.digest(secret, message, digest)


def rs(key: RSAPrivateKey, digest: hashes.HashAlgorithm | None = None) -> Sign:
    used = digest or hashes.SHA256()
    return lambda message: key.sign(message, padding.PKCS1v15(), used)


def ps(key: RSAPrivateKey) -> Sign:
    salted = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return lambda message: key.sign(message, salted, hashes.SHA256())


def es_der(key: EllipticCurvePrivateKey) -> Sign:
    return lambda message: key.sign(message, ECDSA(hashes.SHA256()))


def es(key: EllipticCurvePrivateKey) -> Sign:
    def sign(message: bytes) -> bytes:
        size = (key.key_size + 7) // 8
        r, s = decode_dss_signature(es_der(key)(message))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def rsa_jwk(key: RSAPrivateKey, **more: Any) -> dict[str, Any]:
    public = key.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": number(public.n), "e": number(public.e)}
    return changed(jwk | {"alg": "RS256", "use": "sig"}, more)


def ec_jwk(key: EllipticCurvePrivateKey, **more: Any) -> dict[str, Any]:
    public = key.public_key().public_numbers()
    size = (key.key_size + 7) // 8
    jwk = {"kty": "EC", "crv": f"P-{key.key_size}"}
    jwk |= {"x": number(public.x, size), "y": number(public.y, size)}
    return changed(jwk | {"alg": "ES256", "use": "sig"}, more)


def private_jwk(key: Any, **more: Any) -> dict[str, Any]:
    numbers = key.private_numbers()
    if isinstance(key, EllipticCurvePrivateKey):
        return ec_jwk(key, **({"d": number(numbers.private_value, 32)} | more))
    parts = {
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "qi": numbers.iqmp,
    }
    return rsa_jwk(key, **({k: number(part) for k, part in parts.items()} | more))


@dataclass(frozen=True)
class Forge:
    """The keys of an issuer and of an attacker; all are made once."""

    rsa: RSAPrivateKey = field(repr=False)
    ec: EllipticCurvePrivateKey = field(repr=False)
    other_rsa: RSAPrivateKey = field(repr=False)
    other_ec: EllipticCurvePrivateKey = field(repr=False)

    def jwks(self) -> dict[str, Any]:
        return {
            "keys": [
                rsa_jwk(self.rsa, kid="rsa-1"),
                ec_jwk(self.ec, kid="ec-1"),
                rsa_jwk(self.other_rsa, kid="encrypts", use="enc"),
            ]
        }

    def issuer(self, **changes: Any) -> JWTIssuer:
        """Return the issuer of asymmetric keys, with *changes*."""
        options = {
            "audience": AUDIENCE,
            "algorithms": ["RS256", "ES256"],
            "jwks": self.jwks(),
        }
        return JWTIssuer(ISSUER, **changed(options, changes))

    def development(self, **changes: Any) -> JWTIssuer:
        """Return the issuer of a shared secret, with *changes*."""
        options = {"audience": AUDIENCE, "algorithms": ["HS256"], "secret": SECRET}
        return JWTIssuer(DEVELOPMENT, **changed(options, changes))

    def claims(self, changes: Any = None) -> Any:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": NOW - 60,
            "exp": NOW + 600,
            "tenant": "acme",
            "client_id": "web",
            "scope": "orders:read orders:write",
            "roles": ["customer"],
        }
        return changed(claims, changes)

    def token(self, header: Any = None, claims: Any = None, sign: Any = None) -> str:
        """Return a token that is good but for what is given."""
        good = {"alg": "RS256", "typ": "at+jwt", "kid": "rsa-1"}
        head = b64(compact(changed(good, header)))
        signed = f"{head}.{b64(compact(self.claims(claims)))}"
        signature = (sign or rs(self.rsa))(signed.encode())
        return f"{signed}.{b64(signature)}"

    def ec_token(self, header: Any = None, claims: Any = None, sign: Any = None) -> str:
        """Return one of the issuer's other key."""
        named = {"alg": "ES256", "kid": "ec-1"} | (header or {})
        return self.token(named, claims, sign or es(self.ec))

    def hs_token(self, header: Any = None, claims: Any = None, sign: Any = None) -> str:
        """Return one of the issuer that shares a secret."""
        named = {"alg": "HS256", "kid": GONE} | (header or {})
        said = {"iss": DEVELOPMENT} | (claims or {})
        return self.token(named, said, sign or hs(SECRET))

    def rs_digest(self, message: bytes) -> bytes:
        """Sign as if SHA-1 would do."""
        return rs(self.rsa, hashes.SHA1())(message)  # noqa: S303 - that it is weak is the point


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
