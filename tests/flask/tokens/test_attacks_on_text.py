"""A token's text: whatever two readers could read differently is read by none."""

import json

import pytest

from operon.flask.tokens import InvalidToken
from operon.flask.tokens import Reason
from tests.flask.tokens.forge import AUDIENCE
from tests.flask.tokens.forge import ISSUER
from tests.flask.tokens.forge import NOW
from tests.flask.tokens.forge import b64
from tests.flask.tokens.forge import rs


def parts(forge):
    return forge.token().split(".")


def joined(forge, change):
    """Return a good token whose parts were *change*d after they were signed."""
    head, payload, signature = parts(forge)
    return ".".join(change(head, payload, signature))


def payload(forge, text):
    """Return a well-signed token whose payload is *text*."""
    return forge.token(claims=text.encode() if isinstance(text, str) else text)


def claims_with(text):
    """Return good claims as text, and one more member, which JSON might not allow."""
    good = (
        f'"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"ada",'
        f'"iat":{NOW - 60},"exp":{NOW + 600}'
    )
    return f"{{{good},{text}}}"


def stray_bits(part):
    """Return *part* with a last character that decodes to the same bytes, if it can."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(part) % 4 in (2, 3)
    return part[:-1] + alphabet[alphabet.index(part[-1]) ^ 1]


def padded(forge):
    """Return a well-signed token whose payload is padded, before it was signed."""
    claims = json.dumps(forge.claims()).encode()
    while len(claims) % 3 == 0:
        claims += b" "
    return claims


def signed_as_is(forge, head, body):
    """Sign the parts *head* and *body* whatever they are."""
    text = f"{head}.{body}"
    return f"{text}.{b64(rs(forge.rsa)(text.encode()))}"


def good_head(forge):
    return parts(forge)[0]


def nested(levels):
    return claims_with(f'"x":{"[" * levels}{"]" * levels}')


ATTACKS = {
    "nothing": (lambda _f: "", Reason.NOT_COMPACT),
    "only dots": (lambda _f: "..", Reason.NOT_COMPACT),
    "one part": (lambda f: parts(f)[0], Reason.NOT_COMPACT),
    "two parts": (lambda f: joined(f, lambda h, p, _s: (h, p)), Reason.NOT_COMPACT),
    "four parts": (
        lambda f: joined(f, lambda h, p, s: (h, p, s, s)),
        Reason.NOT_COMPACT,
    ),
    "five parts, as a JWE": (
        lambda f: joined(f, lambda h, p, s: (h, "", p, s, s)),
        Reason.NOT_COMPACT,
    ),
    "a dot at the end": (lambda f: f.token() + ".", Reason.NOT_COMPACT),
    "a dot at the start": (lambda f: "." + f.token(), Reason.NOT_COMPACT),
    "no header": (
        lambda f: joined(f, lambda _h, p, s: ("", p, s)),
        Reason.NOT_COMPACT,
    ),
    "no payload": (
        lambda f: joined(f, lambda h, _p, s: (h, "", s)),
        Reason.MALFORMED_JSON,
    ),
    "no signature": (
        lambda f: joined(f, lambda h, p, _s: (h, p, "")),
        Reason.NOT_COMPACT,
    ),
    "a space before": (lambda f: " " + f.token(), Reason.NOT_COMPACT),
    "a space behind": (lambda f: f.token() + " ", Reason.NOT_COMPACT),
    "a line break behind": (lambda f: f.token() + "\n", Reason.NOT_COMPACT),
    "a line break inside": (
        lambda f: joined(f, lambda h, p, s: (h, p, s[:9] + "\r\n" + s[9:])),
        Reason.NOT_COMPACT,
    ),
    "a space around a dot": (
        lambda f: joined(f, lambda h, p, s: (h, p + " ", s)),
        Reason.NOT_COMPACT,
    ),
    "a NUL inside": (
        lambda f: joined(f, lambda h, p, s: (h, p, s + "\0")),
        Reason.NOT_COMPACT,
    ),
    "a padded signature": (
        lambda f: joined(f, lambda h, p, s: (h, p, s + "==")),
        Reason.NOT_COMPACT,
    ),
    "a payload padded and signed so": (
        lambda f: signed_as_is(
            f, good_head(f), b64(padded(f)) + "=" * (-len(b64(padded(f))) % 4)
        ),
        Reason.NOT_COMPACT,
    ),
    "the alphabet of plain base64": (
        lambda f: joined(f, lambda h, p, s: (h, p, s[:-2] + "+/")),
        Reason.NOT_COMPACT,
    ),
    "characters that lenient decoders skip": (
        lambda f: joined(f, lambda h, p, s: (h, p, s[:5] + "!?" + s[5:])),
        Reason.NOT_COMPACT,
    ),
    "junk behind the signature": (
        lambda f: joined(f, lambda h, p, s: (h, p, s + "=AAAA")),
        Reason.NOT_COMPACT,
    ),
    "stray bits in the signature": (
        lambda f: joined(f, lambda h, p, s: (h, p, stray_bits(s))),
        Reason.NOT_COMPACT,
    ),
    "stray bits in the payload, signed so": (
        lambda f: signed_as_is(f, good_head(f), stray_bits(b64(padded(f)))),
        Reason.NOT_COMPACT,
    ),
    "a length no bytes have": (
        lambda f: joined(f, lambda h, p, s: (h, p, s + "AAA")),
        Reason.NOT_COMPACT,
    ),
    "letters that look like others": (
        lambda f: joined(f, lambda h, p, s: (h, p, "А" + s[1:])),  # noqa: RUF001 - a Cyrillic A is the attack
        Reason.NOT_COMPACT,
    ),
    "full-width letters": (
        lambda f: joined(f, lambda h, p, s: (h, p, "ａ" + s[1:])),  # noqa: RUF001 - as above
        Reason.NOT_COMPACT,
    ),
    "a lone surrogate": (lambda f: f.token() + "\ud800", Reason.NOT_COMPACT),
    "JSON serialization": (
        lambda f: json.dumps(
            dict(zip(("protected", "payload", "signature"), parts(f), strict=True))
        ),
        Reason.NOT_COMPACT,
    ),
    "bytes": (lambda f: f.token().encode(), Reason.NOT_COMPACT),
    "no text at all": (lambda _f: None, Reason.NOT_COMPACT),
    "one character too many": (lambda _f: "a" * 8193, Reason.TOO_LARGE),
    "a megabyte of dots": (lambda _f: "." * 1_000_000, Reason.TOO_LARGE),
    "a megabyte that is well signed": (
        lambda f: f.token(claims={"x": "x" * 1_000_000}),
        Reason.TOO_LARGE,
    ),
    "a payload that is no JSON": (lambda f: payload(f, "ada"), Reason.MALFORMED_JSON),
    "a payload that is a list": (lambda f: payload(f, "[]"), Reason.MALFORMED_JSON),
    "a payload that is text": (lambda f: payload(f, '"x"'), Reason.MALFORMED_JSON),
    "a payload that is null": (lambda f: payload(f, "null"), Reason.MALFORMED_JSON),
    "a nested token": (
        lambda f: payload(f, json.dumps(f.token())),
        Reason.MALFORMED_JSON,
    ),
    "two payloads": (lambda f: payload(f, "{}{}"), Reason.MALFORMED_JSON),
    "a byte order mark": (
        lambda f: payload(f, b"\xef\xbb\xbf" + json.dumps(f.claims()).encode()),
        Reason.MALFORMED_JSON,
    ),
    "UTF-16": (
        lambda f: payload(f, json.dumps(f.claims()).encode("utf-16")),
        Reason.MALFORMED_JSON,
    ),
    "bytes that are no UTF-8": (
        lambda f: payload(f, claims_with('"x":"@"').encode().replace(b"@", b"\xff")),
        Reason.MALFORMED_JSON,
    ),
    "overlong UTF-8": (
        lambda f: payload(
            f, claims_with('"x":"@"').encode().replace(b"@", b"\xc0\xaf")
        ),
        Reason.MALFORMED_JSON,
    ),
    "half a character": (
        lambda f: payload(f, claims_with('"x":"\\ud800"')),
        Reason.MALFORMED_JSON,
    ),
    "half a character as a name": (
        lambda f: payload(f, claims_with('"\\udfff":1')),
        Reason.MALFORMED_JSON,
    ),
    "a comment": (
        lambda f: payload(f, claims_with('/* x */"x":1')),
        Reason.MALFORMED_JSON,
    ),
    "a comma too many": (
        lambda f: payload(f, claims_with("")),
        Reason.MALFORMED_JSON,
    ),
    "single quotes": (
        lambda f: payload(f, claims_with("'x':1")),
        Reason.MALFORMED_JSON,
    ),
    "a control character": (
        lambda f: payload(f, claims_with('"x":"\n"')),
        Reason.MALFORMED_JSON,
    ),
    "NaN": (lambda f: payload(f, claims_with('"x":NaN')), Reason.MALFORMED_JSON),
    "Infinity": (
        lambda f: payload(f, claims_with('"x":-Infinity')),
        Reason.MALFORMED_JSON,
    ),
    "a number that overflows": (
        lambda f: payload(f, claims_with('"x":1e400')),
        Reason.MALFORMED_JSON,
    ),
    "a number of 5000 digits": (
        lambda f: payload(f, claims_with(f'"x":{"9" * 5000}')),
        Reason.MALFORMED_JSON,
    ),
    "a claim twice": (
        lambda f: payload(f, claims_with('"sub":"root"')),
        Reason.DUPLICATE_MEMBER,
    ),
    "a claim twice, once escaped": (
        lambda f: payload(f, claims_with('"s\\u0075b":"root"')),
        Reason.DUPLICATE_MEMBER,
    ),
    "a member of a claim twice": (
        lambda f: payload(f, claims_with('"x":[{"y":1,"y":1}]')),
        Reason.DUPLICATE_MEMBER,
    ),
    "nested beyond use": (lambda f: payload(f, nested(33)), Reason.TOO_DEEP),
    "nested to break the parser": (
        lambda f: payload(f, nested(2500)),
        Reason.TOO_DEEP,
    ),
    "objects to break the parser": (
        lambda f: payload(f, claims_with('"x":' + '{"x":' * 900 + "1" + "}" * 900)),
        Reason.TOO_DEEP,
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_text_that_is_not_exactly_a_token_is_refused(guard, forge, name):
    attack, reason = ATTACKS[name]

    with pytest.raises(InvalidToken) as caught:
        guard.verify(attack(forge))

    assert caught.value.reason is reason


def test_a_token_in_which_any_one_character_was_changed_is_refused(guard, forge):
    token = forge.ec_token()
    assert guard.verify(token).subject == "ada"

    for place, character in enumerate(token):
        other = "B" if character != "B" else "C"
        with pytest.raises(InvalidToken):
            guard.verify(token[:place] + other + token[place + 1 :])


def test_a_token_that_was_cut_anywhere_is_refused(guard, forge):
    token = forge.hs_token()
    assert guard.verify(token).subject == "ada"

    for place in range(len(token)):
        with pytest.raises(InvalidToken):
            guard.verify(token[:place])


def test_what_is_unusual_but_means_one_thing_is_accepted(guard, forge):
    spaced = json.dumps(forge.claims({"sub": "Ada Łovelace"}), indent=2).encode()

    assert guard.verify(forge.token(claims=spaced)).subject == "Ada Łovelace"
    assert guard.verify(forge.token(claims=nested(30).encode())).subject == "ada"
    assert guard.verify(forge.token(claims={"x": "x" * 5000})).subject == "ada"
