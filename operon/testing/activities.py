"""Activities in tests: answered by fakes, by name, and every call is written down."""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operon import current
from operon import registry
from operon.errors import MisuseError
from operon.operation import BoundOperation
from operon.operation import Call
from operon.operation import Operation

_NOTHING: Any = object()


@dataclass(frozen=True)
class ActivityCall:
    """One attempt of an activity.

    Attributes:
        name: The activity's.
        args: What it was given by position, without self.
        kwargs: What it was given by keyword.
        workflow: Its run's workflow.
        run_id: Its run.
        attempt: From 1.
        idempotency_key: The same for all attempts.
        returned: What it returned, or None.
        raised: What it raised, or None.
        is_fake: Whether a fake has answered.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    workflow: str
    run_id: str
    attempt: int
    idempotency_key: str
    returned: Any
    raised: Exception | None
    is_fake: bool


@dataclass
class _Fake:
    """What is done in place of an activity."""

    name: str
    function: Callable[..., Any]
    left: int | None
    """How many more calls it answers; None: all."""

    def answers(self, call: Call) -> bool:
        """Tell whether it is *call* that it is there for."""
        name = call.operation.name
        return self.left != 0 and self.name in {name, f"{current().workflow}.{name}"}


class Activities:
    """The calls of activities, and the fakes that answer some of them.

    What has no fake is called as it is.
    """

    def __init__(self) -> None:
        self._fakes: list[_Fake] = []
        self._calls: list[ActivityCall] = []

    def fake(
        self,
        activity: str | Operation | BoundOperation,
        function: Callable[..., Any] | None = None,
        *,
        returns: Any = _NOTHING,
        raises: Exception | type[Exception] | None = None,
        times: int | None = None,
    ) -> None:
        """Answer the calls of *activity* in its place.

        The newest fake answers first; once it has answered *times*, older ones do, and
        then the activity itself.

        Args:
            activity: Its name, `charge` or with its workflow's `checkout.charge`, or
                itself: `Checkout.charge`.
            function: Called with the activity's arguments, without self.
            returns: What is returned.
            raises: What is raised.
            times: How many calls are answered; None: all.

        Raises:
            MisuseError: There is no such activity, or it was not told one answer.
        """
        answer = _answer(function, returns, raises)
        self._fakes.append(_Fake(_name(activity), answer, times))

    def calls(
        self, activity: str | Operation | BoundOperation | None = None
    ) -> list[ActivityCall]:
        """Return the calls of *activity*, or of all, in order.

        Args:
            activity: Its name, or itself, as `fake` takes them.

        Raises:
            MisuseError: There is no such activity.
        """
        if activity is None:
            return list(self._calls)
        name = _name(activity)
        return [
            each
            for each in self._calls
            if name in {each.name, f"{each.workflow}.{each.name}"}
        ]

    def clear(self) -> None:
        """Forget the calls so far; fakes stay."""
        self._calls.clear()

    def call(self, call: Call) -> Any:
        """Return what *call* is answered; for the engine."""
        fake = next(
            (each for each in reversed(self._fakes) if each.answers(call)), None
        )
        if fake is None:
            return self._written(call, call.outside, is_fake=False)
        if fake.left is not None:
            fake.left -= 1
        return self._written(
            call, lambda: fake.function(*call.args, **call.kwargs), is_fake=True
        )

    def _written(self, call: Call, action: Callable[[], Any], *, is_fake: bool) -> Any:
        returned, raised = None, None
        try:
            returned = action()
        except Exception as error:
            raised = error
            raise
        finally:
            now = current()
            self._calls.append(
                ActivityCall(
                    call.operation.name,
                    call.args,
                    call.kwargs,
                    now.workflow,
                    now.run_id,
                    now.attempt or 1,
                    now.idempotency_key,
                    returned,
                    raised,
                    is_fake,
                )
            )
        return returned


def _answer(
    function: Callable[..., Any] | None,
    returns: Any,
    raises: Exception | type[Exception] | None,
) -> Callable[..., Any]:
    """Return what answers; exactly one is given."""
    if [function is None, returns is _NOTHING, raises is None].count(False) != 1:
        raise MisuseError(
            "a fake",
            "needs one answer",
            cure="give a function, or returns=, or raises=",
        )
    if function is not None:
        return function

    def answer(*args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        if raises is not None:
            raise raises
        return returns

    return answer


def _name(activity: str | Operation | BoundOperation) -> str:
    """Return the name of *activity*.

    Raises:
        MisuseError: It is none, or no workflow has one that is called so.
    """
    if isinstance(activity, str):
        return _known(activity)
    declared = activity.operation if isinstance(activity, BoundOperation) else activity
    if declared.kind != "activity":
        raise MisuseError(
            f"{declared!r}",
            "is no activity, so nothing can be faked",
            cure="name an activity: what happens in the database is better done",
        )
    return declared.name


def _known(name: str) -> str:
    known = {
        spelled
        for declared in registry.all_declared()
        for each in getattr(declared, "operations", {}).values()
        if each.kind == "activity"
        for spelled in (each.name, f"{declared.name}.{each.name}")
    }
    if name in known:
        return name
    short = ", ".join(sorted(each for each in known if "." not in each))
    raise MisuseError(
        f"the activity {name!r}",
        f"is declared by no workflow here; there are: {short or 'none'}",
        cure="mend the name, import the module that declares it, or pass the activity "
        "itself if it is a function",
    )
