"""The launcher finds PostgreSQL, starts it, and can do to it what a crash does."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests import postgres_binaries
from tests.postgres import PostgresServer
from tests.postgres import PostgresStartError
from tests.postgres_binaries import PostgresNotFoundError
from tests.postgres_binaries import find_binaries
from tests.postgres_binaries import reachable
from tests.processes import Child
from tests.processes import eventually

START_AND_WAIT = """
import signal
from tests.postgres import PostgresServer

server = PostgresServer()
server.start()
print(server.url("postgres"), server._base, flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def server():
    """One server for all tests of this file, who stop, kill and restart it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def binaries(tmp_path):
    """A folder that looks like PostgreSQL's."""
    return programs(tmp_path / "package" / "pginstall" / "bin")


def programs(folder):
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).touch()
    return folder


def test_keeps_commits_in_memory_but_not_on_disk(server):
    assert server.execute("SHOW synchronous_commit") == [("on",)]
    assert server.execute("SHOW fsync") == [("off",)]


def test_listens_on_loopback_only(server):
    assert server.execute("SHOW listen_addresses") == [("127.0.0.1",)]
    assert server.execute("SHOW unix_socket_directories") == [("",)]


def test_copies_a_template(server):
    server.create_database("original")
    server.execute("CREATE TABLE kept AS SELECT 42 AS answer", "original")

    server.create_database("copy", "original")

    assert server.execute("TABLE kept", "copy") == [(42,)]
    server.drop_database("copy")
    server.drop_database("original")


def test_drops_a_database_in_use(server):
    server.create_database("busy")
    with closing(server.connect("busy")) as connection:
        server.drop_database("busy")

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_comes_back_with_what_was_committed(server, end):
    server.execute(f"CREATE TABLE {end}ped AS SELECT 1 AS one")
    url = server.url("postgres")

    getattr(server, end)()
    server.start()

    assert server.url("postgres") == url
    assert server.execute(f"TABLE {end}ped") == [(1,)]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_backend_survives(server, end):
    with ThreadPoolExecutor() as pool, closing(server.connect()) as connection:
        sleeping = pool.submit(connection.execute, "SELECT pg_sleep(60)")
        eventually(lambda: sleepers(server) == [(1,)])

        getattr(server, end)()

        assert isinstance(sleeping.exception(10), psycopg.OperationalError)
    server.start()
    assert sleepers(server) == [(0,)]


def sleepers(server):
    return server.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    )


def test_restarts_with_another_process(server):
    before = server.pid

    server.restart()

    assert server.pid != before


def test_a_running_server_is_not_started_again(server):
    with pytest.raises(RuntimeError, match="stop or kill it first"):
        server.start()


def test_settings_can_be_changed_while_it_runs(server):
    server.execute("ALTER SYSTEM SET work_mem = '1MB'")
    server.execute("SELECT pg_reload_conf()")

    eventually(lambda: server.execute("SHOW work_mem") == [("1MB",)])


def test_outlives_the_thread_that_started_it():
    with PostgresServer({"max_connections": "10"}) as server:
        server.stop()
        with ThreadPoolExecutor() as pool:
            pool.submit(server.start).result()

        assert server.execute("SHOW max_connections") == [("10",)]


def test_a_setting_it_does_not_know_is_shown():
    with pytest.raises(PostgresStartError, match="no_such_setting"):
        PostgresServer({"no_such_setting": "on"}).__enter__()


def test_dies_with_the_process_that_started_it(tmp_path):
    script = tmp_path / "start.py"
    script.write_text(START_AND_WAIT)
    with Child(script) as child:
        eventually(lambda: child.output().endswith("\n"), timeout=60)
        url, base = child.output().split()
        child.kill()

        eventually(lambda: not Path(base).exists(), timeout=60)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url.replace("+psycopg", ""))


def test_leaves_nothing_behind_after_a_kill():
    with PostgresServer() as server:
        base = server._base
        server.kill()

    assert not base.exists()


def test_the_chosen_binaries_are_final(monkeypatch, tmp_path, binaries):
    monkeypatch.setenv("OPERON_PG_BINDIR", str(binaries))
    assert find_binaries() == binaries

    monkeypatch.setenv("OPERON_PG_BINDIR", str(tmp_path))
    with pytest.raises(PostgresNotFoundError, match="OPERON_PG_BINDIR"):
        find_binaries()


@pytest.mark.parametrize("first", ["_from_pg_config", "_from_packages", "_from_wheel"])
def test_looks_for_binaries_in_order(monkeypatch, tmp_path, first):
    monkeypatch.delenv("OPERON_PG_BINDIR", raising=False)
    sources = ["_from_pg_config", "_from_packages", "_from_wheel"]
    for source in sources:
        folder = tmp_path / source
        if sources.index(source) >= sources.index(first):
            programs(folder)
        monkeypatch.setattr(postgres_binaries, source, lambda folder=folder: [folder])

    assert find_binaries() == tmp_path / first


def test_says_what_to_do_without_binaries(monkeypatch):
    monkeypatch.delenv("OPERON_PG_BINDIR", raising=False)
    monkeypatch.setattr(postgres_binaries, "_has_binaries", lambda _: False)

    with pytest.raises(PostgresNotFoundError) as caught:
        find_binaries()

    for cure in ("pip install", "OPERON_PG_BINDIR", "OPERON_TEST_DATABASE_URL"):
        assert cure in str(caught.value)


def test_copies_binaries_its_user_may_not_enter(monkeypatch, tmp_path, binaries):
    library = binaries.parents[1].with_name("package.libs") / "libpq.so"
    library.parent.mkdir()
    library.touch()

    def refuse(*_args, **_options):
        raise PermissionError

    monkeypatch.setattr(subprocess, "run", refuse)

    copy = reachable(binaries, tmp_path / "base", {})

    assert copy.is_relative_to(tmp_path / "base")
    assert (copy / "postgres").exists()
    assert (copy.parents[1].with_name("package.libs") / "libpq.so").exists()


def test_a_child_treats_warnings_as_errors(tmp_path):
    script = tmp_path / "warn.py"
    script.write_text("import warnings\nwarnings.warn('careful')\n")

    with Child(script) as child:
        assert child.wait() == 1

        assert "UserWarning: careful" in child.output()


def test_a_child_is_stopped_resumed_and_terminated():
    with Child("http.server", [0, "--bind", "127.0.0.1"]) as child:
        eventually(lambda: "Serving" in child.output())
        child.stop()
        child.terminate()
        assert child.running
        child.resume()

        assert child.wait() == -15


def test_a_child_knows_its_arguments_and_environment(tmp_path):
    script = tmp_path / "tell.py"
    script.write_text("import os, sys\nprint(sys.argv[1:], os.environ['WORD'])\n")

    with Child(script, [1, "two"], {"WORD": "three"}) as child:
        assert child.wait() == 0

        assert child.output() == "['1', 'two'] three\n"


def test_a_child_does_not_outlive_its_block():
    with Child("http.server", [0, "--bind", "127.0.0.1"]) as child:
        assert child.running

    assert not child.running


def test_eventually_tells_what_did_not_happen():
    with pytest.raises(AssertionError, match="the moon is blue: not after 0 s"):
        eventually(lambda: False, timeout=0, saying="the moon is blue")
