"""What stands between a text and its column: a size limit and the user's codec.

A user's codec compresses or encrypts; its name is stored beside what it made.
This file must not know what the texts mean.
"""

import base64
import logging
from typing import Protocol

from operon.codec._refusals import NotEncodable
from operon.codec._refusals import Undecodable

_logger = logging.getLogger("operon.codec")


class PayloadCodec(Protocol):
    """What a user gives to compress or encrypt payloads."""

    name: str
    """Stored beside each payload; to change how payloads are made, change it."""

    def encode(self, data: bytes) -> bytes:
        """Return what to store for *data*."""
        ...

    def decode(self, data: bytes) -> bytes:
        """Return what `encode` was given when it returned *data*."""
        ...


class Payloads:
    """Wraps texts on their way to the database and unwraps them on their way back."""

    def __init__(self, codec: PayloadCodec | None, warn: int, maximum: int) -> None:
        """Wrap by *codec*, warn over *warn* bytes, refuse over *maximum* bytes.

        Sizes are those of what is stored.
        """
        self._codec = codec
        self._warn = warn
        self._maximum = maximum

    def wrap(self, text: str, path: str) -> tuple[str, str | None]:
        """Return what to store for *text*, and the name of the codec that made it.

        Raises:
            NotEncodable: It is too large; *path* says of what.
        """
        stored, name = text, None
        if self._codec is not None:
            wrapped = self._codec.encode(text.encode())
            stored, name = base64.b64encode(wrapped).decode(), self._codec.name
        self._weigh(len(stored.encode()), path)
        return stored, name

    def unwrap(self, stored: str, codec_name: str | None) -> str:
        """Return the text that *stored* was made of by the codec *codec_name*.

        Raises:
            Undecodable: The codec is not known here, or cannot read it.
        """
        if codec_name is None:
            return stored
        if self._codec is None or self._codec.name != codec_name:
            known = "none" if self._codec is None else repr(self._codec.name)
            problem = f"it was stored by the payload codec {codec_name!r}"
            raise Undecodable(f"{problem}; known here is {known}")
        try:
            return self._codec.decode(base64.b64decode(stored, validate=True)).decode()
        except Exception as error:
            problem = f"the payload codec {codec_name!r} cannot read it: {error}"
            raise Undecodable(problem) from error

    def _weigh(self, size: int, path: str) -> None:
        """Refuse or warn about the *size* in bytes of what stands at *path*."""
        if size > self._maximum:
            limit = f"payload_max is {self._maximum}"
            cure = "store it in a table of your own and return its key"
            raise NotEncodable(path, f"takes {size} bytes and {limit}; {cure}")
        if size > self._warn:
            message = "%s takes %d bytes, more than payload_warn, which is %d"
            _logger.warning(message, path, size, self._warn)
