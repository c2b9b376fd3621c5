"""A proxy on loopback that keeps everything back for a moment, in both directions.

    python -m tests.benchmarks.latency HOST PORT

Each chunk is released some time after it came, in order; chunks that come close
together are not delayed one after another, as they would not be on a long line. It
is meant to run as a process of its own, where nothing else holds the interpreter; it
says its port, and is told the delay in each direction, in seconds, line by line.
"""

import ctypes
import select
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK = 65_536  # bytes read at once
LOOK = 0.1  # seconds between two looks whether the proxy is closing
PR_SET_TIMERSLACK = 29  # the kernel adds 0.05 ms to each timeout unless told


class LatencyProxy:
    """Stands between clients and the server at *host* and *port*.

    Args:
        host: Where the server listens.
        port: Where the server listens.
        delay: Seconds that everything takes in each direction.
    """

    def __init__(self, host: str, port: int, delay: float) -> None:
        self.delay = delay
        self._upstream = (host, port)
        self._closing = False
        self._links: list[threading.Thread] = []
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more clients, and hang up on those there are."""
        self._closing = True
        with suppress(OSError):  # wakes the acceptor, on every system
            socket.create_connection((HOST, self.port)).close()
        self._acceptor.join()
        self._listener.close()
        for link in self._links:
            link.join()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closing:
                client.close()
                return
            link = threading.Thread(target=self._serve, args=(client,), daemon=True)
            link.start()
            self._links.append(link)

    def _serve(self, client: socket.socket) -> None:
        """Carry what both sides say until one hangs up."""
        _be_punctual()
        with (
            suppress(OSError),  # one of them is gone
            client,
            socket.create_connection(self._upstream) as server,
        ):
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._carry({client: _Way(client, server), server: _Way(server, client)})

    def _carry(self, ways: "dict[socket.socket, _Way]") -> None:
        while not self._closing:
            now = time.monotonic()
            pauses = [way.forward(now) for way in ways.values()]
            if all(way.is_over for way in ways.values()):
                return
            talking = [end for end, way in ways.items() if way.is_open]
            heard, _, _ = select.select(talking, [], [], min(pauses))
            now = time.monotonic()
            for end in heard:
                ways[end].take(now + self.delay)


class _Way:
    """One direction of a connection, and what is on the way.

    Attributes:
        is_open: Whether more may be said.
        is_over: Whether its end has arrived.
    """

    def __init__(self, origin: socket.socket, target: socket.socket) -> None:
        self.is_open = True
        self.is_over = False
        self._origin = origin
        self._target = target
        self._travelling: deque[tuple[float, bytes]] = deque()

    def take(self, due: float) -> None:
        """Take what was said, or that it was all; it arrives when it is *due*."""
        chunk = self._origin.recv(CHUNK)
        self._travelling.append((due, chunk))
        self.is_open = chunk != b""

    def forward(self, now: float) -> float:
        """Deliver what is due; return how long nothing more will be."""
        while self._travelling and self._travelling[0][0] <= now:
            _, chunk = self._travelling.popleft()
            if chunk:
                self._target.sendall(chunk)
            else:
                self._target.shutdown(socket.SHUT_WR)
                self.is_over = True
        return self._travelling[0][0] - now if self._travelling else LOOK


def _be_punctual() -> None:
    """Ask the kernel for exact timeouts in this thread, where it knows how."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)


def main() -> None:
    host, port = sys.argv[1:]
    with LatencyProxy(host, int(port), 0.0) as proxy:
        print(proxy.port, flush=True)
        for line in sys.stdin:
            proxy.delay = float(line)


if __name__ == "__main__":
    main()
