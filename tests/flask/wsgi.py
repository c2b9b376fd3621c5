"""An application that is really served, and requests as bytes on a socket."""

import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPResponse
from types import TracebackType
from typing import Any
from typing import Self

from flask import Flask
from werkzeug.serving import WSGIRequestHandler
from werkzeug.serving import make_server

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds for an answer


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # HTTP/1.0 knows no chunks

    def log(self, *_args: Any) -> None:
        """Say nothing: the log is what some tests read."""


class Served:
    """Werkzeug's server, with *app*, in a thread of this process."""

    def __init__(self, app: Flask) -> None:
        self._server = make_server(HOST, 0, app, threaded=True, request_handler=_Quiet)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port


@dataclass(frozen=True)
class Received:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(port: int, parts: Iterable[bytes], *, hang_up: bool = False) -> Received:
    """Send *parts* one after another; return what is answered.

    A server may answer, and close, before it has read everything. If *hang_up*, say
    that nothing more comes.
    """
    with socket.create_connection((HOST, port), PATIENCE) as link:
        try:
            for part in parts:
                link.sendall(part)
            if hang_up:
                link.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # it has heard enough; what it said is read below
        # Only as long as it says: Werkzeug's may not close before it has drained more.
        answer = HTTPResponse(link)
        answer.begin()
        return Received(answer.status, dict(answer.headers.items()), answer.read())


def request_line(method: str, path: str, *headers: str) -> bytes:
    """Return the head of a request whose connection ends with the answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: here", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(*chunks: bytes) -> Iterable[bytes]:
    """Yield *chunks* as `Transfer-Encoding: chunked` has them."""
    for chunk in chunks:
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"
