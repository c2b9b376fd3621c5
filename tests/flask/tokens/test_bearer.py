"""One header, one scheme, one token: anything else is told apart exactly."""

import pytest

from operon.flask.tokens import InvalidRequest
from operon.flask.tokens import InvalidToken
from operon.flask.tokens import Reason
from operon.flask.tokens import bearer_token


@pytest.mark.parametrize(
    "header",
    [
        "Bearer abc.def.ghi",
        "bearer abc.def.ghi",
        "BEARER abc.def.ghi",
        "bEaReR  abc.def.ghi",
    ],
)
def test_the_token_of_a_bearer_header_is_returned(header):
    assert bearer_token([header]) == "abc.def.ghi"


def test_no_header_is_no_token():
    assert bearer_token([]) is None


@pytest.mark.parametrize(
    "header",
    ["Basic YWRhOmFkYQ==", "Basic", "DPoP abc", 'Digest username="ada", realm="x"'],
)
def test_another_scheme_is_no_token(header):
    assert bearer_token([header]) is None


@pytest.mark.parametrize(
    "headers",
    [
        ["Bearer a.b.c", "Bearer a.b.c"],
        ["Bearer a.b.c", "Basic x"],
        ["Basic x", "Basic x"],
        ["Bearer a.b.c", ""],
        ["", ""],
        ["Bearer a.b.c,Bearer d.e.f"],
        ["Bearer a.b.c, Bearer d.e.f"],
        ["Bearer a.b.c,bearer d.e.f"],
        ["Bearer a.b.c, Basic x"],
        ["Bearer a.b.c,"],
        ["Basic x,Bearer a.b.c"],
        ["Basic x,\tBearer a.b.c"],
    ],
)
def test_several_headers_are_refused_also_when_a_server_joined_them(headers):
    with pytest.raises(InvalidRequest):
        bearer_token(headers)


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Bearer\ta.b.c",
        "Bearer a.b.c ",
        " Bearer a.b.c",
        "Bearer a.b.c\n",
        "Bearer a b",
        "Bearer a.b.c realm=x",
        "Bearer:a.b.c",
        "Bearer =",
        "Bearer é",
        'Bearer "a.b.c"',
        "Bearer a.b.c\0",
        "Bearer token=a.b.c",
        "a b\nc",
        "Bäsic x",
    ],
)
def test_what_is_no_scheme_and_token_is_refused(header):
    with pytest.raises(InvalidToken) as caught:
        bearer_token([header])

    assert caught.value.reason is Reason.MALFORMED_CREDENTIALS


def test_a_header_that_is_too_long_is_refused_before_it_is_read():
    assert bearer_token(["Bearer " + "a" * 8192]) == "a" * 8192
    with pytest.raises(InvalidToken) as caught:
        bearer_token(["Bearer " + "a" * 8193])

    assert caught.value.reason is Reason.TOO_LARGE
