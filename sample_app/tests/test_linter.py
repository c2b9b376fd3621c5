"""Bodies that a replay would not repeat: the shop has none, and one is warned of."""

from pathlib import Path

import pytest

from operon.lint import lint_path

pytest_plugins = ["pytester"]

SHOP = Path(__file__).parents[1]


def test_the_shop_has_no_findings() -> None:
    assert lint_path(SHOP) == []


def test_a_body_that_is_executed_is_warned_of_unless_it_is_allowed(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        test_lottery="""
        import random

        from operon import Workflow

        class Lottery(Workflow):
            def run(self) -> int:
                return random.randint(1, 6)

        class Raffle(Workflow):
            def run(self) -> int:
                return random.randint(1, 6)  # operon: allow OPN002 nobody minds

        def test_lottery(operon_session, operon_runtime):
            operon_runtime.run(Lottery())

        def test_raffle(operon_session, operon_runtime):
            operon_runtime.run(Raffle())
        """
    )

    result = pytester.runpytest_inprocess(
        "-W", "error::operon.testing.DeterminismWarning", "-p", "no:xdist"
    )

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*test_lottery.py:7:*OPN002 `random.randint*"])
