"""What a declared function looks like, checked when the declaration is made.

This file knows nothing of steps, workflows or databases.
"""

import inspect
from collections.abc import Collection
from collections.abc import Mapping
from types import FunctionType
from typing import Any
from typing import cast

from sqlalchemy.orm import Session

from operon.errors import DeclarationError
from operon.errors import SignatureError

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def described(declared: Any) -> str:
    """Return the function's or class's module and qualified name."""
    return f"{declared.__module__}.{declared.__qualname__}"


def is_method(function: FunctionType) -> bool:
    """Tell whether *function* was defined in the body of a class."""
    enclosing = function.__qualname__.rpartition(".")[0]
    return enclosing != "" and not enclosing.endswith("<locals>")


def checked_function(candidate: object, decorator: str) -> FunctionType:
    """Return *candidate* if it is a plain function whose call does the work.

    Raises:
        SignatureError: It is something else, or it is async or a generator.
    """
    if isinstance(candidate, staticmethod | classmethod):
        wrapped = cast("Any", candidate).__func__
        raise SignatureError(
            described(wrapped),
            f"is a static or class method, which {decorator} cannot decorate",
            cure="make it a plain method, or a function outside the class",
        )
    if not isinstance(candidate, FunctionType):
        raise SignatureError(
            repr(candidate),
            f"is not a function, so {decorator} cannot decorate it",
            cure=f"decorate a function or method defined with def: {decorator}",
        )
    check_synchronous(candidate, decorator)
    return candidate


def check_synchronous(function: FunctionType, role: str) -> None:
    """Refuse a *function* that returns before its work is done.

    Raises:
        SignatureError: It is async, or a generator.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        problem, cure = (
            "is async",
            "write it as a plain def; Operon runs it in a thread",
        )
    elif inspect.isgeneratorfunction(function):
        problem, cure = "is a generator", "return a list instead of yielding"
    else:
        return
    raise SignatureError(described(function), f"{problem}; {role} cannot be", cure=cure)


class Shape:
    """The parameters of a declared function, apart from those Operon fills in.

    The first *method* + *session* parameters are Operon's: the instance, the
    session. They are found by position, whatever their names and annotations.
    """

    def __init__(self, function: FunctionType, *, method: bool, session: bool) -> None:
        self.function = function
        self.leading = method + session
        self.parameters = tuple(inspect.signature(function).parameters.values())
        self.session = self._session_parameter() if session else None
        if method and not session:
            self._check_arity("self")
        positional = [each for each in self.parameters if each.kind in _POSITIONAL]
        rest = self.parameters[min(self.leading, len(positional)) :]
        self.signature = inspect.Signature(rest)

    def _check_arity(self, missing: str) -> None:
        """Refuse a function that cannot be given *missing* by position."""
        positional = [each for each in self.parameters if each.kind in _POSITIONAL]
        starred = any(
            each.kind is inspect.Parameter.VAR_POSITIONAL for each in self.parameters
        )
        if len(positional) < self.leading and not starred:
            raise self._without(missing)

    def _session_parameter(self) -> str | None:
        """Return the name of the session's parameter, if it has one of its own."""
        for each in self.parameters:
            if each.kind is inspect.Parameter.KEYWORD_ONLY and each.name == "session":
                raise self._without("session")
        self._check_arity("session")
        named = self.parameters[self.leading - 1 : self.leading]
        return named[0].name if named and named[0].kind in _POSITIONAL else None

    def _without(self, missing: str) -> SignatureError:
        """Return the error for a function that has no place for *missing*."""
        example = (
            "self, session: Session, …" if self.leading > 1 else "session: Session, …"
        )
        if missing == "self":
            example = "self, …"
        return SignatureError(
            described(self.function),
            f"has no positional parameter for {missing}",
            cure=f"define it as def {self.function.__name__}({example})",
        )

    def check_session(self, hints: Mapping[str, Any]) -> None:
        """Refuse a session parameter that is annotated as something else.

        Raises:
            SignatureError: Its annotation is a class that no session is one of.
        """
        hint = hints.get(self.session) if self.session is not None else None
        if not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
            return
        if issubclass(hint, Session) or issubclass(Session, hint):
            return
        raise SignatureError(
            described(self.function),
            f"has {self.session!r}, a {hint.__qualname__}, in the session's place",
            cure="put the session there (first, or second after self) and annotate "
            "it with sqlalchemy.orm.Session",
        )

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> inspect.BoundArguments:
        """Return the caller's arguments by parameter.

        Raises:
            TypeError: They do not fit, as in any call.
        """
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            message = f"{self.function.__qualname__}(): {error}"
            raise TypeError(message) from None


def checked_version(version: object, subject: str) -> int:
    """Return *version* if it is one.

    Raises:
        DeclarationError: It is not a whole number from 1.
    """
    if isinstance(version, int) and not isinstance(version, bool) and version >= 1:
        return version
    problem = f"has version={version!r}, which is no version"
    raise DeclarationError(subject, problem, cure="count versions from 1")


def checked_roles(roles: object, subject: str) -> frozenset[str]:
    """Return *roles* as a set.

    Raises:
        DeclarationError: They are not a collection of names.
    """
    if isinstance(roles, Collection) and not isinstance(roles, str | bytes):
        names = cast("Collection[object]", roles)
        if all(isinstance(each, str) and each for each in names):
            return frozenset(cast("Collection[str]", names))
    problem = f"has roles={roles!r}, which is no collection of role names"
    raise DeclarationError(subject, problem, cure='write roles={"customer"}')
