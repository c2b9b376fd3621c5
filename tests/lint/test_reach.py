"""What belongs to a body: helpers of its module, to any depth, and no operations."""

import pytest

from operon.lint import lint_source
from tests.lint.bodies import IMPORTS
from tests.lint.bodies import codes
from tests.lint.bodies import found
from tests.lint.bodies import module

CLOCK = [("OPN001", "return time.time()")]
HELPER = "def helper():\n    return time.time()\n"
METHOD = "def helper(self):\n    return time.time()\n"


@pytest.mark.parametrize(
    "body",
    [
        "return helper()",
        "return sorted([1], key=lambda each: helper())",
        "return list(map(helper, [1]))",
        "def inner():\n    return helper()\nreturn inner()",
        "return [helper() for each in 'ab']",
    ],
)
def test_a_function_of_the_module_that_a_body_calls_is_part_of_it(body):
    assert found(module(body, before=HELPER)) == CLOCK


@pytest.mark.parametrize(
    ("decorator", "called"),
    [
        ("", "self.helper()"),
        ("@property", "self.helper"),
        ("@functools.cached_property", "self.helper"),
        ("@staticmethod", "self.helper(self)"),
        ("@staticmethod", "W.helper(self)"),
        ("@classmethod", "self.helper()"),
        ("@functools.cache", "self.helper()"),
        ("@contextlib.contextmanager", "self.helper()"),
    ],
)
def test_a_method_that_a_body_calls_is_part_of_it(decorator, called):
    text = module(f"return {called}", members=f"{decorator}\n{METHOD}")

    assert found(text) == CLOCK


@pytest.mark.parametrize(
    "decorator",
    [
        "step",
        "step(retry=None)",
        "activity",
        "activity(timeout=timedelta(seconds=1))",
        "transaction",
        "ours",
        "settings.audited",
        "operon.step",
        "steps.step(name='a')",
        "unknown",
    ],
)
def test_an_operation_may_do_it_and_so_may_what_cannot_be_told(decorator):
    before = "import operon\nfrom operon import step as steps\nours = step(name='a')\n"
    method = module(
        "return self.helper()", before=before, members=f"@{decorator}\n{METHOD}"
    )
    function = module("return helper()", before=f"{before}@{decorator}\n{HELPER}")

    assert codes(method) == codes(function) == []


def test_an_operation_defined_inside_a_body_is_no_part_of_it():
    body = "@activity\ndef ask():\n    return time.time()\nreturn ask()"

    assert codes(module(body)) == []


def test_helpers_are_followed_to_any_depth_and_the_finding_tells_the_way():
    before = "".join(
        f"def h{n}():\n    return h{n + 1}()\n" for n in range(200)
    ) + HELPER.replace("helper", "h200")

    [finding] = lint_source(module("return h0()", before=before))

    assert finding.via == ("W.run", *(f"h{n}" for n in range(201)))
    assert "(called by W.run > h0 > h1 >" in str(finding)


def test_helpers_that_call_each_other_end():
    before = "def a():\n    return b()\ndef b():\n    time.sleep(1)\n    return a()\n"

    assert found(module("return a()", before=before)) == [("OPN001", "time.sleep(1)")]


def test_a_function_that_no_body_calls_may_do_it():
    assert codes(module("return 1", before=HELPER, members=METHOD)) == []


def test_a_helper_that_is_named_like_a_parameter_is_not_meant():
    body = "def inner(helper):\n    return helper()\nreturn inner"

    assert codes(module(body, before=HELPER)) == []


def test_a_helper_of_several_bodies_is_told_once():
    text = module("return helper()", before=HELPER)
    text += "class Second(Workflow):\n    def run(self):\n        return helper()\n"

    assert found(text) == CLOCK


@pytest.mark.parametrize(
    "text",
    [
        "from operon import Workflow as Base\nclass W(Base):\n",
        "import operon\nclass W(operon.Workflow, name='w'):\n",
        "import operon as o\nclass W(o.Workflow):\n",
        "from operon.workflow import Workflow as Base\nclass W(Base):\n",
        "class W(Workflow, Generic[T]):\n",
        "class Base(Workflow, abstract=True): ...\nclass W(Base):\n",
        "class Base(Workflow): ...\nclass Middle(Base): ...\nclass W(Middle[int]):\n",
        "from shop import B\nclass W(B):\n    @step\n    def s(self, session): ...\n",
        "def test():\n  class Local: ...\n  class W(Workflow):\n",
        "if True:\n  class W(Workflow):\n",
        "class Outer:\n  class W(Workflow):\n",
        "def test():\n  from operon import Workflow as Inner\n  class W(Inner):\n",
    ],
)
def test_a_workflow_is_known_by_its_base_or_by_its_operations(text):
    body = "    def run(self):\n      return time.time()\n"

    assert found(f"{IMPORTS}\n{text}{body}") == CLOCK


@pytest.mark.parametrize(
    "text",
    [
        "class W:\n",
        "from temporal import Workflow\nclass W(Workflow):\n",
        "class Workflow: ...\nclass W(Workflow):\n",
        "class W(W):\n",
    ],
)
def test_another_class_with_a_run_is_none(text):
    body = "    def run(self):\n        return time.time()\n"
    imports = IMPORTS.replace("Workflow, ", "")

    assert codes(f"{imports}\n{text}{body}") == []


def test_an_inherited_body_and_its_helpers_are_examined_once():
    text = f"""{IMPORTS}
class Base(Workflow):
    def run(self):
        return self.helper()
    def helper(self):
        return time.time()
class Child(Base): ...
"""
    assert found(text) == CLOCK


def test_a_body_that_calls_what_a_subclass_overrides_reaches_both():
    text = f"""{IMPORTS}
class Base(Workflow, abstract=True):
    def run(self):
        return self.helper()
    def helper(self):
        return 1
class Child(Base):
    def helper(self):
        return super().helper() + random.random()
class Grandchild(Child):
    def helper(self):
        return super().helper() + time.time()
"""
    assert found(text) == [
        ("OPN002", "return super().helper() + random.random()"),
        ("OPN001", "return super().helper() + time.time()"),
    ]


def test_an_overridden_helper_is_not_reached_through_the_subclass():
    text = f"""{IMPORTS}
class Mixin:
    def helper(self):
        return time.time()
class W(Mixin, Workflow):
    def run(self):
        return self.helper()
    def helper(self):
        return 1
"""
    assert codes(text) == []


def test_a_helper_of_a_mixin_is_reached():
    text = f"""{IMPORTS}
class Mixin:
    def helper(self):
        return time.time()
class W(Mixin, Workflow):
    def run(self):
        return self.helper()
"""
    assert found(text) == CLOCK


def test_self_is_whatever_the_first_parameter_is_called():
    text = f"""{IMPORTS}
class W(Workflow):
    names: set[str]
    def run(this):
        return list(this.names)
"""
    assert found(text) == [("OPN008", "return list(this.names)")]


def test_self_bound_to_something_else_is_not_followed():
    text = module("self = current()\nreturn self.helper()", members=METHOD)

    assert codes(text) == []


@pytest.mark.parametrize(
    ("members", "expression"),
    [
        ("names: set[str]", "self.names"),
        ("names: 'frozenset[str]'", "self.names"),
        ("names: set[str] | None = None", "self.names"),
        ("names: Annotated[set[str], 'x']", "self.names"),
        ("names = frozenset('ab')", "self.names"),
        ("@step\ndef names(self, session) -> set[str]: ...", "self.names()"),
        ("def names(self) -> set[str]: ...", "self.names()"),
        ("@property\ndef names(self) -> set[str]: ...", "self.names"),
        ("names: set[str]", "(self.names | {'a'})"),
        ("names: set[str]", "self.names.copy()"),
    ],
)
def test_a_set_is_known_by_what_the_class_declares(members, expression):
    body = f"for each in {expression}:\n    pass"

    assert codes(module(body, members=members)) == ["OPN008"]


@pytest.mark.parametrize(
    ("members", "expression"),
    [
        ("names: list[str]", "self.names"),
        ("names: dict[str, set[str]]", "self.names"),
        ("names: set[str] | list[str]", "self.names"),
        ("names: tuple[set[str], ...]", "self.names"),
        ("@step\ndef names(self, session) -> list[str]: ...", "self.names()"),
        ("@step\ndef names(self, session): ...", "self.names()"),
        ("def names(self) -> set[str]: ...", "self.names"),
        ("names: set[str]", "sorted(self.names)"),
        ("names: set[str]", "self.other"),
        ("", "self.names"),
        ("names: '(' = None", "self.names"),
    ],
)
def test_what_may_be_no_set_is_none(members, expression):
    body = f"for each in {expression}:\n    pass"

    assert codes(module(body, members=members)) == []


@pytest.mark.parametrize(
    ("comprehension", "expected"),
    [
        ("{self.ask(each) for each in self.names}", ["OPN008"]),
        ("sorted(self.ask(each) for each in self.names)", ["OPN008"]),
        ("{free(each) for each in self.names}", ["OPN008"]),
        ("{self.call(each) for each in self.names}", ["OPN008"]),
        ("{self.plain(each) for each in self.names}", []),
        ("{self.unknown(each) for each in self.names}", []),
        ("sorted(str(each) for each in self.names)", []),
    ],
)
def test_operations_called_in_the_order_of_a_set_are_a_finding(comprehension, expected):
    members = """names: set[str]
@activity
def ask(self, name): ...
def plain(self, name): ...
"""
    before = "@step\ndef free(session, name): ...\n"

    assert codes(module(f"return {comprehension}", before=before, members=members)) == (
        expected
    )


def test_containers_of_the_class_are_shared_and_fields_are_not():
    members = "seen = []\nmine: list[int] = dataclasses.field(default_factory=list)\n"

    assert codes(module("self.seen.append(1)", members=members)) == ["OPN007"]
    assert codes(module("self.mine.append(1)", members=members)) == []


def test_a_class_method_that_changes_its_class_is_a_finding():
    members = "@classmethod\ndef note(cls):\n    cls.count = 1\n"

    assert found(module("self.note()", members=members)) == [
        ("OPN007", "cls.count = 1")
    ]


def test_a_session_passed_to_a_helper_is_known_by_its_annotation():
    before = "def helper(db: Session):\n    db.execute(select(1))\n"

    assert found(module("helper(self.lend())", before=before)) == [
        ("OPN003", "db.execute(select(1))")
    ]


def test_what_stands_around_a_workflow_in_a_function_is_known():
    text = f"""{IMPORTS}
def test():
    from time import time as ticks
    engine = create_engine("sqlite://")
    def helper():
        return ticks()
    class W(Workflow):
        def run(self):
            engine.connect()
            return helper()
"""
    assert found(text) == [
        ("OPN001", "return ticks()"),
        ("OPN003", "engine.connect()"),
    ]
