"""A scripted QMP peer, without a socket or a QEMU: it says what a test tells it to say, when it is told.

What it sends is built here, not recorded; that real QEMU says the same is shown by the tests that
run one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import anyio
import anyio.lowlevel
import msgspec

__all__ = ["Command", "QMPPeer"]

VERSION: Final = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "scripted"}


class Command(msgspec.Struct, kw_only=True):
    """A command that the peer was sent."""

    execute: str = ""
    exec_oob: str = msgspec.field(name="exec-oob", default="")
    arguments: dict[str, object] = {}
    id: int | None = None


class QMPPeer:
    """The far side of a monitor. Pass ``peer`` itself as the near side's stream.

    With ``obliging`` (the default) it greets and agrees to the negotiation by itself, and then answers
    each command that ``answers`` has; any other waits for :meth:`next_command` and :meth:`reply`.
    """

    def __init__(self, *, obliging: bool = True) -> None:
        self.answers: dict[str, object] = {}
        self.received: list[Command] = []
        self._obliging = obliging
        self._to_client: deque[bytes] = deque()
        self._unanswered: deque[Command] = deque()
        self._partial = b""
        self._closed = False
        self._changed = anyio.Event()
        self._full = False
        self._resume_writing: Callable[[], None] | None = None
        self.descriptors: list[os.stat_result] = []
        if obliging:
            self.greet()

    # -- what the peer does ----------------------------------------------------------------

    def greet(self, *, capabilities: tuple[str, ...] = ("oob",)) -> None:
        """Sends the greeting."""
        self.send({"QMP": {"version": VERSION, "capabilities": list(capabilities)}})

    def reply(self, command: Command, value: object = None) -> None:
        """Answers ``command`` with ``value``, None for the empty object."""
        self.send({"return": {} if value is None else value, "id": command.id})

    def fail(self, command: Command, description: str, error_class: str = "GenericError") -> None:
        """Refuses ``command``."""
        self.send({"error": {"class": error_class, "desc": description}, "id": command.id})

    def event(self, name: str, data: dict[str, object] | None = None, *, seconds: int = 1_700_000_000, microseconds: int = 0) -> None:
        """Says that something happened."""
        said: dict[str, object] = {"timestamp": {"seconds": seconds, "microseconds": microseconds}, "event": name}
        self.send(said if data is None else said | {"data": data})

    def send(self, message: object) -> None:
        """Sends any JSON, as QEMU ends it."""
        self.send_bytes(msgspec.json.encode(message) + b"\r\n")

    def send_bytes(self, data: bytes) -> None:
        """Sends anything."""
        self._to_client.append(data)
        self._announce()

    def close(self) -> None:
        """Hangs up, after what was sent."""
        self._closed = True
        self._announce()

    def stop_reading(self) -> None:
        """Takes nothing more, as a QEMU whose socket is full."""
        self._full = True

    def read_on(self) -> None:
        """Takes more."""
        self._full = False
        if self._resume_writing is not None:
            self._resume_writing()

    async def next_command(self) -> Command:
        """The next command that was not answered by itself."""
        while not self._unanswered:
            await self._changed.wait()
        await anyio.lowlevel.checkpoint()
        return self._unanswered.popleft()

    # -- the near side's stream (aiovirt.system.bytestream.ByteStream) ---------------------------

    async def run(self, data_received: Callable[[bytes], None], resume_writing: Callable[[], None]) -> None:
        """Hands on what the peer says, as it says it, until it hangs up."""
        self._resume_writing = resume_writing
        while True:
            await anyio.lowlevel.checkpoint()
            while not self._to_client:
                if self._closed:
                    return
                await self._changed.wait()
            data_received(self._to_client.popleft())

    def write(self, data: bytes, descriptors: Sequence[int] = ()) -> bool:
        """Takes what the client sends, unless it has stopped reading."""
        if self._closed:
            raise BrokenPipeError(32, "Broken pipe")
        if self._full:
            return False
        self.descriptors += [os.fstat(number) for number in descriptors]
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._take(msgspec.json.decode(line, type=Command))
        return True

    def _take(self, command: Command) -> None:
        self.received.append(command)
        if self._obliging and command.execute == "qmp_capabilities":
            self.reply(command)
        elif (name := command.execute or command.exec_oob) in self.answers:
            self.reply(command, self.answers[name])
        else:
            self._unanswered.append(command)
            self._announce()

    def _announce(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
