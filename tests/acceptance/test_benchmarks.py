"""The benchmarks still run: against plain SQLAlchemy, with next to nothing measured."""

import json
import subprocess
import sys

from tests.processes import ROOT

ROWS = "one-step run, 1 thread$|beyond the user's, one-step run|recovery"


def test_a_quick_look_measures_every_row_it_is_asked_for(tmp_path):
    options = ["--quick", "--rounds", "1", "--against", "", "--rows", ROWS]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *options, "--output", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))
    found = {each["row"]: each for each in written["results"]}
    assert all(each["values"] for each in found.values())
    assert len(found) == 3
    assert found["statements beyond the user's, one-step run"]["values"] == [3.0]
    assert "statements beyond the user's" in done.stdout
    assert (tmp_path / "benchmarks.svg").stat().st_size > 0
