import logging
import zlib

import pytest

from operon.codec import NotEncodable
from operon.codec import Payloads
from operon.codec import Undecodable


class Compressed:
    name = "zlib"

    def encode(self, data):
        return zlib.compress(data)

    def decode(self, data):
        return zlib.decompress(data)


plain = Payloads(None, warn=100, maximum=1000)
compressed = Payloads(Compressed(), warn=100, maximum=1000)


def test_stores_the_text_itself_without_a_codec():
    assert plain.wrap('"\\u0000é"', "result") == ('"\\u0000é"', None)


def test_unwraps_what_it_wrapped():
    text = '{"a":"é"}' * 500

    stored, name = compressed.wrap(text, "result")

    assert stored.isascii()
    assert name == "zlib"
    assert compressed.unwrap(stored, name) == text


def test_unwraps_what_was_stored_before_there_was_a_codec():
    assert compressed.unwrap("1", None) == "1"


@pytest.mark.parametrize("payloads", [plain, Payloads(None, 1, 1)])
def test_refuses_a_codec_that_it_does_not_know_naming_it(payloads):
    with pytest.raises(Undecodable, match="'zlib'; known here is none"):
        payloads.unwrap("eJw=", "zlib")


def test_refuses_another_codec_naming_both():
    with pytest.raises(Undecodable, match="'aes'; known here is 'zlib'"):
        compressed.unwrap("eJw=", "aes")


@pytest.mark.parametrize("stored", ["eJw=", "no base64", "é"])
def test_refuses_what_its_codec_cannot_read(stored):
    with pytest.raises(Undecodable, match="'zlib' cannot read it"):
        compressed.unwrap(stored, "zlib")


def test_refuses_a_payload_over_the_maximum_naming_size_and_limit():
    with pytest.raises(NotEncodable) as caught:
        plain.wrap("é" * 501, "result")

    assert caught.value.path == "result"
    assert "1002 bytes" in caught.value.reason
    assert "payload_max is 1000" in caught.value.reason


def test_warns_of_a_large_payload(caplog):
    with caplog.at_level(logging.WARNING, logger="operon.codec"):
        plain.wrap("a" * 101, "input")

    assert "input takes 101 bytes" in caplog.text


def test_says_nothing_of_a_small_payload(caplog):
    plain.wrap("a" * 100, "input")

    assert caplog.text == ""
