"""What a finding says, and what allows it."""

import pytest

from operon.errors import DeclarationError
from operon.lint import Code
from operon.lint import Finding
from operon.lint import lint_source
from tests.lint.bodies import found
from tests.lint.bodies import module

TEXT = """from operon import Workflow
import time

class Ä(Workflow):
    def run(self):
        "ä💡"; return time.time()
"""


def test_it_says_file_line_column_in_characters_fact_and_cure():
    [finding] = lint_source(TEXT, "shop.py")

    assert str(finding) == (
        "shop.py:6:22: OPN001 `time.time()` reads a clock, which says another time on "
        "every replay; use self.now(), or read the clock in a step"
    )


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_places_are_the_same_whatever_ends_a_line(newline):
    assert lint_source(TEXT.replace("\n", newline)) == lint_source(TEXT)


def test_form_feeds_end_no_line():
    assert lint_source(TEXT.replace('"ä💡"', '"ä\f💡"'))[0].line == 6


def test_findings_come_in_the_order_of_the_text():
    body = "time.sleep(1); print(1)\nreturn id(helper())"
    text = module(body, before="def helper():\n    return open('a')\n")

    places = [(each.line, each.column) for each in lint_source(text)]

    assert len(places) == 4
    assert places == sorted(places)


def test_a_finding_is_a_value():
    finding = Finding("a.py", 1, 2, Code.CLOCK, "it is late", "hurry")

    assert str(finding) == "a.py:1:2: OPN001 it is late; hurry"
    assert finding < Finding("a.py", 1, 3, Code.CLOCK, "it is late", "hurry")
    assert len({finding, Finding("a.py", 1, 2, Code.CLOCK, "it is late", "hurry")}) == 1


def test_a_long_name_is_cut():
    [finding] = lint_source(module(f"return {{{', '.join(['1'] * 99)}}}.pop()"))

    assert len(finding.fact) < 120
    assert "…`" in finding.fact


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("x = 1\ny = = 2\n", "shop.py:2"),
        ("def f(:\n", "shop.py:1"),
        ("if 1:\nx = 1\n", "shop.py:2"),
        ("x = '\ud800'", "shop.py"),
        ("x = '\0'", "shop.py"),
        ("(" * 500, "shop.py:1"),
    ],
)
def test_what_is_not_python_is_refused_with_its_line(text, where):
    with pytest.raises(DeclarationError) as caught:
        lint_source(text, "shop.py")

    assert str(caught.value).startswith(f"{where} is not Python: ")
    assert str(caught.value).endswith(
        "; mend it, or lint with the Python it is written for"
    )


def test_what_python_warns_of_is_none_of_its_business():
    assert lint_source("x = '\\d'\ny = 1 is 1\nassert (1, 'x')") == []


ALLOWED = "return time.time()  # operon: allow OPN001 "


@pytest.mark.parametrize(
    "comment",
    [
        "# operon: allow OPN001 it is logged only",
        "# operon: allow OPN001: it is logged only",
        "# operon: allow OPN001 - it is logged only",
        "#operon:allow OPN001 it is logged only",
        "# noqa: DTZ005 # operon: allow OPN001 it is logged only",
        "# operon: allow OPN001 it is logged only # noqa: DTZ005",
    ],
)
def test_an_allowance_silences_its_code_on_its_line(comment):
    assert found(module(f"return time.time()  {comment}")) == []


def test_an_allowance_silences_every_finding_of_its_code_on_its_line():
    assert found(module(f"time.time(); {ALLOWED} twice")) == []


def test_two_allowances_can_stand_on_one_line():
    line = "return id(time.time())  # operon: allow OPN001 a # operon: allow OPN009 b"

    assert found(module(line)) == []


@pytest.mark.parametrize(
    ("comment", "fact"),
    [
        ("# operon: allow", "the allowance names 'no code', which is none"),
        ("# operon: allow it is logged", "the allowance names 'it', which is none"),
        ("# operon: allow OPN999 a", "the allowance names 'OPN999', which is none"),
        ("# operon: allow OPN011 a", "the allowance names 'OPN011', which is none"),
        ("# operon: allow OPN001", "the allowance of OPN001 gives no reason"),
        ("# operon: allow OPN001 -", "the allowance of OPN001 gives no reason"),
        (
            "# operon: allow OPN002 a",
            "the allowance of OPN002 silences nothing on this line",
        ),
    ],
)
def test_an_allowance_that_allows_nothing_is_a_finding_too(comment, fact):
    text = module(f"return time.time()  {comment}")

    clock, allowance = lint_source(text)

    assert (clock.code, allowance.code) == ("OPN001", "OPN011")
    assert allowance.fact == fact
    assert (allowance.line, allowance.column) == (
        clock.line,
        text.split("\n")[clock.line - 1].index("#") + 1,
    )


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # operon: allow OPN001 no workflow here\n",
        "def f():\n    # operon: allow OPN001 on a line of its own\n    return 1\n",
        module("# operon: allow OPN001 above it does not count\nreturn 1"),
    ],
)
def test_an_unused_allowance_is_a_finding_wherever_it_stands(text):
    assert [code for code, _ in found(text)] == ["OPN011"]


@pytest.mark.parametrize(
    "text",
    [
        "x = '# operon: allow OPN001 a'\n",
        '"""Write\n# operon: allow OPN001 a\nbehind it."""\n',
        "x = 1  # operon allows this\n",
        "x = 1  # operon: allowed OPN001\n",
    ],
)
def test_what_is_no_such_comment_is_no_allowance(text):
    assert found(text) == []
