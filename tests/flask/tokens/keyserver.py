"""A server of key sets on this machine, which can misbehave in every way."""

import json
import threading
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    server: "KeyServer"

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.arrived.release()
        self.server.open.wait(30)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.drips:
            self._drip()
        else:
            self.wfile.write(self.server.body)

    def _drip(self) -> None:
        """Send a byte at a time, each soon enough not to be waited for in vain."""
        for byte in self.server.body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.closing.wait(0.02):
                return

    def log_message(self, *_args: Any) -> None:
        """Say nothing: the log is what some tests read."""


class KeyServer(ThreadingHTTPServer):
    """Answers every GET with its status, headers and body, once its gate is open.

    Attributes:
        drips: Whether a body comes a byte at a time.
        paths: What was asked for so far.
        open: The gate; an answer waits while it is closed.
        arrived: Counts requests that arrived and nobody has acquired yet.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.drips = False
        self.paths: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.closing = threading.Event()
        self.arrived = threading.Semaphore(0)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}/jwks.json"

    @property
    def hits(self) -> int:
        """How often it was asked."""
        return len(self.paths)

    def serve(self, *jwks: Any) -> None:
        """Answer with a set of *jwks* from now on."""
        self.status, self.headers = 200, {}
        self.body = json.dumps({"keys": jwks}).encode()

    def close(self) -> None:
        """Stop, and let nobody wait."""
        self.open.set()
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_args: Any) -> None:
        """Say nothing when a client went away."""
