"""The guide to the web edge names everything that there is."""

from pathlib import Path

import pytest

from operon.flask.config import OTHERS
from operon.flask.endpoint import EndpointOptions
from operon.flask.problem import KINDS

GUIDE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.slug)
def test_every_kind_of_problem_is_explained_with_its_status(kind):
    rows = [line for line in GUIDE.splitlines() if f"`{kind.slug}`" in line]

    assert any(str(kind.status) in row for row in rows)


@pytest.mark.parametrize("option", EndpointOptions.__annotations__)
def test_every_option_of_an_endpoint_is_explained(option):
    assert f"`{option}`" in GUIDE or f"`{option}=" in GUIDE


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_every_setting_of_an_application_is_named(name):
    assert name in GUIDE
