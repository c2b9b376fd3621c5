"""The signature algorithms that a token may use, and the keys that fit them."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from operon.errors import ConfigurationError


@dataclass(frozen=True)
class Algorithm:
    """What a key must be, to be used with an algorithm of RFC 7518, section 3.1."""

    key_type: str
    """The `kty` of its keys."""
    hash_size: int
    """Bytes of its hash, and the fewest of an HMAC secret (section 3.2)."""
    curve: str | None = None
    """The `crv` of its keys, if they have one."""
    coordinate_size: int = 0
    """Bytes of each coordinate of its keys, if they have them."""


ALGORITHMS: Mapping[str, Algorithm] = {
    "HS256": Algorithm("oct", 32),
    "HS384": Algorithm("oct", 48),
    "HS512": Algorithm("oct", 64),
    "RS256": Algorithm("RSA", 32),
    "RS384": Algorithm("RSA", 48),
    "RS512": Algorithm("RSA", 64),
    "ES256": Algorithm("EC", 32, "P-256", 32),
    "ES384": Algorithm("EC", 48, "P-384", 48),
    "ES512": Algorithm("EC", 64, "P-521", 66),
}
"""By name. python-jose has no RSASSA-PSS and no EdDSA."""


def checked_algorithms(named: object) -> tuple[str, ...]:
    """Return the algorithms that *named* lists, each known and listed once.

    Raises:
        ConfigurationError: There is none, one is unknown or listed twice, or secrets
            and public keys would be used side by side.
    """
    shown = repr(named)
    if isinstance(named, str) or not isinstance(named, Sequence) or not named:
        raise _refused(shown, "lists no algorithm")
    names = tuple(cast("Sequence[str]", named))
    unknown = [name for name in names if name not in ALGORITHMS]
    if unknown:
        raise _refused(shown, f"has {unknown[0]!r}, which is not supported")
    if len(set(names)) < len(names):
        raise _refused(shown, "names an algorithm twice")
    if len({ALGORITHMS[name].key_type == "oct" for name in names}) > 1:
        raise _refused(shown, "mixes secrets and public keys")
    return names


def is_symmetric(algorithms: Sequence[str]) -> bool:
    """Return whether the checked *algorithms* use secrets."""
    return ALGORITHMS[algorithms[0]].key_type == "oct"


def _refused(shown: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"algorithms={shown}",
        problem,
        cure=f"list some of {', '.join(ALGORITHMS)}; HS… never beside the others",
    )
