"""python-jose, for the two things it is trusted with: signing and checking signatures.

No other module of the project imports it, and this one never imports its `jwe`.
It is given only what was parsed and checked before, one algorithm and one key: what
it reads leniently, it does not get to read. Its `jwt` would check claims again, less
strictly and by this machine's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from jose import backends  # type: ignore[import-untyped]  # it has no types
from jose import jwk
from jose import jws

from operon.errors import ConfigurationError


@dataclass(frozen=True)
class PreparedKey:
    """A key as python-jose holds it, and the only algorithm it is ever used with."""

    algorithm: str
    key: Any = field(repr=False)


class Unproven(Exception):  # noqa: N818 - a refusal that the caller translates
    """A signature is not that of the key."""


class Unusable(Exception):  # noqa: N818 - a refusal that the caller translates
    """The numbers of a key are not those of any key."""


def prepared(material: Mapping[str, str] | bytes, algorithm: str) -> PreparedKey:
    """Return a key to sign or check with.

    Args:
        material: The members of a checked JWK, or a secret.
        algorithm: The only one that the key is ever used with.

    Raises:
        Unusable: There is no such key.
        ConfigurationError: python-jose was installed without `cryptography`.
    """
    _check_backend()
    try:
        data = material if isinstance(material, bytes) else dict(material)
        return PreparedKey(algorithm, jwk.construct(data, algorithm))
    except Exception:  # noqa: BLE001, S110 - whatever jose raises, which may hold the key
        pass
    raise Unusable


def proven(text: str, key: PreparedKey) -> bytes:
    """Return the payload of the token *text*, which *key* signed.

    Raises:
        Unproven: It did not.
    """
    try:
        payload: bytes = jws.verify(text, key.key, [key.algorithm])
        return payload  # noqa: TRY300 - outside of the block it is refused
    except Exception:  # noqa: BLE001, S110 - whatever jose raises, which may hold the token
        pass
    raise Unproven


def signed(
    claims: Mapping[str, Any], key: PreparedKey, header: Mapping[str, str]
) -> str:
    """Return a token of *claims*, signed; *header* gives its `typ` and `kid`."""
    text: str = jws.sign(dict(claims), key.key, dict(header), key.algorithm)
    return text


def _check_backend() -> None:
    """Refuse python-jose's own fallbacks, which leak secrets through timing."""
    if backends.RSAKey is None or "cryptography" not in backends.RSAKey.__module__:
        raise ConfigurationError(
            "python-jose",
            "is installed without its `cryptography` backend",
            cure="install python-jose[cryptography]",
        )
