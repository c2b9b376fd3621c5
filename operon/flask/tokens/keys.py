"""Keys, checked when they are loaded, so that no token meets a weak or foreign one.

A JWK comes from outside. Only the members that make the key up, decoded and checked,
go on to python-jose; `x5c`, `x5u` and whatever else it has are not looked at.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TypeAlias
from typing import cast

from operon.flask.tokens import strict
from operon.flask.tokens.algorithms import ALGORITHMS
from operon.flask.tokens.algorithms import Algorithm
from operon.flask.tokens.signature import PreparedKey
from operon.flask.tokens.signature import Unusable
from operon.flask.tokens.signature import prepared
from operon.flask.tokens.strict import Unreadable

KeyName: TypeAlias = tuple[str | None, str]
"""What selects a key: its `kid`, None if it has none, and its `alg`."""

PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MOST_KEYS = 64
_RSA_BITS = range(2048, 16_385)
_RSA_EXPONENTS = range(65_537, 1 << 64, 2)


class KeyRefused(Exception):  # noqa: N818 - a refusal that the caller translates
    """A key is malformed, weak, ambiguous or not to be seen here; str() says what."""


class NotOurs(Exception):  # noqa: N818 - a refusal that the caller translates
    """A key may be fine, but is for other algorithms or another use."""


@dataclass(frozen=True)
class Keys:
    """The usable keys of an issuer."""

    usable: Mapping[KeyName, PreparedKey] = field(repr=False)
    refused: Sequence[str] = ()
    """What is wrong with each key that was refused; others were not ours."""


def loaded(key_set: Mapping[str, Any], algorithms: Sequence[str]) -> Keys:
    """Return the keys of the JWK set *key_set* that fit one of *algorithms*.

    Raises:
        KeyRefused: It is no JWK set, or has more than 64 keys.
    """
    given = key_set.get("keys")
    if not isinstance(given, list):
        raise KeyRefused("the key set has no list `keys`")
    jwks = cast("list[object]", given)
    if len(jwks) > _MOST_KEYS:
        raise KeyRefused(f"the key set has more than {_MOST_KEYS} keys")
    found: dict[KeyName, PreparedKey] = {}
    refused: dict[KeyName | int, str] = {}
    for index, jwk in enumerate(jwks):
        try:
            name, key = usable(jwk, algorithms)
        except NotOurs:
            continue
        except KeyRefused as refusal:
            refused[index] = f"key {index} {refusal}"
            continue
        if name in found:
            refused[name] = f"key {index} has the kid and alg of another one"
        found[name] = key
    fit = {name: key for name, key in found.items() if name not in refused}
    return Keys(fit, tuple(refused.values()))


def from_secret(secret: str | bytes, algorithm: str) -> Keys:
    """Return *secret* as the only key, which has no `kid`.

    Raises:
        KeyRefused: It is shorter than the hash, or is the text of a public key.
    """
    data = secret.encode() if isinstance(secret, str) else secret
    _check_secret(data, algorithm)
    return Keys({(None, algorithm): _prepared(data, algorithm)})


def usable(jwk: object, algorithms: Sequence[str]) -> tuple[KeyName, PreparedKey]:
    """Return the public key or secret that *jwk* is, and what selects it.

    Raises:
        NotOurs: It is not for checking signatures with one of *algorithms*.
        KeyRefused: It is malformed or weak, or has a private member.
    """
    if not isinstance(jwk, dict):
        raise KeyRefused("is no object")
    members = cast("dict[str, Any]", jwk)
    if members.get("kty") != "oct" and not PRIVATE.isdisjoint(members):
        raise KeyRefused("has a private member")
    key_id = members.get("kid")
    if not isinstance(key_id, str | None):
        raise KeyRefused("has a kid that is no text")
    _check_use(members)
    algorithm = algorithm_of(members, algorithms)
    return (key_id, algorithm), _prepared(_material(members, algorithm), algorithm)


def algorithm_of(jwk: Mapping[str, Any], algorithms: Sequence[str]) -> str:
    """Return the one algorithm of *algorithms* that *jwk* is used with.

    Raises:
        NotOurs: There is none.
        KeyRefused: The key does not fit its own `alg`, or fits several.
    """
    fitting = [name for name in algorithms if _fits(jwk, ALGORITHMS[name])]
    named = jwk.get("alg")
    if named is None and len(fitting) > 1:
        raise KeyRefused("has no alg, and fits several")
    if named is None and fitting:
        return fitting[0]
    if named in fitting:
        return cast("str", named)
    if named in algorithms:
        raise KeyRefused("has a kty or crv that its alg does not have")
    raise NotOurs


def public_material(jwk: Mapping[str, Any], algorithm: str) -> dict[str, str]:
    """Return the checked members that make the public key *jwk* up, and no other.

    Raises:
        KeyRefused: One is missing, malformed or weak.
    """
    kind = ALGORITHMS[algorithm]
    if kind.key_type == "EC":
        _check_point(jwk, kind)
        return {name: jwk[name] for name in ("kty", "crv", "x", "y")}
    _check_rsa(jwk)
    return {name: jwk[name] for name in ("kty", "n", "e")}


def _material(jwk: Mapping[str, Any], algorithm: str) -> dict[str, str] | bytes:
    if ALGORITHMS[algorithm].key_type != "oct":
        return public_material(jwk, algorithm)
    secret = _decoded(jwk, "k")
    _check_secret(secret, algorithm)
    return secret


def _fits(jwk: Mapping[str, Any], kind: Algorithm) -> bool:
    curve = jwk.get("crv") if kind.curve is not None else None
    return (jwk.get("kty"), curve) == (kind.key_type, kind.curve)


def _check_use(jwk: Mapping[str, Any]) -> None:
    """Refuse a key that is not for checking signatures."""
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list):
        raise KeyRefused("has key_ops that are no list")
    if jwk.get("use", "sig") != "sig" or "verify" not in operations:
        raise NotOurs


def _check_secret(secret: bytes, algorithm: str) -> None:
    least = ALGORITHMS[algorithm].hash_size
    if len(secret) < least:
        raise KeyRefused(f"has fewer than the {least} bytes that {algorithm} needs")


def _check_point(jwk: Mapping[str, Any], kind: Algorithm) -> None:
    for name in ("x", "y"):
        if len(_decoded(jwk, name)) != kind.coordinate_size:
            raise KeyRefused(f"has a {name} of the wrong length")


def _check_rsa(jwk: Mapping[str, Any]) -> None:
    modulus = int.from_bytes(_decoded(jwk, "n"))
    exponent = int.from_bytes(_decoded(jwk, "e"))
    if modulus.bit_length() not in _RSA_BITS or modulus % 2 == 0:
        raise KeyRefused("has a modulus that is even, or not of 2048 to 16384 bits")
    if exponent not in _RSA_EXPONENTS:
        raise KeyRefused("has an exponent that is even, below 65537 or huge")


def _decoded(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if isinstance(value, str):
        try:
            return strict.decode(value)
        except Unreadable:
            pass
    raise KeyRefused(f"has no {name}, or one that is no base64url")


def _prepared(material: Mapping[str, str] | bytes, algorithm: str) -> PreparedKey:
    try:
        return prepared(material, algorithm)
    except Unusable:
        pass
    raise KeyRefused("is none of its kind")
