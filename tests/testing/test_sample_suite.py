"""The sample application's own tests pass as its users run them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request):
    """The option that names where databases are made."""
    if request.param == "sqlite":
        return ()
    url = request.getfixturevalue("postgres_server").url("postgres")
    return ("--operon-database-url", url)


def test_the_sample_applications_tests_pass_in_random_order_and_in_parallel(server):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "sample_app/tests", *server],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed in " in done.stdout
    assert "warning" not in done.stdout
