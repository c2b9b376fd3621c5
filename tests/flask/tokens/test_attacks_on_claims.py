"""Claims: well signed is not yet true here, now and for whom it says."""

from types import SimpleNamespace

import pytest

from operon.flask.tokens import InvalidToken
from operon.flask.tokens import KeysUnavailable
from operon.flask.tokens import Reason
from operon.flask.tokens import Verifier
from tests.flask.tokens.forge import AUDIENCE
from tests.flask.tokens.forge import GONE
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import NOW

DAY = 86_400

ATTACKS = {
    "no exp": ({"exp": GONE}, Reason.MISSING_CLAIM),
    "no iat": ({"iat": GONE}, Reason.MISSING_CLAIM),
    "no sub": ({"sub": GONE}, Reason.MISSING_CLAIM),
    "no aud": ({"aud": GONE}, Reason.MISSING_CLAIM),
    "no iss": ({"iss": GONE}, Reason.UNKNOWN_ISSUER),
    "iss of nobody": ({"iss": "https://evil.example.org/"}, Reason.UNKNOWN_ISSUER),
    "iss without its slash": ({"iss": ISSUER[:-1]}, Reason.UNKNOWN_ISSUER),
    "iss in other case": ({"iss": ISSUER.upper()}, Reason.UNKNOWN_ISSUER),
    "iss with more behind": ({"iss": ISSUER + ".evil.org"}, Reason.UNKNOWN_ISSUER),
    "iss that is a list": ({"iss": [ISSUER]}, Reason.UNKNOWN_ISSUER),
    "iss that is an object": ({"iss": {ISSUER: 1}}, Reason.UNKNOWN_ISSUER),
    "iss that is null": ({"iss": None}, Reason.UNKNOWN_ISSUER),
    "aud of another service": ({"aud": "bank"}, Reason.WRONG_AUDIENCE),
    "aud that begins like ours": ({"aud": "shop-admin"}, Reason.WRONG_AUDIENCE),
    "aud that is part of ours": ({"aud": "sho"}, Reason.WRONG_AUDIENCE),
    "aud in other case": ({"aud": "SHOP"}, Reason.WRONG_AUDIENCE),
    "aud that is empty": ({"aud": ""}, Reason.WRONG_AUDIENCE),
    "aud of no services": ({"aud": []}, Reason.WRONG_AUDIENCE),
    "aud of other services": ({"aud": ["bank", "shops"]}, Reason.WRONG_AUDIENCE),
    "aud in a list in a list": ({"aud": [[AUDIENCE]]}, Reason.MALFORMED_CLAIM),
    "aud beside a number": ({"aud": [AUDIENCE, 1]}, Reason.MALFORMED_CLAIM),
    "aud that is an object": ({"aud": {AUDIENCE: 1}}, Reason.MALFORMED_CLAIM),
    "aud that is null": ({"aud": None}, Reason.MALFORMED_CLAIM),
    "exp that is past": ({"exp": NOW - 31}, Reason.EXPIRED),
    "exp at the end of the leeway": ({"exp": NOW - 30}, Reason.EXPIRED),
    "exp a fraction before it": ({"exp": NOW - 30.001}, Reason.EXPIRED),
    "exp that is zero": ({"exp": 0}, Reason.EXPIRED),
    "exp that is text": ({"exp": str(NOW + 600)}, Reason.MALFORMED_CLAIM),
    "exp that is a date": ({"exp": "2099-01-01T00:00:00Z"}, Reason.MALFORMED_CLAIM),
    "exp that is true": ({"exp": True}, Reason.MALFORMED_CLAIM),
    "exp that is null": ({"exp": None}, Reason.MALFORMED_CLAIM),
    "exp that is a list": ({"exp": [NOW + 600]}, Reason.MALFORMED_CLAIM),
    "exp that is an object": ({"exp": {}}, Reason.MALFORMED_CLAIM),
    "exp that is negative": ({"exp": -1}, Reason.MALFORMED_CLAIM),
    "exp in milliseconds": ({"exp": (NOW + 600) * 1000}, Reason.MALFORMED_CLAIM),
    "exp of 300 digits": ({"exp": 10**300}, Reason.MALFORMED_CLAIM),
    "exp that is huge": ({"exp": 1e308}, Reason.MALFORMED_CLAIM),
    "exp in a hundred years": ({"exp": NOW + 36_500 * DAY}, Reason.LIVES_TOO_LONG),
    "exp a second too late": ({"exp": NOW - 60 + DAY + 1}, Reason.LIVES_TOO_LONG),
    "iat so early that it lives too long": ({"iat": 0}, Reason.LIVES_TOO_LONG),
    "iat in the future": ({"iat": NOW + 31}, Reason.NOT_YET_VALID),
    "iat tomorrow": ({"iat": NOW + DAY, "exp": NOW + 2 * DAY}, Reason.NOT_YET_VALID),
    "iat after exp": ({"iat": NOW, "exp": NOW - 1}, Reason.MALFORMED_CLAIM),
    "iat that is text": ({"iat": str(NOW)}, Reason.MALFORMED_CLAIM),
    "iat that is false": ({"iat": False}, Reason.MALFORMED_CLAIM),
    "iat that is negative": ({"iat": -5}, Reason.MALFORMED_CLAIM),
    "iat that is null": ({"iat": None}, Reason.MALFORMED_CLAIM),
    "nbf in the future": ({"nbf": NOW + 31}, Reason.NOT_YET_VALID),
    "nbf after exp": ({"nbf": NOW + 20, "exp": NOW + 10}, Reason.MALFORMED_CLAIM),
    "nbf that is text": ({"nbf": "0"}, Reason.MALFORMED_CLAIM),
    "nbf that is true": ({"nbf": True}, Reason.MALFORMED_CLAIM),
    "nbf that is null": ({"nbf": None}, Reason.MALFORMED_CLAIM),
    "sub that is empty": ({"sub": ""}, Reason.MALFORMED_CLAIM),
    "sub that is too long": ({"sub": "x" * 256}, Reason.MALFORMED_CLAIM),
    "sub that is a number": ({"sub": 1}, Reason.MALFORMED_CLAIM),
    "sub that is null": ({"sub": None}, Reason.MALFORMED_CLAIM),
    "sub that is a list": ({"sub": ["ada"]}, Reason.MALFORMED_CLAIM),
    "sub with a NUL": ({"sub": "ada\0root"}, Reason.MALFORMED_CLAIM),
    "sub with a line break": ({"sub": "ada\nroot"}, Reason.MALFORMED_CLAIM),
    "sub that reads backwards": ({"sub": "ada\u202eroot"}, Reason.MALFORMED_CLAIM),
    "sub with what nobody sees": ({"sub": "ada\u200b"}, Reason.MALFORMED_CLAIM),
    "jti that is a number": ({"jti": 1}, Reason.MALFORMED_CLAIM),
    "tenant that is a list": ({"tenant": ["acme"]}, Reason.MALFORMED_CLAIM),
    "tenant that is a number": ({"tenant": 7}, Reason.MALFORMED_CLAIM),
    "tenant that is null": ({"tenant": None}, Reason.MALFORMED_CLAIM),
    "tenant that is empty": ({"tenant": ""}, Reason.MALFORMED_CLAIM),
    "client that is an object": ({"client_id": {}}, Reason.MALFORMED_CLAIM),
    "client with a tab": ({"client_id": "web\t"}, Reason.MALFORMED_CLAIM),
    "scope that is a number": ({"scope": 1}, Reason.MALFORMED_CLAIM),
    "scope that is null": ({"scope": None}, Reason.MALFORMED_CLAIM),
    "scope that is true": ({"scope": True}, Reason.MALFORMED_CLAIM),
    "scope that is an object": ({"scope": {"a": 1}}, Reason.MALFORMED_CLAIM),
    "scope with two spaces": ({"scope": "a  b"}, Reason.MALFORMED_CLAIM),
    "scope with a tab": ({"scope": "a\tb"}, Reason.MALFORMED_CLAIM),
    "scope with a line break behind": ({"scope": "a b\n"}, Reason.MALFORMED_CLAIM),
    "scope with a quote": ({"scope": 'a"b'}, Reason.MALFORMED_CLAIM),
    "scope beyond ASCII": ({"scope": "é"}, Reason.MALFORMED_CLAIM),
    "scopes that hold a number": ({"scope": ["a", 1]}, Reason.MALFORMED_CLAIM),
    "scopes in one of a list": ({"scope": ["a b"]}, Reason.MALFORMED_CLAIM),
    "roles that are text": ({"roles": "customer"}, Reason.MALFORMED_CLAIM),
    "roles that are null": ({"roles": None}, Reason.MALFORMED_CLAIM),
    "roles that are an object": ({"roles": {"a": 1}}, Reason.MALFORMED_CLAIM),
    "roles that hold a list": ({"roles": [["customer"]]}, Reason.MALFORMED_CLAIM),
    "roles that hold null": ({"roles": [None]}, Reason.MALFORMED_CLAIM),
    "roles that hold nothing": ({"roles": [""]}, Reason.MALFORMED_CLAIM),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_claims_that_do_not_hold_are_refused_however_well_signed(guard, forge, name):
    claims, reason = ATTACKS[name]

    with pytest.raises(InvalidToken) as caught:
        guard.verify(forge.token(claims=claims))

    assert caught.value.reason is reason


GOOD = {
    "one second left of the leeway": {"exp": NOW - 29},
    "a fraction left of the leeway": {"exp": NOW - 29.5},
    "issued as far ahead as clocks may differ": {"iat": NOW + 30},
    "valid from as far ahead": {"nbf": NOW + 30},
    "the longest life": {"exp": NOW - 60 + DAY},
    "times with fractions": {"iat": NOW - 0.5, "exp": NOW + 1.5},
    "for several services": {"aud": ["bank", AUDIENCE]},
    "the longest subject": {"sub": "x" * 255},
    "claims nobody asked for": {"jti": "1", "email": "ada@example.org", "x": {"y": 1}},
}


@pytest.mark.parametrize("name", GOOD)
def test_claims_that_just_hold_are_accepted(guard, forge, name):
    assert guard.verify(forge.token(claims=GOOD[name])).issuer == ISSUER


def test_a_token_is_refused_once_its_time_is_over(guard, forge, clock):
    token = forge.token()

    clock.turn(minutes=10, seconds=29)
    assert guard.verify(token).subject == "ada"

    clock.turn(seconds=1)
    with pytest.raises(InvalidToken) as caught:
        guard.verify(token)
    assert caught.value.reason is Reason.EXPIRED


def test_scopes_and_roles_are_exact_sets(guard, forge):
    claims = {"scope": "orders:write orders", "roles": ["customer,admin", "a b"]}

    principal = guard.verify(forge.token(claims=claims))

    assert principal.scopes == {"orders:write", "orders"}
    assert principal.roles == {"customer,admin", "a b"}


@pytest.mark.parametrize("scope", ["", [], GONE])
def test_no_scope_is_no_scope(guard, forge, scope):
    principal = guard.verify(forge.token(claims={"scope": scope, "roles": GONE}))

    assert (principal.scopes, principal.roles) == (set(), set())


def test_scopes_may_come_in_a_list_and_claims_under_other_names(forge, clock):
    issuer = forge.issuer(
        tenant_claim="org",
        client_claim="azp",
        scope_claim="scp",
        roles_claim="https://r",
    )
    claims = {"org": "acme2", "azp": "app", "scp": ["a", "b"], "https://r": ["admin"]}

    principal = Verifier([issuer], clock=clock).verify(forge.token(claims=claims))

    assert (principal.tenant, principal.client) == ("acme2", "app")
    assert (principal.scopes, principal.roles) == ({"a", "b"}, {"admin"})


def test_who_a_token_does_not_tell_is_nobody(guard, forge):
    principal = guard.verify(forge.token(claims={"tenant": GONE, "client_id": GONE}))

    assert (principal.tenant, principal.client) == (None, None)


def test_a_revoked_token_is_refused_though_everything_else_holds(forge, clock):
    asked = []

    def revoked(claims):
        asked.append(claims)
        return claims["jti"] == "stolen"

    guard = Verifier([forge.issuer(revoked=revoked)], clock=clock)

    assert guard.verify(forge.token(claims={"jti": "mine"})).subject == "ada"
    with pytest.raises(InvalidToken) as caught:
        guard.verify(forge.token(claims={"jti": "stolen"}))

    assert caught.value.reason is Reason.REVOKED
    assert [claims["jti"] for claims in asked] == ["mine", "stolen"]


def test_nobody_is_asked_about_a_token_that_is_bad_already(forge, clock):
    asked = SimpleNamespace(times=0)

    def revoked(_claims):
        asked.times += 1
        return False

    guard = Verifier([forge.issuer(revoked=revoked)], clock=clock)
    for token in (forge.token(claims={"exp": 1}), forge.token(sign=lambda _m: b"x")):
        with pytest.raises(InvalidToken):
            guard.verify(token)

    assert asked.times == 0


def test_a_hook_that_fails_lets_nothing_pass(forge, clock, caplog):
    def revoked(claims):
        raise LookupError(claims["sub"])

    guard = Verifier([forge.issuer(revoked=revoked)], clock=clock)

    with pytest.raises(InvalidToken) as caught:
        guard.verify(forge.token())

    assert caught.value.reason is Reason.UNDECIDED
    assert "LookupError" in caplog.text
    assert "ada" not in caplog.text


def test_a_hook_may_say_that_nobody_can_say_now(forge, clock):
    def revoked(_claims):
        raise KeysUnavailable(7)

    guard = Verifier([forge.issuer(revoked=revoked)], clock=clock)

    with pytest.raises(KeysUnavailable) as caught:
        guard.verify(forge.token())

    assert caught.value.retry_after == 7


def test_a_hook_cannot_change_the_claims(forge, clock):
    def revoked(claims):
        claims["sub"] = "root"

    guard = Verifier([forge.issuer(revoked=revoked)], clock=clock)

    with pytest.raises(InvalidToken):
        guard.verify(forge.token())


def test_an_issuer_older_than_the_types_may_be_opted_in(forge, clock):
    guard = Verifier([forge.issuer(types=("at+jwt", "JWT"))], clock=clock)

    for typ in ("JWT", "jwt", "at+jwt"):
        assert guard.verify(forge.token({"typ": typ})).subject == "ada"
    with pytest.raises(InvalidToken):
        guard.verify(forge.token({"typ": "logout+jwt"}))
