"""What the guard loads, and what becomes of it in a forked process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from operon.flask import tokens
from operon.flask.tokens import issue
from tests.flask.tokens.forge import AUDIENCE
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import private_jwk

PACKAGE = Path(tokens.__file__).parent
MODULES = sorted(PACKAGE.glob("*.py"))


def run(program: str, *args: str) -> str:
    """Return what *program* prints in a process of its own, where it must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def imports(module: Path) -> set[str]:
    """Return the names that *module* imports, each with where it is from."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return found


def test_the_slow_fallbacks_and_encryption_of_the_library_are_never_loaded():
    program = (
        "import sys\n"
        "from operon.flask.tokens import *\n"
        "key = 'a secret of 32 bytes, no less...'\n"
        "issuer = JWTIssuer('i', audience='a', algorithms=['HS256'], secret=key)\n"
        "token = issue(issuer='i', audience='a', subject='ada', key=key)\n"
        "assert Verifier([issuer]).verify(token).subject == 'ada'\n"
        "print(*sys.modules)"
    )

    loaded = set(run(program).split())

    assert "jose.jws" in loaded
    assert loaded.isdisjoint({"ecdsa", "rsa", "jose.jwe", "jose.jwt"})
    assert loaded.isdisjoint({
        "jose.backends.rsa_backend",
        "jose.backends.ecdsa_backend",
    })


def test_the_library_without_its_backend_is_refused():
    program = (
        "import sys\n"
        "sys.modules['cryptography'] = None\n"
        "from operon.errors import ConfigurationError\n"
        "from operon.flask.tokens import JWTIssuer\n"
        "try:\n"
        "    JWTIssuer('i', audience='a', algorithms=['HS256'], secret='x' * 32)\n"
        "except ConfigurationError as error:\n"
        "    print(error)"
    )

    assert "python-jose[cryptography]" in run(program)


def test_one_module_alone_imports_the_library():
    users = {
        module.name
        for module in MODULES
        if any(name.partition(".")[0] == "jose" for name in imports(module))
    }

    assert users == {"signature.py"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_the_guard_knows_nothing_of_flask(module):
    for name in imports(module):
        assert name.partition(".")[0] not in {"flask", "werkzeug"}
        assert not name.startswith("operon.") or name.startswith((
            "operon.flask.tokens",
            "operon.errors",
            "operon.clock",
        ))


FORK = """
import os, sys
from operon.flask.tokens import JWTIssuer, Verifier
from operon.flask.tokens.keyset import _Fetch
issuer, audience, url, token = sys.argv[1:]
guard = Verifier([JWTIssuer(
    issuer, audience=audience, algorithms=["ES256"], jwks_url=url, allow_http=True
)])
keys = guard._issuers[issuer]._keys
keys._lock.acquire()  # as a thread does that does not exist in the child
keys._under_way = _Fetch(keys._clock.monotonic())
keys._tried = keys._clock.monotonic()
child = os.fork()
if child == 0:
    try:
        assert guard.verify(token).subject == "ada"
        os._exit(0)
    finally:
        os._exit(1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_while_keys_are_fetched_leaves_the_child_a_guard_of_its_own(
    forge, key_server
):
    key = private_jwk(forge.ec, kid="ec-1")
    token = issue(issuer=ISSUER, audience=AUDIENCE, subject="ada", key=key)

    run(FORK, ISSUER, AUDIENCE, key_server.url, token)

    assert key_server.hits == 1
