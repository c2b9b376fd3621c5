"""What PostgreSQL's clients and servers say to each other, and what it means.

It knows the protocol and no sockets: `tests.wire` moves the bytes.

Source:
    PostgreSQL, "Frontend/Backend Protocol", version 3.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.wire_faults import Fault

ENCRYPTION_REQUESTS = {80_877_103, 80_877_104}  # SSLRequest and GSSENCRequest


class Message(NamedTuple):
    """One message of either side."""

    kind: str
    """Its type byte; empty for the untyped ones a client begins with."""

    body: bytes
    raw: bytes
    """All of it, as it goes over the wire."""

    def text(self, index: int = 0) -> str:
        """Return the zero-terminated string number *index* of the body."""
        return self.body.split(b"\0", index + 1)[index].decode(errors="replace")


class Framer:
    """Cuts a stream of bytes into messages."""

    def __init__(self, *, startup: bool = False) -> None:
        self._startup = startup
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that *data* completes."""
        self._buffer += data
        while True:
            prefix = 0 if self._startup else 1
            header = self._buffer[: prefix + 4]
            size = prefix + int.from_bytes(header[prefix:])
            if len(header) < prefix + 4 or len(self._buffer) < size:
                return
            raw, self._buffer = self._buffer[:size], self._buffer[size:]
            message = Message(raw[:prefix].decode(), raw[prefix + 4 :], raw)
            self._startup = self._startup and asks_for_encryption(message)
            yield message


def asks_for_encryption(message: Message) -> bool:
    """Whether *message* asks to encrypt the connection before it starts."""
    code = int.from_bytes(message.body[:4])
    return message.kind == "" and code in ENCRYPTION_REQUESTS


@dataclass
class _Pending:
    """A client message to which the server owes an answer, or a flush."""

    kind: str
    """Q (simple query), E (execute), S (sync) or H (flush, which has no answer)."""

    fault: Fault | None = None
    done: bool = False


class Ledger:
    """What one connection has asked and what it still has to be answered."""

    def __init__(self) -> None:
        self.ready = False
        """Whether the startup is over."""

        self._pending: deque[_Pending] = deque()
        self._statements: dict[str, str] = {}
        self._portals: dict[str, str] = {}
        self._skipping = False
        self._target: _Pending | None = None
        self._asked = False

    def command(self, message: Message) -> str | None:
        """Return the SQL that *message* executes, or None if it executes nothing."""
        match message.kind:
            case "Q":
                return message.text()
            case "P":
                self._statements[message.text()] = message.text(1)
            case "B":
                statement = self._statements.get(message.text(1), "")
                self._portals[message.text()] = statement
            case "E" if not self._skipping:
                return self._portals.get(message.text(), "")
        return None

    def asks(self, message: Message) -> bool:
        """Whether *message* begins a round trip; the next ones are part of it."""
        if message.kind == "H":  # hastens answers, asks for none
            return False
        begins = self.ready and not self._asked
        self._asked = True
        return begins

    def sent(self, message: Message, fault: Fault | None) -> None:
        """Note that *message* goes to the server and that *fault* awaits its answer."""
        if message.kind == "S":
            self._skipping = False
        if message.kind in {"Q", "E", "S", "H"} and not self._skipping:
            self._pending.append(_Pending(message.kind, fault))

    def withheld(self) -> bool:
        """Whether what the server says now belongs to a command with a fault."""
        if self._target is None and self._pending and self._pending[0].fault:
            self._target = self._pending[0]
        return self._target is not None

    def answered(self, message: Message) -> Fault | None:
        """Note that the server said *message*; return the fault that is due now.

        A fault is due when the server has nothing more to do for its command: at
        ReadyForQuery, whose transaction is over, or at the command's own answer if
        the client asked for it by a flush only.
        """
        match message.kind:
            case "C" | "I" | "s":
                self._complete(message.text())
            case "E":
                self._fail(_sqlstate(message))
            case "G" | "W":
                self._copy()
            case "Z":
                self._synchronise()
        due = self._due(message)
        while self._pending and self._pending[0].kind == "H":
            self._pending.popleft()
        return due

    def rest(self) -> None:
        """Note that the client has said all: what it says next, it says having read.

        While something is still to be answered, it waits, and nothing changes.
        """
        if not self._pending:
            self._asked = False

    def _complete(self, answer: str) -> None:
        """Note the answer to the first command; a simple query may get several."""
        while self._pending and self._pending[0].kind in "SH":
            self._pending.popleft()
        if not self._pending:
            return
        first = self._pending[0]
        if first.fault:
            first.fault.answer = answer
        if first.kind == "E":
            first.done = True
            self._pending.popleft()

    def _fail(self, sqlstate: str) -> None:
        """Note an error; the server now skips what it was sent up to the next sync."""
        first = self._pending[0] if self._pending else None
        if first is not None and first.kind in "QE":
            self._complete(sqlstate)
        if first is not None and first.kind == "Q":
            return
        while self._pending and self._pending[0].kind != "S":
            skipped = self._pending.popleft()
            if skipped.fault:
                skipped.fault.spare()
        self._skipping = not self._pending

    def _copy(self) -> None:
        """Forget the sync sent with COPY FROM: the server ignores it."""
        if len(self._pending) > 1 and self._pending[1].kind == "S":
            del self._pending[1]

    def _synchronise(self) -> None:
        """Note that the server is ready for the next query."""
        self.ready = True
        while self._pending:
            first = self._pending.popleft()
            first.done = True
            if first.kind in "QS":
                return

    def _due(self, message: Message) -> Fault | None:
        """Return the fault whose command is over, if there is one."""
        if self._target is None or not self._target.done:
            return None
        following = next((each for each in self._pending if each.kind in "SH"), None)
        flushed = following is not None and following.kind == "H"
        if message.kind != "Z" and not flushed:
            return None
        target, self._target = self._target, None
        return target.fault


def _sqlstate(message: Message) -> str:
    """Return the SQLSTATE of an ErrorResponse."""
    fields = message.body.split(b"\0")
    return next((each[1:].decode() for each in fields if each[:1] == b"C"), "")
