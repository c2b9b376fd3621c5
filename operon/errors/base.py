"""The root of the tree: what every error of Operon has."""

from typing import Any
from typing import ClassVar
from typing import TypeVar

_E = TypeVar("_E", bound=BaseException)


def _rebuild(cls: type[_E], args: tuple[Any, ...], facts: dict[str, Any]) -> _E:
    """Make the pickled error again, without calling its constructor."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class OperonError(Exception):
    """The root of every error that Operon raises.

    Attributes:
        code: A stable slug, the same in every release; the README lists them.
        hint: What to do about it.
    """

    __module__ = "operon.errors"
    code: ClassVar[str] = "operon"

    def __init__(self, fact: str, *, hint: str, **facts: object) -> None:
        super().__init__(f"{fact}; {hint}")
        self.hint = hint
        self.__dict__.update(facts)

    def __init_subclass__(cls) -> None:
        """Let every class be known by where it is imported from."""
        if cls.__module__.startswith(f"{__package__}."):
            cls.__module__ = f"{__package__}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)
