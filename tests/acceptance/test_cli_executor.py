"""`operon executor`, the entry points, and signals, in real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.processes import Child
from tests.processes import eventually

OPERON = Path(sys.executable).with_name("operon")
APP = """
import time
from pathlib import Path

from operon import Operon
from operon import Workflow
from operon import activity

operon = Operon(queues=["mail"])


class Linger(Workflow, queue="slow"):
    path: str
    seconds: float = 0.0

    @activity
    def linger(self) -> str:
        Path(self.path).touch()
        time.sleep(self.seconds)
        return "done"

    def run(self) -> str:
        return self.linger()
"""


@pytest.fixture
def env(database, tmp_path):
    """What lets a child find the application of this test and its database."""
    (tmp_path / "cli_app.py").write_text(APP, encoding="utf-8")
    return {
        "OPERON_DATABASE_URL": database.url,
        "OPERON_APP": "cli_app:operon",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def start(tmp_path):
    """Start a `Linger` run, which this process does not declare; return its sign."""

    def start_run(run_id, env, *, seconds):
        sign = tmp_path / run_id
        call = f"Linger({str(sign)!r}, {seconds}), id={run_id!r}"
        code = f"from cli_app import *; operon.start({call}); operon.engine.dispose()"
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, **env},
            check=True,
        )
        return sign

    return start_run


def executor(env, *args):
    return Child("operon.cli", ["executor", *args], env=env)


def serving(child):
    """Wait until *child* says what it serves."""
    eventually(lambda: "workflows: " in child.output() or not child.running)
    assert child.running, child.output()
    return child.output()


def test_says_what_it_serves_and_ends_cleanly_on_sigterm(env, operon):
    with executor(env) as child:
        said = serving(child)
        child.terminate()

        assert child.wait() == 0, child.output()
        assert "queues: default, mail, slow\n" in said
        assert "workflows: Linger 1\n" in said
        assert f"executor of process {child.pid} on " in said
        assert child.output().endswith("stopped\n")
        assert operon.list_executors() == []


def test_ends_cleanly_on_sigint(env):
    with executor(env) as child:
        serving(child)
        os.kill(child.pid, signal.SIGINT)

        assert child.wait() == 0, child.output()


def test_executes_what_others_started(env, start, operon):
    start("order-42", env, seconds=0.0)
    with executor(env) as child:
        eventually(
            lambda: operon.get_run("order-42").status == "succeeded",
            saying=child.output(),
        )
        child.terminate()

        assert child.wait() == 0, child.output()


def test_lets_the_activity_under_way_end_on_the_first_signal(env, start, operon):
    sign = start("order-42", env, seconds=1.0)
    with executor(env) as child:
        eventually(sign.exists)
        child.terminate()

        assert child.wait() == 0, child.output()
        steps = operon.list_steps("order-42")
        assert [(step.name, step.output) for step in steps] == [("linger", '"done"')]


def test_a_second_signal_ends_the_process_at_once(env, start):
    sign = start("order-42", env, seconds=60.0)
    with executor(env) as child:
        eventually(sign.exists)
        child.terminate()
        eventually(lambda: "a second signal" in child.output())
        child.terminate()

        assert child.wait(timeout=10) == -signal.SIGTERM


def test_the_application_can_be_named_before_or_after_the_command(env):
    app = ["--app", "cli_app:operon"]
    del env["OPERON_APP"]
    for args in ([*app, "executor"], ["executor", *app]):
        with Child("operon.cli", args, env=env) as child:
            serving(child)
            child.terminate()

            assert child.wait() == 0, child.output()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "Error: the application 'cli_app:operon', named by OPERON_APP, "),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero ("),
        (
            "operon = 3\n",
            "is of type int, no Operon; name an instance of operon.Operon",
        ),
    ],
    ids=["missing", "broken", "wrong"],
)
def test_an_application_that_cannot_be_loaded_is_one_line(
    env, tmp_path, source, expected
):
    (tmp_path / "cli_app.py").unlink()
    if source is not None:
        (tmp_path / "cli_app.py").write_text(source, encoding="utf-8")
    with executor(env) as child:
        assert child.wait() == 1
        assert expected in child.output()
        assert child.output().startswith("Error: ")
        assert child.output().count("\n") == 1


def test_a_database_without_tables_is_one_line(env, empty_database):
    env = {**env, "OPERON_DATABASE_URL": empty_database.url, "OPERON_MIGRATE": "verify"}
    with empty_database.engine().connect(), executor(env) as child:
        assert child.wait() == 1
        assert "run `operon migrate`" in child.output()


def test_an_unreachable_database_is_one_line(env):
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    impatient = {"OPERON_DATABASE_URL": url, "OPERON_DATABASE_PATIENCE": "0.2"}
    with executor({**env, **impatient}) as child:
        assert child.wait() == 1
        assert child.output().startswith(
            f"Error: the database '{url}' cannot be used: "
        )
        assert child.output().count("\n") == 1


@pytest.mark.parametrize(
    ("program", "args"), [(OPERON, []), ("operon.cli", []), ("flask", ["operon"])]
)
def test_every_entry_point_leads_to_the_command(env, program, args):
    with Child(program, [*args, "runs", "list", "--json"], env=env) as child:
        assert child.wait() == 0, child.output()
        assert child.output() == "[]\n"


def test_flask_tells_errors_the_same_way(env):
    with Child("flask", ["operon", "runs", "show", "nope"], env=env) as child:
        assert child.wait() == 1
        assert child.output().startswith("Error: run 'nope' does not exist; ")


@pytest.mark.parametrize("module", ["click", "flask"])
def test_importing_operon_does_not_import_what_only_edges_need(module):
    code = f"import sys, operon; sys.exit({module!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_command_does_not_import_flask():
    code = "import sys, operon.cli; sys.exit('flask' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
