"""Idempotency keys: a request that is sent again is answered as it was the first time.

Source:
    draft-ietf-httpapi-idempotency-key-header-07.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal

from flask import Request

from operon.flask.problem import KEY_INVALID
from operon.flask.problem import KEY_MISSING
from operon.flask.problem import Problem
from operon.flask.strict_json import canonical
from operon.flask.tokens import Principal
from operon.store.requests import RequestKey

Idempotency = Literal["optional", "required", "off"]
"""Whether an endpoint takes a key."""

HEADER = "Idempotency-Key"

_BARE = re.compile(r"[!#-+\--\[\]-~]{1,255}")
"""Visible ASCII but for comma, quote and backslash."""


def key_of(given: Sequence[str], *, required: bool, public: bool) -> str | None:
    """Return the key in the header values *given*, or None if there is none.

    Args:
        given: The values of all such headers.
        required: Whether there has to be one.
        public: Whether nobody is asked who they are; then only a UUID is a key, since
            knowing it is the only claim to the answer.

    Raises:
        Problem: There is none, several, or it is malformed.
    """
    if not given:
        if required:
            raise Problem(KEY_MISSING, f"Send one {HEADER} for each thing you want")
        return None
    key = _unquoted(given[0])
    if len(given) > 1 or _BARE.fullmatch(key) is None:
        raise Problem(
            KEY_INVALID,
            f"{HEADER} is 1 to 255 visible ASCII characters, quoted or not, without "
            "comma, quote or backslash",
        )
    if public and not _is_uuid(key):
        raise Problem(KEY_INVALID, f"Without credentials {HEADER} has to be a UUID")
    return key


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request asks for; the same request again asks for the same.

    No defaults are filled in, so that a deploy changes nothing.
    """

    method: str
    route: str
    """With names for path arguments."""
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    media_type: str
    body: Any

    def under(self, key: str, principal: Principal | None) -> RequestKey:
        """Return by what it is known if *principal* asks for it under *key*."""
        what = [self.method, self.route, self.path, sorted(self.query.items())]
        text = canonical([*what, self.media_type, self.body])
        return RequestKey(
            scope=_scope(principal),
            key=key,
            fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        )


def asked_by(request: Request, body: Any) -> Asked:
    """Return what *request*, whose body says *body*, asks for."""
    return Asked(
        method=request.method,
        route=str(request.url_rule),  # two blueprints may have the same below theirs
        path={name: str(each) for name, each in (request.view_args or {}).items()},
        query=dict(request.args.lists()),
        media_type=request.mimetype,
        body=body,
    )


def _scope(principal: Principal | None) -> str:
    """Return a hash of who asks; two principals with one key never meet."""
    if principal is None:
        return "public"
    who = [principal.issuer, principal.tenant, principal.client, principal.subject]
    return hashlib.sha256(canonical(who).encode()).hexdigest()


def _unquoted(text: str) -> str:
    text = text.strip(" \t")
    quoted = len(text) > 1 and text.startswith('"') and text.endswith('"')
    return text[1:-1] if quoted else text


def _is_uuid(key: str) -> bool:
    try:
        return str(uuid.UUID(key)) == key.lower()
    except ValueError:
        return False
