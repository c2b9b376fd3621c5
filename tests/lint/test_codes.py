"""Every code: what is a finding, what only looks like it, and what a step may do."""

import re

import pytest

from operon.lint import Code
from operon.lint import lint_source
from operon.primitives import BODY_WORDS
from tests.lint.bodies import codes
from tests.lint.bodies import in_a_step
from tests.lint.bodies import module
from tests.lint.table import RIGHT
from tests.lint.table import WRONG
from tests.lint.table import Body
from tests.lint.table import split


def _cases(table: dict[Code, list[Body]]) -> list[tuple[Code, str, str]]:
    return [(code, *split(each)) for code, bodies in table.items() for each in bodies]


@pytest.mark.parametrize(("code", "before", "body"), _cases(WRONG))
def test_what_no_replay_repeats_is_a_finding(code, before, body):
    assert codes(module(body, before=before)) == [code]


@pytest.mark.parametrize(("code", "before", "body"), _cases(RIGHT))
def test_what_only_looks_like_it_is_none(code, before, body):
    assert codes(module(body, before=before)) == []


@pytest.mark.parametrize(("code", "before", "body"), _cases(WRONG))
def test_a_step_may_do_it(code, before, body):
    assert codes(in_a_step(body, before=before)) == []


@pytest.mark.parametrize(("code", "before", "body"), _cases(WRONG))
def test_a_class_that_is_no_workflow_may_do_it(code, before, body):
    text = module(body, before=before).replace("(Workflow)", "(Plain)")

    assert codes(text.replace("Workflow, ", "")) == []


@pytest.mark.parametrize(("code", "before", "body"), _cases(WRONG))
def test_an_allowance_with_a_reason_silences_it(code, before, body):
    text = module(body, before=before)
    [finding] = lint_source(text)
    lines = text.split("\n")
    lines[finding.line - 1] += f"  # operon: allow {code} a test of the linter"

    assert codes("\n".join(lines)) == []


@pytest.mark.parametrize(("code", "before", "body"), _cases(WRONG))
def test_a_finding_tells_the_fact_and_a_cure_that_exists(code, before, body):
    [finding] = lint_source(module(body, before=before), "shop.py")

    assert re.fullmatch(rf"shop\.py:\d+:\d+: {code} .+; .+", str(finding))
    assert not finding.fact.endswith(".")
    for word in re.findall(r"self\.(\w+)", finding.cure):
        assert word in BODY_WORDS


def test_every_code_is_in_the_table():
    assert set(WRONG) == set(RIGHT) == set(Code) - {Code.ALLOWANCE}
