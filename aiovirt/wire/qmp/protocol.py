"""One QMP conversation from its client's side: bytes in, messages out, and which phase it is in.

    GREETING --greeting--> NEGOTIATING --reply--> READY
        any phase --breach--> BROKEN

Events may come in any phase, also before the greeting. Commands may be sent in READY only.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

from aiovirt.errors import ProtocolError
from aiovirt.wire.qmp.messages import (
    EDGE,
    Breach,
    Failure,
    Greeting,
    Message,
    QMPEvent,
    Reply,
    TooLong,
    command_line,
    read_edges,
    read_message,
)

__all__ = ["DEFAULT_LIMIT", "Phase", "QMPProtocol"]

DEFAULT_LIMIT: Final = 64 * 1024 * 1024
BLANK: Final = (b"", b"\r")
"""What stands between two ends of lines, CR LF or LF, and is nothing."""
SHORTEST: Final = 2
"""No message is so short."""


class Phase(Enum):
    """Where a conversation is; the table below says how it moves."""

    GREETING = "greeting"
    NEGOTIATING = "negotiating"
    READY = "ready"
    BROKEN = "broken"


# (phase, what came) -> next phase. What is not here is a breach of the protocol.
_TRANSITIONS: Final[dict[tuple[Phase, type[Message]], Phase]] = {
    (Phase.GREETING, QMPEvent): Phase.GREETING,
    (Phase.GREETING, Greeting): Phase.NEGOTIATING,
    (Phase.NEGOTIATING, QMPEvent): Phase.NEGOTIATING,
    (Phase.NEGOTIATING, Reply): Phase.READY,
}
_WHEN_READY: Final = frozenset({QMPEvent, Reply, Failure, TooLong})
_READY: Final = Phase.READY
_BROKEN: Final = Phase.BROKEN


class QMPProtocol:
    """Frames and phases. ``limit`` is the largest message in bytes that is read."""

    def __init__(self, *, limit: int = DEFAULT_LIMIT) -> None:
        self.phase = Phase.GREETING
        self.greeting: Greeting | None = None
        self._limit = limit
        self._chunks: list[bytes] = []  # of a line that is not whole yet
        self._size = 0  # of that line
        self._head = self._tail = b""  # its ends, once it is over the limit
        self._last_id = 0

    def receive(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes. A Breach is the last one ever: from then on there are none."""
        if self.phase is _READY and not self._size and SHORTEST < len(data) <= self._limit and data.find(b"\n") == len(data) - 1:
            message = read_message(data[:-1])  # one whole line, as most that comes is
            return [message if type(message) in _WHEN_READY else self._step(message)]
        messages: list[Message] = []
        for line in self._lines(data):
            if isinstance(line, TooLong):
                message = line
            elif line not in BLANK:
                message = read_message(line)
            else:
                continue
            if self.phase is not _READY or type(message) not in _WHEN_READY:
                message = self._step(message)
            messages.append(message)
            if self.phase is _BROKEN:
                break
        return messages

    def negotiate(self) -> bytes:
        """The line that answers the greeting: with out-of-band commands, where they are offered."""
        offered = self.greeting is not None and "oob" in self.greeting.capabilities
        self._last_id += 1
        return command_line("qmp_capabilities", {"enable": ["oob"]} if offered else None, self._last_id)

    def command(self, name: str, arguments: object | None = None, *, out_of_band: bool = False) -> tuple[int, bytes]:
        """(id, line) of a command; raises ProtocolError when the conversation is not ready for one."""
        if self.phase is not _READY:
            raise ProtocolError(f"no command can be sent in the phase {self.phase.value}")
        self._last_id = number = self._last_id + 1
        return number, command_line(name, arguments, number, out_of_band=out_of_band)

    def _step(self, message: Message) -> Message:
        after = _TRANSITIONS.get((self.phase, type(message)))
        if after is None:
            return self._break(message)
        self.phase = after
        if isinstance(message, Greeting):
            self.greeting = message
        return message

    def _break(self, message: Message) -> Breach:
        before, self.phase = self.phase, Phase.BROKEN
        self._chunks.clear()
        if isinstance(message, Breach):
            return message
        words = f": {message.description[:EDGE]}" if isinstance(message, Failure) else ""
        return Breach(f"{type(message).__name__.lower()} out of place in the phase {before.value}{words}")

    # -- lines -----------------------------------------------------------------------------

    def _lines(self, data: bytes) -> Sequence[bytes | TooLong]:
        """The lines that ``data`` completes; only ``data`` is searched, so a long message costs linear time."""
        if self.phase is _BROKEN:
            return []
        *whole, rest = pieces = data.split(b"\n")
        if not (self._size or rest) and len(data) <= self._limit:
            return pieces
        lines: list[bytes | TooLong] = []
        for piece in whole:
            line: bytes | TooLong = piece
            if self._size or len(piece) > self._limit:
                self._keep(piece)
                line = self._take()
            lines.append(line)
        if rest:
            self._keep(rest)
        return lines

    def _keep(self, piece: bytes) -> None:
        """Takes in a piece of a line; of one that is over the limit the ends only."""
        self._size += len(piece)
        if self._size <= self._limit:
            self._chunks.append(piece)
            return
        if self._chunks:
            piece = b"".join((*self._chunks, piece))
            self._chunks.clear()
        self._head += piece[: EDGE - len(self._head)]
        self._tail = (self._tail + piece[-EDGE:])[-EDGE:]

    def _take(self) -> bytes | TooLong:
        """The line that is whole now."""
        line = read_edges(self._head, self._tail, self._size) if self._head else b"".join(self._chunks)
        self._chunks.clear()
        self._size, self._head, self._tail = 0, b"", b""
        return line
