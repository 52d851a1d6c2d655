"""One QMP conversation from its client's side: bytes in, messages out, and which phase it is in.

    GREETING --greeting--> NEGOTIATING --reply--> READY
        any phase --error--> BROKEN

Events may come in any phase, also before the greeting. Commands may be sent in READY only.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from aiovirt.errors import ProtocolError
from aiovirt.wire.qmp.messages import Failure, Greeting, Message, QMPEvent, Reply, command_line, read_message

__all__ = ["DEFAULT_LIMIT", "Phase", "QMPProtocol"]

DEFAULT_LIMIT: Final = 64 * 1024 * 1024


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
    (Phase.READY, QMPEvent): Phase.READY,
    (Phase.READY, Reply): Phase.READY,
    (Phase.READY, Failure): Phase.READY,
}


class QMPProtocol:
    """Frames and phases. ``limit`` is the largest message in bytes."""

    def __init__(self, *, limit: int = DEFAULT_LIMIT) -> None:
        self.phase = Phase.GREETING
        self.greeting: Greeting | None = None
        self._limit = limit
        self._chunks: list[bytes] = []
        self._held = 0
        self._last_id = 0

    def receive(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes. Raises ProtocolError; from then on, always."""
        if self.phase is Phase.BROKEN:
            raise ProtocolError("this QMP conversation is broken")
        try:
            return [self._step(read_message(line)) for line in self._lines(data)]
        except ProtocolError:
            self.phase = Phase.BROKEN
            self._chunks.clear()
            raise

    def negotiate(self) -> bytes:
        """The line that answers the greeting."""
        return self._line("qmp_capabilities", None)[1]

    def command(self, name: str, arguments: object | None = None) -> tuple[int, bytes]:
        """(id, line) of a command; raises ProtocolError when the conversation is not ready for one."""
        if self.phase is not Phase.READY:
            raise ProtocolError(f"no command can be sent in the phase {self.phase.value}")
        return self._line(name, arguments)

    def _line(self, name: str, arguments: object | None) -> tuple[int, bytes]:
        self._last_id += 1
        return self._last_id, command_line(name, arguments, self._last_id)

    def _step(self, message: Message) -> Message:
        after = _TRANSITIONS.get((self.phase, type(message)))
        if after is None:
            raise ProtocolError(f"{type(message).__name__.lower()} out of place in the phase {self.phase.value}: {message}")
        self.phase = after
        if isinstance(message, Greeting):
            self.greeting = message
        return message

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes; only ``data`` is searched, so a long message costs linear time."""
        *whole, rest = data.split(b"\n")
        lines: list[bytes] = []
        for piece in whole:
            self._keep(piece)
            lines.append(b"".join(self._chunks))
            self._chunks.clear()
            self._held = 0
        self._keep(rest)
        return [line for line in lines if line.strip()]

    def _keep(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._held > self._limit:
            raise ProtocolError(f"a QMP message of over {self._limit} bytes")
        if piece:
            self._chunks.append(piece)
