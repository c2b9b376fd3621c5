"""Every error: picklable, documented, with a code of its own that never changes."""

import pickle
import re
from typing import Any

import pytest

from operon import errors

FACTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "OperonError": (("it broke",), {"hint": "mend it", "what": 7}),
    "DeclarationError": (("step 'x'", "is odd"), {"cure": "make it even"}),
    "DuplicateNameError": (("step 'x'", "is twice"), {"cure": "rename it"}),
    "SignatureError": (("step 'x'", "has no session"), {"cure": "add one"}),
    "ConfigurationError": (("threads=0", "is none"), {"cure": "use 1"}),
    "MisuseError": (("operon.run", "was called here"), {"cure": "call it there"}),
    "NoCurrentRunError": (("reserve",), {}),
    "ActivityInStepError": (("charge",), {"step": "reserve"}),
    "CommitInStepError": (("session.commit()",), {"step": "reserve"}),
    "RunError": (("r", "is odd"), {"hint": "make it even"}),
    "RunNotFoundError": (("r",), {}),
    "RunConflictError": (("r", "is another"), {}),
    "RunCancelledError": (("r",), {}),
    "RunDeadError": (("r", "of a hole"), {}),
    "RoleMissingError": (("r", ("boss", "staff")), {}),
    "RunTimeoutError": (("r",), {}),
    "ResultTimeoutError": (("r",), {"waited": 1.5}),
    "RetryRefusedError": (("r", "went on"), {"later": ["step 'x' at 3"]}),
    "ResumeRefusedError": (("r", "is running"), {}),
    "LeaseLostError": (("r",), {}),
    "StepError": (("r", "reserve", 1, "is odd"), {"hint": "make it even"}),
    "StepTimeoutError": (("r", "charge", 2), {"timeout": 3.0}),
    "ResultNotSerializableError": (
        ("r", "reserve", 1),
        {"path": "result.x", "reason": "is odd"},
    ),
    "RecordedError": (
        ("r", "reserve", 1),
        {"error_type": "shop:GoneError", "message": "gone"},
    ),
    "NonDeterminismError": (
        ("r", "reserve", 1),
        {"recorded": "step 'a'", "called": "step 'b'", "source": "x.py:1"},
    ),
    "DatabaseUnavailableError": (("refused",), {"waited": 30.0}),
    "SchemaError": (("tables are missing",), {"cure": "run `operon migrate`"}),
    "DecodeError": (("the input of run 'r'", "it is odd"), {}),
    "QueueError": (("emails", "is odd"), {"hint": "make it even"}),
    "UnknownQueueError": (("emails",), {"known": ["default"]}),
    "DuplicateRunError": (("emails", "user-7"), {"holder": "r"}),
    "UnknownScheduleError": (("report",), {"known": []}),
    "ExecutorStoppedError": (("r",), {}),
}
"""Arguments for one of each; a new class is missing here until it is tested too."""

CODES = {
    "OperonError": "operon",
    "DeclarationError": "declaration",
    "DuplicateNameError": "duplicate-name",
    "SignatureError": "signature",
    "ConfigurationError": "configuration",
    "MisuseError": "misuse",
    "NoCurrentRunError": "no-current-run",
    "ActivityInStepError": "activity-in-step",
    "CommitInStepError": "commit-in-step",
    "RunError": "run",
    "RunNotFoundError": "run-not-found",
    "RunConflictError": "run-conflict",
    "RunCancelledError": "run-cancelled",
    "RunDeadError": "run-dead",
    "RoleMissingError": "role-missing",
    "RunTimeoutError": "run-timeout",
    "ResultTimeoutError": "result-timeout",
    "RetryRefusedError": "retry-refused",
    "ResumeRefusedError": "resume-refused",
    "LeaseLostError": "lease-lost",
    "StepError": "step",
    "StepTimeoutError": "step-timeout",
    "ResultNotSerializableError": "result-not-serializable",
    "RecordedError": "recorded-error",
    "NonDeterminismError": "non-determinism",
    "DatabaseUnavailableError": "database-unavailable",
    "SchemaError": "schema",
    "DecodeError": "decode",
    "QueueError": "queue",
    "UnknownQueueError": "unknown-queue",
    "DuplicateRunError": "duplicate-run",
    "UnknownScheduleError": "unknown-schedule",
    "ExecutorStoppedError": "executor-stopped",
}
"""Written down on purpose: a code is a promise, and changing one has to hurt."""


def _below(cls: type[errors.OperonError]) -> list[type[errors.OperonError]]:
    found = [cls]
    for each in cls.__subclasses__():
        if each.__module__.startswith("operon."):
            found += _below(each)
    return found


CLASSES = _below(errors.OperonError)


def _made(cls: type[errors.OperonError]) -> errors.OperonError:
    args, facts = FACTS[cls.__name__]
    return cls(*args, **facts)


def test_every_error_is_exported_and_tested_here():
    names = {cls.__name__ for cls in CLASSES}

    assert names == set(FACTS) == set(CODES)
    assert all(getattr(errors, name) in CLASSES for name in names)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_documented(cls):
    assert cls.__doc__ is not None
    assert cls.__doc__.strip().endswith(".") or "Attributes:" in cls.__doc__
    assert cls.__doc__ != cls.__base__.__doc__


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_has_a_code_of_its_own_that_never_changes(cls):
    assert cls.code == CODES[cls.__name__]
    assert "code" in vars(cls)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cls.code)
    assert [each.code for each in CLASSES].count(cls.code) == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling(cls, protocol):
    error = _made(cls)
    error.add_note("attempt 1: it broke")

    back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - made here

    assert type(back) is cls
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_names_its_facts_and_a_cure(cls):
    error = _made(cls)
    args, facts = FACTS[cls.__name__]

    assert error.hint
    assert str(error).endswith(error.hint)
    for fact in [*args, *facts.values()]:
        if isinstance(fact, str):
            assert fact in str(error)


def test_the_tree_of_the_docstring_is_the_tree_of_the_classes():
    drawn = set(re.findall(r"\b[A-Z]\w+Error\b", errors.__doc__ or ""))

    assert drawn == {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("name", ["Run", "Step"])
def test_errors_of_runs_and_steps_name_which(name):
    base = getattr(errors, f"{name}Error")
    for cls in _below(base):
        assert _made(cls).run_id == "r"


def test_a_delivered_cancel_is_no_exception_and_survives_pickling():
    signal = errors.RunCancelled("r")

    back = pickle.loads(pickle.dumps(signal))  # noqa: S301 - made here

    assert not isinstance(signal, Exception)
    assert (type(back), back.args, back.run_id) == (type(signal), signal.args, "r")
