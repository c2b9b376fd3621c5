"""A proxy that speaks PostgreSQL's protocol: it counts, and breaks things on cue.

It understands messages, not segments, so a fault hits the same statement whether it
is sent simply, prepared or in a pipeline. It knows nothing of Operon.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from typing import TypeVar

from sqlalchemy import make_url

from tests.wire_faults import CutError
from tests.wire_faults import Fault
from tests.wire_faults import Hold
from tests.wire_faults import Pattern
from tests.wire_protocol import Framer
from tests.wire_protocol import Ledger
from tests.wire_protocol import Message
from tests.wire_protocol import asks_for_encryption

HOST = "127.0.0.1"
CHUNK = 65_536  # bytes read at once
ASYNCHRONOUS = {"A", "N", "S"}  # notifications, notices, settings: no answers
ENDS = {"C", "I", "s", "E", "Z"}  # whatever may be the last of an answer
UNCOUNTED = {"", "X", "p"}  # startup, goodbye and passwords: no work


AnyFault = TypeVar("AnyFault", bound=Fault)


class WireProxy:
    """Stands between clients and the PostgreSQL server at *host* and *port*.

    Counters are the sum over all connections since the last `reset`; faults strike
    once, whichever connection sends the command they wait for. Encryption is declined
    in the server's name, so clients must not insist on it.
    """

    def __init__(self, host: str, port: int) -> None:
        self.refuse = False
        """Whether new connections are closed as soon as they are accepted."""

        self.delay = 0.0
        """Seconds that everything takes in each direction."""

        self.changed = threading.Condition()
        self._upstream = (host, port)
        self._closing = False
        self._links: list[_Link] = []
        self._before: list[Fault] = []
        self._after: list[Fault] = []
        self._cuts: dict[tuple[int, bool], Fault] = {}
        self.reset()
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="wire-accept")
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

    def url(self, server_url: str) -> str:
        """Return *server_url* (SQLAlchemy's or libpq's) leading through the proxy."""
        url = make_url(server_url).set(host=HOST, port=self.port)
        return url.render_as_string(hide_password=False)

    def reset(self) -> None:
        """Count from zero again; faults stay."""
        with self.changed:
            self.statements: list[str] = []
            """The SQL that clients had executed, in the order it was sent on."""

            self.commits = 0
            """COMMITs the server has acknowledged, whether the client heard or not."""

            self.round_trips = 0
            """How often a client asked something and had to wait for the answer."""

            self.events = 0
            """Messages from clients after their startup, goodbyes excepted."""

    def lose_reply_to(self, pattern: Pattern) -> Fault:
        """Let the server execute a command, then cut before its answer gets back."""
        return self._arm(self._after, Fault(self.changed, pattern))

    def cut_before(self, pattern: Pattern) -> Fault:
        """Cut both sides when a command comes, before the server gets it."""
        return self._arm(self._before, Fault(self.changed, pattern))

    def hold_reply(self, pattern: Pattern) -> Hold:
        """Let the server execute a command, but keep its answer back."""
        return self._arm(self._after, Hold(self.changed, pattern))

    def hold_request(self, pattern: Pattern) -> Hold:
        """Keep a command back, and all that its client sends after it."""
        return self._arm(self._before, Hold(self.changed, pattern))

    def cut_at(self, event: int, *, after: bool = False) -> Fault:
        """Cut before, or just after, the client message that is number *event*.

        The first one after `reset` is number 1, as in `events`. A message cut after
        was sent to the server, which may or may not act on it.
        """
        fault = Fault(self.changed, lambda _: False)
        with self.changed:
            if event <= self.events:
                raise ValueError(f"event {event} is past: {self.events} were counted")
            self._cuts[event, after] = fault
        return fault

    def cut_all(self) -> None:
        """Cut every connection there is; new ones are welcome (see `refuse`)."""
        with self.changed:
            links = list(self._links)
        for link in links:
            link.sever()

    def close(self) -> None:
        """Cut everything and wait until every thread has ended."""
        with self.changed:
            self._closing = True
        with suppress(OSError):  # wakes the acceptor, on every system
            socket.create_connection((HOST, self.port)).close()
        self._acceptor.join()
        self._listener.close()
        for link in self._links:
            link.sever()
            link.join()

    def _arm(self, where: list[Fault], fault: AnyFault) -> AnyFault:
        with self.changed:
            where.append(fault)
        return fault

    def _accept(self) -> None:
        """Serve clients until the proxy closes."""
        while True:
            client, _ = self._listener.accept()
            with self.changed:
                self._links = [link for link in self._links if link.alive]
                closing, refuse = self._closing, self.refuse
            if not closing and not refuse:
                self._connect(client)
            else:
                client.close()
            if closing:
                return

    def _connect(self, client: socket.socket) -> None:
        """Serve *client* if the server can be reached, else hang up."""
        try:
            server = socket.create_connection(self._upstream)
        except OSError:
            client.close()
            return
        link = _Link(self, client, server)
        with self.changed:
            self._links.append(link)
        link.start()

    def strike_before(self, sql: str | None) -> Fault | None:
        """Count a client's message; return the fault to strike before it is sent."""
        self.events += 1
        cut = self._cuts.pop((self.events, False), None)
        return self._taken(self._before, sql) if cut is None else cut

    def strike_after(self, sql: str | None) -> Fault | None:
        """Count what a message executes; return the fault its answer will meet."""
        if sql is not None:
            self.statements.append(sql)
        return self._taken(self._after, sql)

    def strike_now(self, event: int) -> Fault | None:
        """Return the fault to strike once the message number *event* is sent."""
        return self._cuts.pop((event, True), None)

    def _taken(self, faults: list[Fault], sql: str | None) -> Fault | None:
        if sql is None:
            return None
        return next((fault for fault in faults if fault.take(sql)), None)


class _Link:
    """One client's connection and the connection to the server made for it."""

    def __init__(
        self, proxy: WireProxy, client: socket.socket, server: socket.socket
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._ledger = Ledger()
        self._severed = False
        self._muted = False
        self._requests = b""
        self._replies = b""
        self._kept = b""
        self._in_hand = False
        self._serving = 2
        self._threads = [
            threading.Thread(target=self._serve, args=(pump,), name=pump.__name__)
            for pump in (self._pump_requests, self._pump_replies)
        ]
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def alive(self) -> bool:
        """Whether a thread still serves the connection."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Begin to serve."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until both threads have ended."""
        for thread in self._threads:
            thread.join()

    def sever(self) -> None:
        """Cut both sides and wake whoever waits for them.

        `close` alone would leave a thread that is blocked in `recv` asleep.
        """
        with self._proxy.changed:
            self._severed = True
            self._proxy.changed.notify_all()
        for end in (self._client, self._server):
            with suppress(OSError):  # it is down already
                end.shutdown(socket.SHUT_RDWR)

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until *condition* holds or *timeout* ends.

        Raises:
            CutError: The connection was cut meanwhile.
        """
        with self._proxy.changed:
            self._proxy.changed.wait_for(lambda: self._severed or condition(), timeout)
            if self._severed:
                raise CutError

    def _serve(self, pump: Callable[[], None]) -> None:
        """Run *pump* to its end; the last of the two closes the sockets."""
        try:
            with suppress(OSError):
                pump()
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._proxy.changed:
            self._serving -= 1
            last = self._serving == 0
        if last:
            self._client.close()
            self._server.close()

    def _pump_requests(self) -> None:
        """Carry what the client says until it hangs up."""
        framer = Framer(startup=True)
        try:
            while chunk := self._received():
                self._delay()
                for message in framer.feed(chunk):
                    self._request(message)
                self._in_hand = False
                self._flush_requests()
        finally:
            with suppress(OSError):  # the server has gone first
                self._server.shutdown(socket.SHUT_WR)

    def _pump_replies(self) -> None:
        """Carry what the server says until it hangs up."""
        framer = Framer()
        try:
            while chunk := self._server.recv(CHUNK):
                self._delay()
                for message in framer.feed(chunk):
                    self._reply(message)
                self._flush_replies()
        finally:
            self.sever()

    def _received(self) -> bytes:
        """Wait for what the client says, and take it in hand."""
        self._client.recv(1, socket.MSG_PEEK)
        with self._proxy.changed:
            self._in_hand = True
            return self._client.recv(CHUNK)

    def _has_said_more(self) -> bool:
        """Whether the client did not wait for the answer that comes just now."""
        try:
            unread = self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self._in_hand
        return self._in_hand or bool(unread)

    def _delay(self) -> None:
        if self._proxy.delay:
            self.wait(lambda: False, self._proxy.delay)

    def _request(self, message: Message) -> None:
        """Send *message* to the server, unless a fault forbids it."""
        if asks_for_encryption(message):
            self._client.sendall(b"N")
            return
        if message.kind in UNCOUNTED:
            self._requests += message.raw
            return
        with self._proxy.changed:
            sql = self._ledger.command(message)
            fault = self._proxy.strike_before(sql)
            event = self._proxy.events
        if fault is not None:
            self._flush_requests()
            fault.strike(self)
        with self._proxy.changed:
            self._proxy.round_trips += self._ledger.asks(message)
            self._ledger.sent(message, self._proxy.strike_after(sql))
            fault = self._proxy.strike_now(event)
        self._requests += message.raw
        if fault is not None:
            self._muted = True  # the answer may be here before the cut is
            self._flush_requests()
            fault.strike(self)

    def _reply(self, message: Message) -> None:
        """Send *message* to the client, unless it belongs to a command with a fault."""
        with self._proxy.changed:
            kept = self._ledger.withheld() and message.kind not in ASYNCHRONOUS
            self._proxy.commits += message.kind == "C" and message.text() == "COMMIT"
            due = self._ledger.answered(message)
            if message.kind in ENDS and not self._has_said_more():
                self._ledger.rest()
        if kept:
            self._kept += message.raw
        else:
            self._replies += message.raw
        if due is not None:
            self._flush_replies()
            due.strike(self)
            self._replies, self._kept = self._kept, b""

    def _flush_requests(self) -> None:
        data, self._requests = self._requests, b""
        self._server.sendall(data)

    def _flush_replies(self) -> None:
        data, self._replies = self._replies, b""
        if not self._muted:
            self._client.sendall(data)
