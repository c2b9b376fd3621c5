import sys
import types
from dataclasses import dataclass
from datetime import UTC
from datetime import date
from datetime import datetime
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from operon.codec import Undecodable
from operon.codec import UnknownError
from operon.codec import decode_error
from operon.codec import encode_error
from operon.codec import error_summary
from operon.errors import RunNotFoundError


class OutOfStockError(Exception):
    def __init__(self, sku, left):
        super().__init__(sku, left)
        self.left = left


class DemandingError(Exception):
    def __init__(self, *, reason):
        super().__init__(f"because {reason}")
        self.reason = reason


@dataclass
class DeclaredError(Exception):
    code: int


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError


class TellingError(Exception):
    def __str__(self):
        return f"got {self.thing}"


class StubbornError(Exception):
    def __new__(cls, *args):
        if args:
            raise RuntimeError
        return super().__new__(cls)


def back(error):
    return decode_error(encode_error(error))


@pytest.mark.parametrize(
    "argument",
    [
        None, True, 3, 2**70, -0.5, "é\x00", [1, "a"], {"a": [1]}, {}, (), (1, (2,)),
        Decimal("5.0"), UUID(int=7), datetime(2025, 1, 1, tzinfo=UTC), date(2025, 1, 1),
        timedelta(days=1), b"\xff", [{"a": (Decimal(1),)}], {"$tuple": [1]}, {"$x": 1},
    ],
)  # fmt: skip
def test_gives_back_the_arguments_and_the_attributes(argument):
    error = back(OutOfStockError("a", argument))

    assert type(error) is OutOfStockError
    assert error.args == ("a", argument)
    assert repr(error.left) == repr(argument)


def test_does_not_call_the_constructor():
    error = back(DemandingError(reason="so"))

    assert (str(error), error.reason) == ("because so", "so")


def test_gives_back_an_error_that_is_a_dataclass():
    assert back(DeclaredError(3)) == DeclaredError(3)


def test_gives_back_the_errors_of_operon():
    error = back(RunNotFoundError("r1"))

    assert type(error) is RunNotFoundError
    assert (error.run_id, str(error)) == ("r1", str(RunNotFoundError("r1")))


@pytest.mark.parametrize(
    "error",
    [
        KeyError("k"),
        FileNotFoundError(2, "No such file", "a.txt"),
        OSError(2, "No such file", "a", None, "b"),
        TimeoutError("late"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        StopIteration(3),
    ],
)
def test_gives_back_builtin_errors(error):
    rebuilt = back(error)

    assert type(rebuilt) is type(error)
    assert (str(rebuilt), rebuilt.args) == (str(error), error.args)


def test_gives_back_the_notes_apart_from_the_state():
    error = ValueError("x")
    error.add_note("attempt 1")

    assert back(error).__notes__ == ["attempt 1"]


def test_gives_back_a_class_made_in_a_function():
    class LocalError(Exception):
        pass

    class DeeperError(LocalError):
        pass

    assert type(back(LocalError("x"))) is LocalError
    assert type(back(DeeperError("x"))) is DeeperError


def test_does_not_find_a_function_s_class_that_is_gone():
    text = encode_error(ValueError("x")).replace("ValueError", "f.<locals>.GoneError")

    assert decode_error(text) == UnknownError("builtins:f.<locals>.GoneError", "x")


def test_gives_back_a_nested_class():
    assert type(back(Outer.InnerError("x"))) is Outer.InnerError


class Outer:
    class InnerError(Exception):
        pass


def test_leaves_out_attributes_that_cannot_be_written():
    error = ValueError("x")
    error.kept, error.lost, error.odd = 1, object(), {1: 2}

    assert vars(back(error)) == {"kept": 1}


@pytest.mark.parametrize(
    "error",
    [
        OutOfStockError("a", object()),
        OutOfStockError("a", float("nan")),
        OutOfStockError("a", "\ud800"),
        OutOfStockError("a", {1: 2}),
        StubbornError.__new__(StubbornError),
        ExceptionGroup("many", [ValueError()]),
    ],
)
def test_tells_class_and_message_of_an_error_that_cannot_be_rebuilt(error):
    error.args = error.args or ("x",)
    known = back(error)

    assert type(known) is UnknownError
    assert known.type == f"{type(error).__module__}:{type(error).__qualname__}"


def test_does_not_give_back_an_error_that_lost_its_message():
    error = TellingError()
    error.thing = object()

    assert isinstance(back(error), UnknownError)


def test_survives_an_error_without_a_text():
    assert "RuntimeError" in error_summary(encode_error(UnprintableError()))


def test_finds_only_loaded_classes(monkeypatch):
    module = types.ModuleType("shop_for_a_while")
    exec("class GoneError(Exception): pass", vars(module))  # noqa: S102 - a module of its own
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = encode_error(module.GoneError("x"))
    monkeypatch.delitem(sys.modules, module.__name__)

    assert decode_error(text) == UnknownError("shop_for_a_while:GoneError", "x")


@pytest.mark.parametrize(
    "name",
    ["os:system", "builtins:int", "builtins:KeyboardInterrupt", "this:that", "", ":"],
)
def test_rebuilds_nothing_but_subclasses_of_exception(name):
    text = encode_error(ValueError("x")).replace("builtins:ValueError", name)

    assert decode_error(text) == UnknownError(name, "x")
    assert "this" not in sys.modules


@pytest.mark.parametrize("text", ["", "[]", '{"type":1}'])
def test_refuses_text_that_is_no_error(text):
    with pytest.raises(Undecodable):
        decode_error(text)
    assert error_summary(text) == "unreadable error"


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
        (Outer.InnerError("\ud800"), "InnerError: ?"),
    ],
)
def test_sums_up_an_error_in_a_line(error, summary):
    assert error_summary(encode_error(error)) == summary


def test_keeps_the_traceback_in_the_text():
    assert '"traceback":"File \\"a\\""' in encode_error(ValueError(), 'File "a"')
