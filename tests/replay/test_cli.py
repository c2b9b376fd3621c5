"""`operon runs export` and `operon replay`: their exit codes and words."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result

from operon import registry
from operon.cli import operon
from operon.cli.loading import AppName
from operon.cli.loading import load
from tests.fix_db import Database

NOWHERE = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"

APP = """
from sqlalchemy.orm import Session
from operon import Operon, Workflow, activity, step

operon = Operon({url!r})

class ReplayedSale(Workflow):
    sku: str
    card: str = "4111-1111"

    @step
    def reserve(self, session: Session, quantity: int) -> int:
        print("executed: reserve")
        return quantity * 2

    @activity
    def charge(self, order_id: int, card: str) -> str:
        print("executed: charge")
        return "paid"

    def run(self) -> str:
        order_id = self.reserve({quantity})
        return self.charge(order_id, self.card)

def sell() -> Operon:
    operon.run(ReplayedSale("book"), id="order-42")
    return operon
"""

Invoke = Callable[..., Result]


def write(path: Path, url: str, quantity: str = "2", text: str = APP) -> None:
    """Write the application; *quantity* is what its body reserves."""
    path.write_text(text.format(url=url, quantity=quantity), encoding="utf-8")


@pytest.fixture
def invoke(tmp_path, monkeypatch) -> Invoke:
    """Call `operon` in a folder of its own, each time with the code as it is then."""
    for name in ("OPERON_APP", "OPERON_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def call(*args: object) -> Result:
        try:
            with registry.isolated():
                return CliRunner().invoke(operon, list(map(str, args)))
        finally:
            sys.modules.pop("sale", None)

    return call


@pytest.fixture
def sold(tmp_path: Path, sqlite_database: Database, invoke: Invoke) -> Path:
    """The folder of an application that has sold a book as `order-42`."""
    write(tmp_path / "sale.py", sqlite_database.url)
    with registry.isolated():
        application = load(AppName("sale:sell()", "the test", (tmp_path,)))
        application.shutdown()
        application.engine.dispose()
    del sys.modules["sale"]
    return tmp_path


@pytest.fixture
def bundle(sold: Path, invoke: Invoke, capsys) -> Path:
    """The exported sale; from now on the application's database is nowhere."""
    path = sold / "order-42.json"
    export = ("runs", "export", "order-42", "--output", path, "--app", "sale:operon")
    finished = invoke(*export)
    assert (finished.exit_code, finished.output) == (0, "")
    write(sold / "sale.py", NOWHERE)
    capsys.readouterr()
    return path


def replayed(invoke: Invoke, *args: object) -> Result:
    finished = invoke("replay", *args, "--app", "sale:operon")
    assert "executed" not in finished.stdout
    return finished


def test_a_replay_of_unchanged_code_is_exit_code_0_and_needs_no_database(
    bundle, invoke
):
    finished = replayed(invoke, bundle)

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert (
        finished.stdout == "order-42 (ReplayedSale 1): same, 2 operations, succeeded\n"
    )


def test_what_has_changed_is_exit_code_1_with_position_and_cure(bundle, invoke):
    write(bundle.parent / "sale.py", NOWHERE, "3")

    finished = replayed(invoke, bundle, bundle)

    assert finished.exit_code == 1
    assert finished.stdout.startswith(
        "order-42 (ReplayedSale 1): not the same at position 1\n"
        "  recorded  step 'reserve'(quantity=2)\n"
        "  called    step 'reserve'(quantity=3)\n"
        f"  source    {bundle.parent / 'sale.py'}:22\n"
        "  cure      "
    )
    assert "version=2" in finished.stdout
    assert "self.patched" in finished.stdout
    assert finished.stdout.count("not the same") == 2


def test_a_body_that_ended_too_early_is_shown_by_its_first_line(bundle, invoke):
    write(
        bundle.parent / "sale.py",
        NOWHERE,
        text=APP.replace("return self.charge(order_id, self.card)", "return 'paid'"),
    )

    finished = replayed(invoke, bundle)

    line = 1 + APP.splitlines().index("    def run(self) -> str:")
    assert (
        "called    the end of the body\n"
        f"  source    {bundle.parent / 'sale.py'}:{line}\n" in finished.stdout
    )


def test_programs_are_answered_in_json(bundle, invoke):
    [same] = json.loads(replayed(invoke, bundle, "--json").stdout)
    write(bundle.parent / "sale.py", NOWHERE, "3")
    finished = replayed(invoke, bundle, "--json")
    [changed] = json.loads(finished.stdout)

    assert finished.exit_code == 1
    assert same.keys() == changed.keys()
    assert (same["same"], same["ending"], same["arguments"]) == (
        True,
        "succeeded",
        True,
    )
    assert (changed["same"], changed["position"]) == (False, 1)
    assert changed["called"] == "step 'reserve'(quantity=3)"


def test_a_value_that_does_not_decode_is_exit_code_1(bundle, invoke):
    text = bundle.read_text(encoding="utf-8").replace('"sku": "book"', '"sku": 7')
    bundle.write_text(text, encoding="utf-8")

    finished = replayed(invoke, bundle)

    assert finished.exit_code == 1
    assert "the input of run 'order-42' cannot be decoded" in finished.stdout
    assert finished.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.update(format=2), "it has format 2"),
        (lambda told: told.clear(), "it is no exported run"),
        (
            lambda told: told["run"].update(version=2),
            "version 2 of run 'order-42' is not declared",
        ),
        (lambda told: told["run"].update(workflow="Other"), "workflow 'Other' version"),
    ],
)
def test_what_cannot_be_replayed_is_exit_code_2(bundle, invoke, change, said):
    told: dict[str, Any] = json.loads(bundle.read_text(encoding="utf-8"))
    change(told)
    other = bundle.with_name("other.json")
    other.write_text(json.dumps(told), encoding="utf-8")

    finished = replayed(invoke, bundle, other)

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_wrong_call_is_exit_code_2(bundle, invoke):
    for args in (("nowhere.json",), (), (bundle.parent,)):
        finished = replayed(invoke, *args)
        assert finished.exit_code == 2
        assert "Error: " in finished.stderr

    finished = invoke("replay", bundle)
    assert finished.exit_code == 2
    assert "no application is named" in finished.stderr


def test_without_the_application_a_run_is_exported_and_a_warning_says_what_lacks(
    sold, invoke, sqlite_database
):
    url = ("--database-url", sqlite_database.url)
    finished = invoke("runs", "export", "order-42", *url)

    assert finished.exit_code == 0
    assert finished.stderr == (
        "Warning: arguments are not noted: workflow 'ReplayedSale' version 1 is not "
        "declared here\n"
    )
    path = sold / "plain.json"
    path.write_text(finished.stdout, encoding="utf-8")
    same = replayed(invoke, path)
    assert same.exit_code == 0
    assert "same, 2 operations, succeeded; arguments are not in the bundle" in (
        same.stdout
    )


def test_with_both_the_database_is_read_and_the_application_notes(
    sold, invoke, sqlite_database
):
    write(sold / "sale.py", NOWHERE)
    both = ("--database-url", sqlite_database.url, "--app", "sale:operon")

    finished = invoke("runs", "export", "order-42", *both)

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert json.loads(finished.stdout)["noted"] == {"done": True}


def test_redaction_is_asked_for_by_name(sold, invoke):
    finished = invoke(
        *("runs", "export", "order-42", "--app", "sale:operon"),
        *("--redact", "card", "--redact", "*sku*"),
    )

    assert (finished.exit_code, finished.stderr) == (0, "")
    assert "4111" not in finished.stdout
    told = json.loads(finished.stdout)
    assert told["run"]["input"] == {"sku": "redacted", "card": "redacted"}
    assert told["redacted"]["fields"] == ["card", "sku"]


def test_an_export_that_cannot_be_made_says_why(sold, invoke, sqlite_database):
    url = ("--database-url", sqlite_database.url)

    unknown = invoke("runs", "export", "nobody", *url)
    unwritable = invoke("runs", "export", "order-42", *url, "--output", "no/r.json")

    assert unknown.exit_code == 1
    assert unknown.stderr.startswith("Error: run 'nobody' does not exist")
    assert unwritable.exit_code == 2
    assert "'no/r.json' cannot be written" in unwritable.stderr


def test_a_redaction_that_breaks_a_bundle_is_told_by_export_and_replay(sold, invoke):
    write(sold / "sale.py", f"sqlite:///{sold / 'operon.db'}", "int(self.card[0])")
    finished = invoke("runs", "export", "order-42", "--app", "sale:operon",
                      "--redact", "card")  # fmt: skip
    path = sold / "redacted.json"
    path.write_text(finished.stdout, encoding="utf-8")

    assert "Warning: arguments are not noted: " in finished.stderr
    told = replayed(invoke, path)
    assert told.exit_code == 1
    assert "perhaps because these fields are redacted: card" in told.stdout


def test_a_flask_application_is_replayed_within_its_context(bundle, invoke):
    write(bundle.parent / "sale.py", NOWHERE, text=APP.replace(
        "from operon import Operon, Workflow, activity, step",
        "from flask import Flask, current_app\n"
        "from operon import Workflow, activity, step\n"
        "from operon.flask import Operon\n"
        "app = Flask(__name__)\n"
        "app.config['N'] = 2\n",
    ).replace(
        "class ReplayedSale", "operon.init_app(app)\n\nclass ReplayedSale"
    ), quantity='current_app.config["N"]')  # fmt: skip

    finished = invoke("replay", bundle, "--app", "sale:app")

    assert (
        finished.stdout == "order-42 (ReplayedSale 1): same, 2 operations, succeeded\n"
    )
    assert finished.exit_code == 0


def test_from_the_shell_it_is_the_same(bundle):
    words = [sys.executable, "-m", "operon.cli", "replay", str(bundle)]
    words += ["--app", "sale:operon"]

    finished = subprocess.run(
        words, cwd=bundle.parent, capture_output=True, text=True, check=False
    )

    assert (finished.returncode, finished.stderr) == (0, "")
    assert "executed" not in finished.stdout
    assert finished.stdout.endswith("same, 2 operations, succeeded\n")
