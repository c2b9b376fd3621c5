"""Exporting over OTLP/HTTP to a real receiver, from the sample shop's processes."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import httpx
import pytest

from operon.flask.tokens import issue
from sample_app.identity import AUDIENCE
from sample_app.identity import ISSUER
from sample_app.server import prepare
from tests.processes import Child
from tests.processes import eventually
from tests.telemetry.receiver import receiving

SECRET = "a secret of thirty-two bytes, or more"  # noqa: S105 - a test's
CANARY = "canary-7f3a"


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def env(receiver, database, tmp_path):
    """What the shop's processes are told."""
    prepare(database.url)
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BLRP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "SAMPLE_APP_DATABASE_URL": database.url,
        "SAMPLE_APP_PAYMENTS": str(tmp_path / "payments.db"),
        "SAMPLE_APP_SECRET": SECRET,
        "OPERON_HEARTBEAT": "0.3",
        "OPERON_LEASE": "1.5",
    }


def executor(env):
    app = "sample_app.app:create_operon()"
    return Child("operon.cli", ["--app", app, "executor"], env=env)


SERVING = """
from werkzeug.serving import make_server
from sample_app.app import create_app

server = make_server("127.0.0.1", 0, create_app(), threaded=True)
print(f"port {server.port}", flush=True)
server.serve_forever()
"""


def order(url: str, **headers: str) -> httpx.Response:
    token = issue(
        issuer=ISSUER,
        audience=AUDIENCE,
        subject=CANARY,
        key=SECRET,
        scopes=["orders:write"],
        roles=["customer"],
    )
    return httpx.post(
        f"{url}/api/orders",
        json={"sku": "desk-lamp", "card": CANARY},
        headers={"Authorization": f"Bearer {token}", **headers},
        timeout=60,
    )


def test_one_order_is_one_trace_though_its_executor_is_killed(env, receiver, tmp_path):
    path = tmp_path / "serve.py"
    path.write_text(SERVING, encoding="utf-8")
    with Child(path, env={**env, "OPERON_LAUNCH": "false"}) as server:
        port = eventually(lambda: server.output().partition("port ")[2].strip())  # noqa: PLW0108 - the output grows
        with closing(sqlite3.connect(env["SAMPLE_APP_PAYMENTS"])) as ledger:
            ledger.execute("BEGIN EXCLUSIVE")  # the provider does not answer
            with executor(env) as first:
                taken = order(f"http://127.0.0.1:{port}", Prefer="respond-async")
                assert taken.status_code == 202
                eventually(lambda: receiver.named("step reserve"), timeout=30)
                eventually(lambda: "operon.runs.started" in receiver.metrics)
                first.kill()
                first.wait()
            ledger.rollback()
        with executor(env):
            eventually(lambda: receiver.named("step ship"), timeout=60)
            eventually(lambda: receiver.named("run checkout"), timeout=60)
            eventually(lambda: "operon.runs.finished" in receiver.metrics)

    trace_id = taken.headers["Operon-Trace-Id"]
    ours = [span for span in receiver.spans if span.trace_id == trace_id]
    names = {span.name for span in ours}
    assert {
        "POST /api/orders",
        "start checkout",
        "run checkout",
        "step reserve",
        "activity charge",
        "step settle",
        "step ship",
    } <= names
    assert len([span for span in ours if span.name == "step reserve"]) == 1
    assert {span.service for span in ours} == {"shop"}
    assert {
        "operon.attempts",
        "operon.queue.depth",
        "operon.executor.slots",
        "operon.requests",
    } <= receiver.metrics
    assert CANARY.encode() not in b"".join(receiver.bodies)


def test_what_is_logged_is_exported_with_its_trace(receiver, env, tmp_path):
    program = tmp_path / "logs.py"
    program.write_text(
        "import logging\n"
        "from operon import Operon, Workflow\n"
        "from operon.telemetry import configure\n"
        "class Logs(Workflow):\n"
        "    def run(self) -> None:\n"
        "        logging.getLogger('app').warning('from the body')\n"
        "if __name__ == '__main__':\n"
        "    assert configure()\n"
        f"    operon = Operon({env['SAMPLE_APP_DATABASE_URL']!r})\n"
        "    operon.run(Logs())\n"
        "    operon.shutdown()\n",
        encoding="utf-8",
    )
    with Child(program, env=env) as child:
        assert child.wait(60) == 0, child.output()
        assert "from the body" in child.output()  # it is printed as before

    [log] = [each for each in receiver.logs if each.text == "from the body"]
    run = receiver.named("run Logs")[0]
    assert log.trace_id == run.trace_id
    assert log.attributes["operon.run.id"] == run.attributes["operon.run.id"]
    assert log.attributes["operon.workflow.name"] == "Logs"


def test_a_receiver_that_is_away_changes_no_result(env, tmp_path, database):
    env = {**env, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    program = tmp_path / "away.py"
    program.write_text(
        "from operon import Operon, Workflow\n"
        "from operon.telemetry import configure\n"
        "class Away(Workflow):\n"
        "    def run(self) -> int:\n"
        "        return 7\n"
        "if __name__ == '__main__':\n"
        "    configure()\n"
        f"    operon = Operon({database.url!r})\n"
        "    print('result', operon.run(Away()))\n"
        "    operon.shutdown()\n"
        "    import os; os._exit(0)\n",
        encoding="utf-8",
    )
    with Child(program, env=env) as child:
        assert child.wait(60) == 0, child.output()
        assert "result 7" in child.output()


def test_without_an_endpoint_nothing_is_set_and_nothing_is_imported(tmp_path):
    code = (
        "import sys\n"
        "from operon import Operon, Workflow\n"
        "from operon.telemetry import configure\n"
        "class None_(Workflow, name='TelemetryNone'):\n"
        "    def run(self) -> int:\n"
        "        return 7\n"
        "assert not configure()\n"
        f"operon = Operon('sqlite:///{tmp_path}/x.db')\n"
        "assert operon.run(None_()) == 7\n"
        "assert not operon.hooks\n"
        "operon.shutdown()\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}

    done = subprocess.run([sys.executable, "-c", code], check=False, env=env)

    assert done.returncode == 0
