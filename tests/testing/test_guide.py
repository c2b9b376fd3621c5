"""The guide to testing is true: its snippets pass, and its report is a real one."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from tests.testing.test_plugin import BESIDE

pytest_plugins = ["pytester"]

GUIDE = Path(__file__).parents[2] / "docs" / "testing.md"
QUIET = ("-p", "no:randomly", "-p", "no:xdist", "-W", "error")
IMPORTED = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # the plugin is, here
PAYMENTS = """
@pytest.fixture(autouse=True)
def payments(tmp_path, monkeypatch):
    path = tmp_path / "payments.db"
    monkeypatch.setenv("SAMPLE_APP_PAYMENTS", str(path))
    return path
"""
CARELESS = """
from operon.testing import NotCrashSafeError


def test_report(operon_crash, payments, charges, request):
    def check(session):
        assert charges() == ["globe"]
        assert session.scalars(select(Order.status)).one() is OrderStatus.SHIPPED

    def prepare():
        payments.unlink(missing_ok=True)

    with pytest.raises(NotCrashSafeError) as raised:
        operon_crash.explore(
            CarelessCheckout("globe-1928"),
            check,
            id="globe",
            principal=WHO,
            prepare=prepare,
        )
    (request.config.rootpath / "report.txt").write_text(str(raised.value))
"""


def _blocks(language: str) -> list[str]:
    text = GUIDE.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def _split() -> tuple[str, str, list[str], list[str]]:
    """Return conftest.py of tables alone, of the shop; what is beside; what is left."""
    tables, shop, *snippets = _blocks("python")
    beside = [each for each in snippets if "from beside import" in each]
    return tables, shop, beside, [each for each in snippets if each not in beside]


@pytest.fixture(autouse=True)
def not_ci(monkeypatch):
    """Pytest says more of a failed assertion where these are set."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)


def _passed(pytester, conftest, *snippets):
    tests = "\n\n".join(snippets)
    pytester.makeconftest(conftest)
    pytester.makepyfile(test_snippets=tests)
    found = pytester.runpytest_inprocess(*QUIET, *IMPORTED)
    found.assert_outcomes(passed=len(re.findall(r"^def test_", tests, re.MULTILINE)))


def test_the_snippets_pass_and_the_report_is_the_one_that_is_shown(pytester):
    _, shop, _, snippets = _split()
    bundle = GUIDE.parents[1] / "sample_app" / "tests" / "checkout.json"
    snippets = [
        each.replace('"sample_app/tests/checkout.json"', repr(str(bundle)))
        for each in snippets
    ]

    _passed(pytester, shop + PAYMENTS, *snippets, CARELESS)

    report = (pytester.path / "report.txt").read_text().splitlines()
    shown = _blocks("text")[0].splitlines()
    assert _plain(shown) == _plain(report)


def _plain(report):
    """Leave out what depends on how much pytest says."""
    said = [each for each in report if "Use -v" not in each and "Left" not in each]
    return list(filter(str.strip, said))


def test_tables_are_made_of_the_metadata_that_is_shown(pytester):
    tables, *_ = _split()
    test = """
from decimal import Decimal

from sqlalchemy import select

from sample_app.models import Product


def test_it(operon_session, operon_runtime):
    operon_session.add(Product(sku="hat", name="Hat", price=Decimal(1), stock=1))
    assert operon_session.scalars(select(Product.sku)).all() == ["hat"]
"""
    _passed(pytester, tables, test)


def test_it_works_beside_flask_sqlalchemy_and_factory_boy_as_is_shown(pytester):
    _, _, (conftest, test), _ = _split()
    pytester.makepyfile(beside=dedent(BESIDE))

    _passed(pytester, conftest, test)
