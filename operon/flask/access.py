"""Access: what a principal needs for an endpoint. Nothing is open unless it says so."""

from collections.abc import Collection
from dataclasses import dataclass

from operon.errors import DeclarationError
from operon.flask.problem import INSUFFICIENT_SCOPE
from operon.flask.problem import Problem
from operon.flask.tokens import Principal


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may use an endpoint: with all of the scopes and one of the roles, or anybody.

    Attributes:
        scopes: What the client has to be allowed, all of them.
        roles: What the user has to be, one of them; empty asks for none.
        public: Nobody is asked who they are.
    """

    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    public: bool = False

    @classmethod
    def declared(
        cls,
        subject: str,
        *,
        scopes: Collection[str],
        roles: Collection[str],
        public: bool,
    ) -> "Access":
        """Return what an endpoint says of itself.

        Raises:
            DeclarationError: It says nothing, or that it is both public and not.
        """
        if isinstance(scopes, str) or isinstance(roles, str):
            raise DeclarationError(
                subject,
                "has a text for scopes= or roles=",
                cure='give a set, such as scopes={"orders:write"}',
            )
        if public and (scopes or roles):
            raise DeclarationError(
                subject,
                "is public and asks for scopes or roles",
                cure="leave out public=True, or the others",
            )
        if not (public or scopes or roles):
            raise DeclarationError(
                subject,
                "says nothing of who may use it",
                cure="name scopes= or roles=, or say public=True",
            )
        return cls(scopes=frozenset(scopes), roles=frozenset(roles), public=public)

    def refuse_unless_allowed(
        self, principal: Principal, also: Collection[str] = ()
    ) -> None:
        """Refuse *principal* unless it has what is asked for, and one of *also*.

        Args:
            principal: Who asks.
            also: Roles that the workflow asks for by itself; empty asks for none.

        Raises:
            Problem: It lacks something; the scopes asked for are named.
        """
        lacks_role = any(
            wanted and not principal.roles.intersection(wanted)
            for wanted in (self.roles, frozenset(also))
        )
        if lacks_role or not self.scopes <= principal.scopes:
            raise insufficient(self.scopes)


def insufficient(scopes: Collection[str]) -> Problem:
    """Return what somebody is told who lacks a role, or one of *scopes*."""
    wanted = " ".join(sorted(scopes))
    challenge = 'Bearer realm="operon", error="insufficient_scope"'
    return Problem(
        INSUFFICIENT_SCOPE,
        "A scope or role is missing",
        headers={"WWW-Authenticate": f'{challenge}, scope="{wanted}"'},
    )
