"""`python -m tests.judges --tools DIR`: what finds a tool that knows only the document?

DIR has the programs of schemathesis and openapi-python-client. The application is
really served, on SQLite and on PostgreSQL. Exits with 1 if anything is found.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx

from tests.judges.shop import token
from tests.judges.tools import Tools
from tests.postgres import PostgresServer
from tests.processes import Child
from tests.processes import eventually

SEEDS = (1, 2, 3)
AT_ONCE = 2  # judges

Judge = Callable[[], str | None]
"""Returns what it found."""

_OWNED = ("SQLite", "PostgreSQL", "the sample, SQLite", "the sample, PostgreSQL")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
_PLANTED = (
    "Undocumented status code",
    "validation is answered by 410",
    "a stranger got 200",
    "an expired token got 20",
)
"""What has to be found where bugs are planted."""


def main(tools: Tools) -> int:
    """Let all judges judge, and print what they found; return 0 if that is nothing."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        judges = _judges(tools, _served(stack, folder), folder)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = pool.map(_judged, judges, judges.values())
            found = dict(zip(judges, results, strict=True))
    guilty = [name for name, text in found.items() if text is not None]
    for name in guilty:
        print(f"\n==== {name}\n{found[name]}")
    print(f"found something: {', '.join(guilty)}" if guilty else "nothing is found")
    return 1 if guilty else 0


def _served(stack: ExitStack, folder: Path) -> Mapping[str, str]:
    """Serve the application in several ways, until *stack* is left; return where."""
    server = stack.enter_context(PostgresServer())
    for name in ("judged", "sample"):
        server.create_database(name)
    judged, sample = "tests.judges.shop", "tests.judges.sample"
    ways = {
        "SQLite": (judged, [f"sqlite:///{folder}/judged.db"]),
        "PostgreSQL": (judged, [server.url("judged")]),
        "the sample, SQLite": (sample, [f"sqlite:///{folder}/sample.db"]),
        "the sample, PostgreSQL": (sample, [server.url("sample")]),
        "expired": (judged, [f"sqlite:///{folder}/expired.db"]),
        "the sample, expired": (sample, [f"sqlite:///{folder}/sample_expired.db"]),
        "planted": (judged, [f"sqlite:///{folder}/planted.db", "planted"]),
    }
    env = {"SAMPLE_APP_PAYMENTS": f"{folder}/payments.db"}
    children = {
        name: stack.enter_context(Child(program, arguments, env=env))
        for name, (program, arguments) in ways.items()
    }
    return {name: _address(child) for name, child in children.items()}


def _address(child: Child) -> str:
    def said() -> re.Match[str] | None:
        assert child.running, child.output()
        return _ADDRESS.search(child.output())

    return eventually(said, timeout=60.0).group()


def _judges(tools: Tools, at: Mapping[str, str], folder: Path) -> dict[str, Judge]:
    judges: dict[str, Judge] = {
        f"schemathesis on {name}, seed {seed}": partial(
            _as_owner, tools, at[name], seed
        )
        for seed in SEEDS
        for name in _OWNED
    }
    for name in ("expired", "the sample, expired"):
        judges[f"schemathesis with an expired token, {name}"] = partial(
            _expired, tools, at[name]
        )
    judges["schemathesis on a planted bug"] = partial(_planted, tools, at["planted"])
    judges["a generated client"] = partial(
        tools.client, at["PostgreSQL"], token("carol"), folder
    )
    return judges


def _judged(name: str, judge: Judge) -> str | None:
    begun = time.monotonic()
    found = judge()
    verdict = "nothing" if found is None else "SOMETHING"
    print(f"{name}: {verdict}, {time.monotonic() - begun:.0f} s", flush=True)
    return found


def _as_owner(tools: Tools, url: str, seed: int) -> str | None:
    """Judge as somebody who may do everything; a stranger never sees its runs."""
    stranger = token("bob", operates=False)
    found = tools.schemathesis(
        url,
        token("ada"),
        *("--seed", str(seed)),
        environment={"OPERON_JUDGES_STRANGER": stranger},
    )
    if found is None and not _runs(url, token("ada")):
        return "no run was started: it has judged nothing"
    if found is None and _runs(url, stranger):
        return "a stranger's list has runs"
    return found


def _expired(tools: Tools, url: str) -> str | None:
    """Judge with a token that has expired: nothing is open to it, and nothing done."""
    found = tools.schemathesis(
        url,
        token("ada", age=timedelta(hours=2)),
        *("--seed", "1"),
        environment={"OPERON_JUDGES_REFUSED": "1"},
    )
    return "a run was started" if found is None and _runs(url, token("ada")) else found


def _planted(tools: Tools, url: str) -> str | None:
    """Judge what is not as its document says: does every check find its bug?"""
    operations = ("post_ping", "post_Parcel", "run_show")
    found = replace(tools, examples=4).schemathesis(
        url,
        token("ada"),
        *(f"--include-operation-id={each}" for each in operations),
        *("--seed", "1", "--continue-on-failure"),
        environment={
            "OPERON_JUDGES_STRANGER": token("bob", operates=False),
            "OPERON_JUDGES_REFUSED": "1",
        },
    )
    missed = [each for each in _PLANTED if each not in (found or "")]
    return f"not found: {missed}\n{found}" if missed else None


def _runs(url: str, bearer: str) -> list[str]:
    """Return the ids of the last runs that who has the token *bearer* sees."""
    headers = {"Authorization": f"Bearer {bearer}"}
    answer = httpx.get(f"{url}/api/runs", headers=headers).raise_for_status()
    return [each["id"] for each in answer.json()["runs"]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.judges")
    parser.add_argument(
        "--tools", required=True, type=Path, help="where the judges' programs are"
    )
    parser.add_argument(
        "--examples", default=12, type=int, help="for each operation and seed"
    )
    return parser.parse_args()


if __name__ == "__main__":
    options = _options()
    sys.exit(main(Tools(options.tools.absolute(), options.examples)))
