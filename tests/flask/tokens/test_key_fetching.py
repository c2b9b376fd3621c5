"""Fetched keys: rotation, outages, floods and servers that misbehave."""

import json
import logging
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from operon.flask.tokens import InvalidToken
from operon.flask.tokens import KeysUnavailable
from operon.flask.tokens import Reason
from operon.flask.tokens import Verifier
from operon.flask.tokens.fetching import Bounds
from operon.flask.tokens.fetching import FetchFailed
from operon.flask.tokens.fetching import fetched
from operon.flask.tokens.keys import Keys
from operon.flask.tokens.keyset import FetchedKeys
from tests.flask.tokens.forge import GONE
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import NOW
from tests.flask.tokens.forge import ec_jwk
from tests.flask.tokens.forge import es
from tests.flask.tokens.forge import number
from tests.flask.tokens.forge import private_jwk
from tests.flask.tokens.forge import rsa_jwk


@pytest.fixture
def guard(forge, clock, key_server) -> Verifier:
    """What fetches its issuer's keys from the server."""
    return make_guard(forge, clock, key_server.url)


def make_guard(forge, clock, url):
    issuer = forge.issuer(jwks=GONE, jwks_url=url, allow_http=True)
    return Verifier([issuer], clock=clock)


def keys_of(guard) -> FetchedKeys:
    return guard._issuers[ISSUER]._keys


def settle(keys):
    """Wait for the fetch under way, if any."""
    under_way = keys._under_way
    assert under_way is None or under_way.done.wait(10)


@pytest.fixture
def ask(guard, forge, clock) -> Callable[..., str]:
    """Return what a token that is issued right now gets."""

    def ask(header=None, sign=None):
        passed = int(clock.monotonic())
        times = {"iat": NOW + passed, "exp": NOW + passed + 600}
        return guard.verify(forge.ec_token(header, times, sign)).subject

    return ask


def refusal(ask, *args):
    with pytest.raises(InvalidToken) as caught:
        ask(*args)
    return caught.value.reason


def test_nothing_is_opened_before_the_first_token(guard, key_server):
    assert key_server.hits == 0
    assert keys_of(guard)._under_way is None


def test_keys_are_fetched_once_for_many_tokens(ask, key_server):
    assert [ask() for _ in range(20)] == ["ada"] * 20
    assert key_server.paths == ["/jwks.json"]


def test_a_token_that_is_bad_without_its_key_fetches_nothing(guard, forge, key_server):
    for token in ("x", forge.token({"alg": "none"}), forge.token({"typ": "JWT"})):
        with pytest.raises(InvalidToken):
            guard.verify(token)

    assert key_server.hits == 0


def test_many_at_once_make_one_fetch_and_all_get_its_keys(ask, key_server):
    key_server.open.clear()
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert key_server.arrived.acquire(timeout=10)
    key_server.open.set()
    for thread in threads:
        thread.join(10)

    assert answers == ["ada"] * 8
    assert key_server.hits == 1


def test_old_keys_are_renewed_while_nobody_waits(guard, ask, clock, key_server):
    ask()
    clock.turn(minutes=10)
    ask()
    assert key_server.hits == 1

    clock.turn(seconds=1)
    key_server.open.clear()
    assert ask() == "ada"
    assert key_server.arrived.acquire(timeout=10)
    assert [ask() for _ in range(5)] == ["ada"] * 5

    key_server.open.set()
    settle(keys_of(guard))
    assert ask() == "ada"
    assert key_server.hits == 2


def test_a_new_key_is_found_and_the_old_one_is_forgotten(ask, forge, clock, key_server):
    ask()
    key_server.serve(ec_jwk(forge.other_ec, kid="ec-2"))
    clock.turn(seconds=31)

    assert ask({"kid": "ec-2"}, es(forge.other_ec)) == "ada"
    assert refusal(ask) is Reason.UNKNOWN_KEY


def test_a_key_replaced_under_its_name_is_found_when_the_old_one_is_renewed(
    guard, ask, forge, clock, key_server
):
    ask()
    key_server.serve(ec_jwk(forge.other_ec, kid="ec-1"))
    clock.turn(minutes=11)
    ask()
    settle(keys_of(guard))

    assert ask(None, es(forge.other_ec)) == "ada"
    assert refusal(ask) is Reason.BAD_SIGNATURE


def test_a_flood_of_unknown_kids_makes_one_fetch_in_thirty_seconds(
    ask, clock, key_server
):
    ask()
    for attempt in range(50):
        assert refusal(ask, {"kid": f"a{attempt}"}) is Reason.UNKNOWN_KEY
    assert key_server.hits == 1

    clock.turn(seconds=30)
    for attempt in range(50):
        assert refusal(ask, {"kid": f"b{attempt}"}) is Reason.UNKNOWN_KEY
    assert key_server.hits == 2

    clock.turn(seconds=29)
    assert refusal(ask, {"kid": "c"}) is Reason.UNKNOWN_KEY
    assert key_server.hits == 2


def test_who_has_a_known_key_does_not_wait_for_an_unknown_one(ask, clock, key_server):
    ask()
    clock.turn(seconds=31)
    key_server.open.clear()
    outcome: list[Reason] = []
    waiter = threading.Thread(
        target=lambda: outcome.append(refusal(ask, {"kid": "unknown"}))
    )
    waiter.start()
    assert key_server.arrived.acquire(timeout=10)

    assert ask() == "ada"
    assert outcome == []

    key_server.open.set()
    waiter.join(10)
    assert outcome == [Reason.UNKNOWN_KEY]


def test_keys_serve_through_an_outage_of_a_day_and_no_longer(
    guard, ask, clock, key_server
):
    ask()
    key_server.status = 500
    for _ in range(24):
        clock.turn(hours=1)
        assert ask() == "ada"
        settle(keys_of(guard))
    clock.turn(seconds=1)

    with pytest.raises(KeysUnavailable) as caught:
        ask()

    assert 1 <= caught.value.retry_after <= 30


def test_after_an_outage_keys_are_fetched_as_soon_as_they_can_be(
    ask, clock, key_server
):
    key_server.status = 500
    with pytest.raises(KeysUnavailable) as caught:
        ask()
    assert caught.value.retry_after == 5

    key_server.status = 200
    clock.turn(seconds=4)
    with pytest.raises(KeysUnavailable) as caught:
        ask()
    assert caught.value.retry_after == 1
    assert key_server.hits == 1

    clock.turn(seconds=1)
    assert ask() == "ada"


def test_an_unknown_kid_in_an_outage_is_refused_while_the_keys_are_not_stale(
    ask, clock, key_server
):
    ask()
    key_server.status = 500
    clock.turn(seconds=31)

    assert refusal(ask, {"kid": "unknown"}) is Reason.UNKNOWN_KEY
    assert ask() == "ada"


def test_keys_that_an_issuer_withdrew_are_not_used_any_more(
    guard, ask, clock, key_server
):
    ask()
    key_server.serve()
    clock.turn(minutes=11)
    ask()
    settle(keys_of(guard))

    assert refusal(ask) is Reason.UNKNOWN_KEY


def test_a_slow_server_is_not_waited_for_longer_than_some_seconds(
    guard, ask, key_server, monkeypatch
):
    monkeypatch.setattr("operon.flask.tokens.keyset._PATIENCE", 0.05)
    key_server.open.clear()

    with pytest.raises(KeysUnavailable):
        ask()

    key_server.open.set()
    settle(keys_of(guard))
    assert ask() == "ada"


MISBEHAVIOUR = {
    "301 elsewhere": lambda s: vars(s).update(status=301, headers={"Location": "/x"}),
    "302 elsewhere": lambda s: vars(s).update(status=302, headers={"Location": "/x"}),
    "303 elsewhere": lambda s: vars(s).update(status=303, headers={"Location": "/x"}),
    "307 elsewhere": lambda s: vars(s).update(status=307, headers={"Location": "/x"}),
    "308 elsewhere": lambda s: vars(s).update(status=308, headers={"Location": "/x"}),
    "302 to a file": lambda s: vars(s).update(
        status=302, headers={"Location": "file:///etc/passwd"}
    ),
    "404": lambda s: vars(s).update(status=404),
    "500": lambda s: vars(s).update(status=500),
    "503": lambda s: vars(s).update(status=503),
    "201": lambda s: vars(s).update(status=201),
    "401 that asks for a password": lambda s: vars(s).update(
        status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}
    ),
    "nothing": lambda s: vars(s).update(body=b""),
    "no JSON": lambda s: vars(s).update(body=b"<html></html>"),
    "half an answer": lambda s: vars(s).update(body=s.body[:-9]),
    "a list": lambda s: vars(s).update(body=b"[]"),
    "no keys": lambda s: vars(s).update(body=b"{}"),
    "keys that are no list": lambda s: vars(s).update(body=b'{"keys":{}}'),
    "keys twice": lambda s: vars(s).update(body=b'{"keys":[],' + s.body[1:]),
    "NaN": lambda s: vars(s).update(body=b'{"x":NaN,' + s.body[1:]),
    "a nest": lambda s: vars(s).update(body=b'{"keys":' + b"[" * 100_000),
    "no UTF-8": lambda s: vars(s).update(body=s.body.replace(b"ec-1", b"ec\xff1")),
    "UTF-16": lambda s: vars(s).update(body=s.body.decode().encode("utf-16")),
    "a byte order mark": lambda s: vars(s).update(body=b"\xef\xbb\xbf" + s.body),
    "a byte too many": lambda s: vars(s).update(body=s.body.ljust(256 * 1024 + 1)),
    "megabytes": lambda s: vars(s).update(body=s.body.ljust(5_000_000)),
    "65 keys": lambda s: s.serve(*json.loads(s.body)["keys"], *[{"kty": "x"}] * 62),
    "a header without end": lambda s: vars(s).update(headers={"X": "x" * 100_000}),
    "too many headers": lambda s: vars(s).update(
        headers={f"X-{each}": "x" for each in range(200)}
    ),
}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_a_server_that_misbehaves_is_no_source_of_keys(ask, key_server, name):
    MISBEHAVIOUR[name](key_server)

    with pytest.raises(KeysUnavailable):
        ask()

    assert key_server.paths == ["/jwks.json"]


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_a_server_that_begins_to_misbehave_takes_no_keys_away(
    guard, ask, clock, key_server, name
):
    ask()
    MISBEHAVIOUR[name](key_server)
    clock.turn(minutes=11)
    ask()
    settle(keys_of(guard))

    assert ask() == "ada"
    assert key_server.hits == 2


UNUSABLE = {
    "none": lambda _f: [],
    "of another name": lambda f: [ec_jwk(f.ec, kid="ec-2")],
    "without a name": lambda f: [ec_jwk(f.ec)],
    "for encryption": lambda f: [ec_jwk(f.ec, kid="ec-1", use="enc")],
    "of another algorithm": lambda f: [ec_jwk(f.ec, kid="ec-1", alg="ES384")],
    "private": lambda f: [private_jwk(f.ec, kid="ec-1")],
    "twice": lambda f: [ec_jwk(f.ec, kid="ec-1"), ec_jwk(f.other_ec, kid="ec-1")],
    "a weak one of that name": lambda f: [
        rsa_jwk(f.rsa, kid="ec-1", n=number((1 << 1023) + 9))
    ],
    "a secret": lambda _f: [{"kty": "oct", "k": "x" * 44, "alg": "HS256"}],
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_published_key_that_is_not_usable_proves_nothing(
    ask, forge, key_server, name
):
    key_server.serve(*UNUSABLE[name](forge))

    assert refusal(ask) is Reason.UNKNOWN_KEY


def test_a_refused_key_is_logged_by_its_issuer_and_place(
    ask, forge, key_server, caplog
):
    key_server.serve(private_jwk(forge.rsa), ec_jwk(forge.ec, kid="ec-1"))

    with caplog.at_level(logging.WARNING):
        assert ask() == "ada"

    assert f"issuer '{ISSUER}': key 0 has a private member" in caplog.text


def test_a_failed_fetch_is_logged_and_names_no_answer(ask, key_server, caplog):
    key_server.body = b"canary"

    with pytest.raises(KeysUnavailable):
        ask()

    assert f"the keys of '{ISSUER}' are not fetched: malformed-json" in caplog.text
    assert "canary" not in caplog.text


def test_as_many_bytes_and_keys_as_allowed_are_taken(ask, key_server):
    keys = json.loads(key_server.body)["keys"]
    key_server.serve(*keys, *[{"kty": "x"}] * (64 - len(keys)))
    key_server.body = key_server.body.ljust(256 * 1024)

    assert ask() == "ada"


def test_where_nobody_listens_there_are_no_keys(forge, clock, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    guard = make_guard(forge, clock, f"http://127.0.0.1:{port}/")

    with pytest.raises(KeysUnavailable):
        guard.verify(forge.token())


def test_a_certificate_that_nobody_vouches_for_is_refused(forge, clock, key_server):
    url = key_server.url.replace("http:", "https:")  # it does not even have one
    issuer = forge.issuer(jwks=GONE, jwks_url=url)

    with pytest.raises(KeysUnavailable):
        Verifier([issuer], clock=clock).verify(forge.token())


def test_a_server_that_says_nothing_is_given_up(key_server):
    key_server.open.clear()

    with pytest.raises(FetchFailed, match="TimeoutError"):
        fetched(key_server.url, Bounds(seconds=0.05))


def test_a_server_that_drips_is_given_up(key_server):
    key_server.drips = True

    with pytest.raises(FetchFailed, match="longer"):
        fetched(key_server.url, Bounds(seconds=0.2))


class Hung:
    """A fetch that never comes back until it is told to, and then brings a key."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.release: list[threading.Event] = []

    def __call__(self):
        end = threading.Event()
        self.release.append(end)
        number = len(self.release)
        self.begun.release()
        end.wait(10)
        return Keys({("kid", "RS256"): SimpleNamespace(number=number)})


def test_a_fetch_that_hangs_is_given_up_and_what_it_brings_is_too_old(
    clock, monkeypatch
):
    monkeypatch.setattr("operon.flask.tokens.keyset._PATIENCE", 0.01)
    fetch = Hung()
    keys = FetchedKeys("issuer", fetch, clock)
    name = ("kid", "RS256")
    with pytest.raises(KeysUnavailable):
        keys.find(name)
    assert fetch.begun.acquire(timeout=10)
    first = keys._under_way

    clock.turn(seconds=14)
    with pytest.raises(KeysUnavailable):
        keys.find(name)
    assert keys._under_way is first

    clock.turn(seconds=1)
    with pytest.raises(KeysUnavailable):
        keys.find(name)
    assert fetch.begun.acquire(timeout=10)
    second = keys._under_way
    fetch.release[1].set()
    assert second.done.wait(10)
    fetch.release[0].set()
    assert first.done.wait(10)

    assert keys.find(name).number == 2


def test_without_a_thread_to_fetch_in_there_are_no_keys(
    ask, clock, monkeypatch, caplog
):
    def fail(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(KeysUnavailable):
            ask()
    assert "no thread" in caplog.text

    clock.turn(seconds=5)
    assert ask() == "ada"
