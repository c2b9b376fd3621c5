"""Nothing of a token is told to anybody: not by errors, not by logs."""

import logging
import pickle
import re
import traceback

import pytest

from operon.flask.tokens import InvalidRequest
from operon.flask.tokens import InvalidToken
from operon.flask.tokens import KeysUnavailable
from operon.flask.tokens import Reason
from operon.flask.tokens import Verifier
from operon.flask.tokens import bearer_token
from operon.flask.tokens import compact
from tests.flask.tokens import test_attacks_on_claims
from tests.flask.tokens import test_attacks_on_headers
from tests.flask.tokens import test_attacks_on_text
from tests.flask.tokens.forge import b64

CANARY = "canary-7f3a"
TOKENS = {
    "not compact": lambda _f: f"{CANARY}.{CANARY}",
    "too large": lambda _f: CANARY * 1000,
    "beyond ASCII": lambda f: f"{f.token(claims={'x': CANARY})}é",
    "a header member": lambda f: f.token({CANARY: CANARY}),
    "a header member twice": lambda f: f.token(
        b'{"alg":"RS256","@":1,"@":2}'.replace(b"@", CANARY.encode())
    ),
    "a header that is no JSON": lambda f: f.token(CANARY.encode()),
    "a payload that is no JSON": lambda f: f.token(claims=CANARY.encode()),
    "a payload that is no UTF-8": lambda f: f.token(claims=CANARY.encode() + b"\xff"),
    "a payload with half a character": lambda f: f.token(
        claims={"x": CANARY + "\ud800"}
    ),
    "a number that is too long": lambda f: f.token(
        claims=b'{"%s":%s}' % (CANARY.encode(), b"9" * 5000)
    ),
    "a nest": lambda f: f.token(claims=f'{{"{CANARY}":{"[" * 3000}'.encode()),
    "alg": lambda f: f.token({"alg": CANARY}),
    "typ": lambda f: f.token({"typ": CANARY}),
    "kid": lambda f: f.token({"kid": CANARY}),
    "iss": lambda f: f.token(claims={"iss": CANARY}),
    "aud": lambda f: f.token(claims={"aud": CANARY}),
    "a bad signature": lambda f: f.token(
        claims={"x": CANARY}, sign=lambda _message: CANARY.encode()
    ),
    "sub": lambda f: f.token(claims={"sub": f"{CANARY}\n"}),
    "exp": lambda f: f.token(claims={"exp": CANARY}),
    "an old token": lambda f: f.token(claims={"exp": 1, "x": CANARY}),
    "scope": lambda f: f.token(claims={"scope": f"{CANARY}\t"}),
    "roles": lambda f: f.token(claims={"roles": CANARY}),
    "the hook's error": lambda f: f.token(claims={"jti": CANARY}),
}


def told(error: BaseException) -> str:
    """Return all that a handler, a logger or a debugger's first look shows of it."""
    shown = traceback.format_exception(error)
    return f"{error} {error!r} {error.args} {vars(error)} {''.join(shown)}"


@pytest.mark.parametrize("name", TOKENS)
def test_a_refusal_holds_and_logs_nothing_of_its_token(forge, clock, caplog, name):
    def revoked(claims):
        raise LookupError(dict(claims))

    guard = Verifier([forge.issuer(revoked=revoked)], clock=clock)
    token = TOKENS[name](forge)

    with caplog.at_level(logging.DEBUG), pytest.raises(InvalidToken) as caught:
        guard.verify(token)

    seen = told(caught.value) + caplog.text
    for secret in (CANARY, b64(CANARY.encode())[:-1], *token.split(".")):
        assert len(secret) < 4 or secret not in seen
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("header", [f"Bearer {CANARY} x", CANARY + "\n", f"é {CANARY}"])
def test_a_refused_header_is_not_told(header):
    with pytest.raises(InvalidToken) as caught:
        bearer_token([header])

    assert CANARY not in told(caught.value)
    assert caught.value.__context__ is None


def test_a_token_taken_apart_does_not_show_its_text(forge):
    token = forge.token(claims={"x": CANARY})

    shown = repr(compact.parsed(token))

    assert CANARY not in shown
    assert not any(part in shown for part in token.split("."))


def test_every_refusal_of_a_token_reads_the_same():
    assert {str(InvalidToken(reason)) for reason in Reason} == {
        "the access token is not valid"
    }
    assert not any(reason.value in repr(InvalidToken(reason)) for reason in Reason)


@pytest.mark.parametrize(
    "error",
    [*map(InvalidToken, Reason), InvalidRequest(), KeysUnavailable(5)],
    ids=repr,
)
def test_refusals_survive_pickling(error):
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here

    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


def test_reasons_are_slugs_and_each_of_them_is_reached_by_an_attack():
    reached = {
        reason
        for module in (
            test_attacks_on_claims,
            test_attacks_on_headers,
            test_attacks_on_text,
        )
        for _, reason in module.ATTACKS.values()
    }

    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", reason) for reason in Reason)
    assert set(Reason) - reached == {
        Reason.MALFORMED_CREDENTIALS,  # test_bearer
        Reason.REVOKED,  # test_attacks_on_claims, by hook
        Reason.UNDECIDED,  # as above
    }
