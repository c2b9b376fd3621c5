"""Who may issue tokens, for whom, and with which keys: configuration, checked."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import KW_ONLY
from dataclasses import dataclass
from dataclasses import field
from datetime import timedelta
from typing import Any
from typing import cast
from urllib.parse import SplitResult
from urllib.parse import urlsplit

from operon.errors import ConfigurationError
from operon.flask.tokens.algorithms import checked_algorithms
from operon.flask.tokens.algorithms import is_symmetric
from operon.flask.tokens.keys import KeyRefused
from operon.flask.tokens.keys import Keys
from operon.flask.tokens.keys import from_secret
from operon.flask.tokens.keys import loaded

_MOST_LEEWAY = timedelta(minutes=5)
_LONGEST_LIFE = timedelta(days=31)

Revoked = Callable[[Mapping[str, Any]], bool]
"""Says of a verified token's claims whether it was revoked."""


@dataclass(frozen=True)
class JWTIssuer:
    """An issuer whose tokens are accepted, and what they have to be like.

    It has exactly one of *jwks_url*, *jwks* and *secret*.
    """

    issuer: str
    """Exactly its tokens' `iss`."""
    _: KW_ONLY
    audience: str
    """This service, as their `aud` names it, alone or among others."""
    algorithms: Sequence[str]
    """The only `alg`s; all with secrets, or all with public keys."""
    jwks_url: str | None = None
    """Where its keys are fetched, and fetched again when they change."""
    jwks: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    """Its keys, as a JWK set that does not change."""
    secret: str | bytes | None = field(default=None, repr=False)
    """A secret shared with it, for development; not shorter than the hash."""
    types: Sequence[str] = ("at+jwt",)
    """Their `typ`s; add "JWT" for an issuer older than RFC 9068."""
    leeway: timedelta = timedelta(seconds=30)
    """How much its clock and ours may differ."""
    max_lifetime: timedelta = timedelta(hours=24)
    """The longest time between their `iat` and their `exp`."""
    revoked: Revoked | None = field(default=None, hash=False)
    """Called for every token that is otherwise good, with its claims.

    A `KeysUnavailable` that it raises is passed on, any other error refuses the token.
    """
    tenant_claim: str = "tenant"
    client_claim: str = "client_id"
    scope_claim: str = "scope"
    """Text with spaces between the scopes, or a list of them."""
    roles_claim: str = "roles"
    """A list."""
    allow_http: bool = False
    """Whether *jwks_url* may be http, which anybody on the way answers: for tests."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, or would not be safe."""
        for name in ("issuer", "audience"):
            _check_text(name, getattr(self, name))
        for kind in ("tenant", "client", "scope", "roles"):
            _check_text(f"{kind}_claim", getattr(self, f"{kind}_claim"))
        object.__setattr__(self, "algorithms", checked_algorithms(self.algorithms))
        object.__setattr__(self, "types", _checked_types(self.types))
        _check_duration("leeway", self.leeway, timedelta(0), _MOST_LEEWAY)
        _check_duration(
            "max_lifetime", self.max_lifetime, timedelta(seconds=1), _LONGEST_LIFE
        )
        self._check_keys()

    def fixed_keys(self) -> Keys | None:
        """Return the keys that do not change, or None if they are to be fetched.

        Raises:
            ConfigurationError: One is weak or malformed, or there is none to use.
        """
        try:
            if self.secret is not None:
                return from_secret(self.secret, self.algorithms[0])
            if self.jwks is not None:
                return _all_good(loaded(self.jwks, self.algorithms))
        except KeyRefused as refusal:
            raise self._refused_keys(str(refusal)) from refusal
        return None

    def _check_keys(self) -> None:
        given = (self.jwks_url, self.jwks, self.secret)
        if sum(each is not None for each in given) != 1:
            raise self._refused_keys("are not given in exactly one way")
        if self.jwks_url is not None:
            if is_symmetric(self.algorithms):
                raise self._refused_keys("are secrets, which nobody publishes")
            _check_url(self.jwks_url, allow_http=self.allow_http)
        if self.secret is not None:
            if not isinstance(self.secret, str | bytes):  # pyright: ignore[reportUnnecessaryIsInstance]  # it may be untyped code
                raise self._refused_keys("are a secret that is neither text nor bytes")
            if not is_symmetric(self.algorithms) or len(self.algorithms) > 1:
                raise self._refused_keys("are a secret, which has one HS… algorithm")
        if self.jwks is not None and not isinstance(self.jwks, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
            raise self._refused_keys("are no JWK set")
        self.fixed_keys()

    def _refused_keys(self, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"the keys of JWTIssuer({self.issuer!r})",
            problem if problem.startswith("are ") else f"cannot be used: {problem}",
            cure="give one of jwks_url=, jwks= and secret=, with keys of the listed "
            "algorithms: RSA from 2048 bits, secrets as long as the hash",
        )


def _all_good(keys: Keys) -> Keys:
    """Return *keys*; somebody has chosen them, so none of them may be refused."""
    if keys.refused:
        raise KeyRefused(keys.refused[0])
    if not keys.usable:
        raise KeyRefused("no key fits the listed algorithms")
    return keys


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ConfigurationError(
            f"{name}={value!r}", "cannot work", cure="use text of printable characters"
        )


def _checked_types(types: object) -> tuple[str, ...]:
    """Return the media types that *types* lists, in lower case."""
    if isinstance(types, Sequence) and not isinstance(types, str) and types:
        names = cast("Sequence[object]", types)
        if all(isinstance(name, str) and name and name.isascii() for name in names):
            return tuple(str(name).lower() for name in names)
    raise ConfigurationError(
        f"types={types!r}",
        "lists no type of tokens",
        cure='use ("at+jwt",), or ("at+jwt", "JWT") for an older issuer',
    )


def _check_duration(
    name: str, value: object, least: timedelta, most: timedelta
) -> None:
    if not isinstance(value, timedelta) or not least <= value <= most:
        raise ConfigurationError(
            f"{name}={value!r}",
            "cannot work",
            cure=f"use a timedelta from {least} to {most}",
        )


def _check_url(url: object, *, allow_http: bool) -> None:
    schemes = {"https", "http"} if allow_http else {"https"}
    parts = _split(url)
    holds = (
        parts is not None
        and parts.scheme in schemes
        and parts.hostname is not None
        and (parts.username, parts.password, parts.fragment) == (None, None, "")
    )
    if not holds:
        raise ConfigurationError(
            f"jwks_url={url!r}",
            "cannot be used",
            cure="use an https URL without user and fragment (http only with "
            "allow_http=True, for tests)",
        )


def _split(url: object) -> SplitResult | None:
    """Return the parts of *url*, or None if it has none."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable():
        return None
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        return None
    return None if " " in url else parts
