"""Keys, a clock, a guard and a server of keys."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import rsa

from operon.flask.tokens import Verifier
from tests.flask.tokens.clock import StillClock
from tests.flask.tokens.forge import Forge
from tests.flask.tokens.keyserver import KeyServer


@pytest.fixture(scope="session")
def forge() -> Forge:
    """Keys, which are made once because that is slow."""
    return Forge(
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
    )


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def guard(forge, clock) -> Verifier:
    """What accepts the tokens of an issuer with public keys, and one with a secret."""
    return Verifier([forge.issuer(), forge.development()], clock=clock)


@pytest.fixture
def key_server(forge, monkeypatch) -> Iterator[KeyServer]:
    """A server of the issuer's keys, which no proxy stands before."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = KeyServer()
    server.serve(*forge.jwks()["keys"])
    yield server
    server.close()
