"""Who asks: what is kept of a verified token, which is never the token."""

from dataclasses import dataclass
from typing import Any
from typing import cast

from operon.errors import DecodeError


@dataclass(frozen=True)
class Principal:
    """Who a request or a run acts for."""

    issuer: str
    """Who vouches for it."""
    subject: str
    """The user, or the client itself; unique within the issuer."""
    tenant: str | None = None
    """The organisation whose objects it may see, if the issuer tells any."""
    client: str | None = None
    """The program through which the user acts, if the issuer tells it."""
    scopes: frozenset[str] = frozenset()
    """What the client may do."""
    roles: frozenset[str] = frozenset()
    """What the user is."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, the same for equal principals."""
        return {
            "issuer": self.issuer,
            "subject": self.subject,
            "tenant": self.tenant,
            "client": self.client,
            "scopes": sorted(self.scopes),
            "roles": sorted(self.roles),
        }

    @classmethod
    def from_json(cls, stored: object) -> "Principal":
        """Return the principal whose `as_json` is *stored*.

        Raises:
            DecodeError: It is of nobody.
        """
        if not isinstance(stored, dict):
            raise DecodeError("a principal", "it is no object")
        members = cast("dict[str, object]", stored)
        if members.keys() != cls.__dataclass_fields__.keys():
            raise DecodeError("a principal", "it has other members than principals")
        return cls(
            _text(members, "issuer"),
            _text(members, "subject"),
            _text_or_none(members, "tenant"),
            _text_or_none(members, "client"),
            _texts(members, "scopes"),
            _texts(members, "roles"),
        )


def _text(members: dict[str, object], name: str) -> str:
    value = members[name]
    if isinstance(value, str):
        return value
    raise DecodeError("a principal", f"its {name} is no text")


def _text_or_none(members: dict[str, object], name: str) -> str | None:
    return None if members[name] is None else _text(members, name)


def _texts(members: dict[str, object], name: str) -> frozenset[str]:
    value = members[name]
    if not isinstance(value, list):
        raise DecodeError("a principal", f"its {name} are no list")
    texts = cast("list[object]", value)
    if all(isinstance(each, str) for each in texts):
        return frozenset(cast("list[str]", texts))
    raise DecodeError("a principal", f"one of its {name} is no text")
