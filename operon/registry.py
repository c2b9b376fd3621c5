"""What can be started here, by name and version.

Declaring a workflow or transaction registers it; whoever claims a run finds it
here. This file knows the protocol of a declaration, not its kinds.
"""

import threading
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from typing import Literal
from typing import Protocol
from typing import TypeVar

from operon.codec import FieldsCodec
from operon.codec import TypeCodec
from operon.errors import DuplicateNameError
from operon.invariant import Invariant

R_co = TypeVar("R_co", covariant=True)

Key = tuple[str, int]
"""A declared name and version."""


OnConflict = Literal["return", "raise"]
"""What becomes of a start whose id, or key, is taken: join that run, or refuse."""


class Runnable(Protocol[R_co]):
    """What can be run or started: a workflow, or a transaction with its arguments."""

    def run(self) -> R_co:
        """Return the result; called by Operon, never by its users."""
        ...


class Declared(Protocol):
    """The declaration of something that can be started."""

    @property
    def name(self) -> str:
        """What runs of it are recorded under."""
        ...

    @property
    def version(self) -> int:
        """Grows when its history changes in a way that replay cannot follow."""
        ...

    @property
    def key(self) -> Key:
        """Its name and version, together unique."""
        ...

    @property
    def module(self) -> str:
        """Where it is defined."""
        ...

    @property
    def qualname(self) -> str:
        """What it is called there."""
        ...

    @property
    def queue(self) -> str:
        """Where its runs wait to be claimed, unless their starter says otherwise."""
        ...

    @property
    def max_recoveries(self) -> int:
        """How often a run is taken over without progress before it is dead."""
        ...

    @property
    def timeout(self) -> timedelta | None:
        """How long a run may take; None is without limit."""
        ...

    @property
    def roles(self) -> frozenset[str]:
        """A principal needs one of these to start it; empty lets everybody."""
        ...

    @property
    def invariants(self) -> Sequence[Invariant]:
        """What the testing kit asserts of its runs."""
        ...

    @property
    def input(self) -> FieldsCodec:
        """How its fields, or arguments, are stored."""
        ...

    def make(self, values: Mapping[str, Any]) -> Runnable[Any]:
        """Return what can be started, with *values* for its fields or arguments."""
        ...

    @property
    def result(self) -> TypeCodec:
        """How what a run returns is stored."""
        ...

    def resolve(self) -> None:
        """Resolve the annotations, if that has not been done.

        Raises:
            DeclarationError: They name what is not defined or cannot be stored.
        """
        ...

    def encode(self, runnable: Any) -> str:
        """Return the input of *runnable* as it is stored.

        Raises:
            NotEncodable: It does not fit its declared types.
        """
        ...

    def decode(self, text: str) -> Runnable[Any]:
        """Return what `encode` turned into *text*.

        Raises:
            Undecodable: It does not fit what is declared today.
        """
        ...


_lock = threading.RLock()
_known: dict[Key, Declared] = {}


def register(declared: Declared) -> None:
    """Make *declared* findable; a newer one of the same place takes its place.

    Raises:
        DuplicateNameError: Another module or name holds its key.
    """
    with _lock:
        holder = _known.get(declared.key)
        if holder is not None and _place(holder) != _place(declared):
            raise DuplicateNameError(
                _place(declared),
                f"has the name {declared.name!r} and version {declared.version}, "
                f"which {_place(holder)} has already",
                cure="give one of them another name= or version=, and check that no "
                "module is loaded twice, as __main__ and by its name",
            )
        _known[declared.key] = declared


def _place(declared: Declared) -> str:
    """Return where *declared* is defined."""
    return f"{declared.module}.{declared.qualname}"


def find(name: str, version: int) -> Declared | None:
    """Return what is declared under *name* and *version* in this process."""
    with _lock:
        return _known.get((name, version))


def known() -> list[Key]:
    """Return the name and version of everything declared, in order."""
    with _lock:
        return sorted(_known)


def all_declared() -> list[Declared]:
    """Return everything declared, in order of name and version."""
    with _lock:
        return [_known[key] for key in sorted(_known)]


@contextmanager
def isolated() -> Generator[None]:
    """Forget what is declared within the block, and restore what it replaced."""
    with _lock:
        before = dict(_known)
    try:
        yield
    finally:
        with _lock:
            _known.clear()
            _known.update(before)
